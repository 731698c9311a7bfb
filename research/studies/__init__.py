"""Many runs of one kind side by side: grids over settings and seeds, and plain baselines.

A study is a YAML file: data, seeds, settings of every row, and the rows. Maps, crops and tokens are
computed once for all rows that agree on what they depend on; a study that was interrupted goes on
where it stopped. Labels are read for the metrics only. Source: ours; the baselines are published
methods, each named in its file.

    >>> study = read_study(Path("STUDY.yaml"))                     # doctest: +SKIP
    >>> outcomes = run_study(study, Path("ABLATION"), progress)    # doctest: +SKIP
"""

from research.studies.ablation import run_study
from research.studies.outcomes import Outcome, summarise
from research.studies.study import Row, Study, read_study

__all__ = ["Outcome", "Row", "Study", "read_study", "run_study", "summarise"]
