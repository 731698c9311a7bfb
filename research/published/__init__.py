"""AnomalyNCD and SimGCD re-enacted with the parts of this program, for baselines and ablations.

What they do otherwise than we do is an option of `Published`; `steps_of` turns options into the
steps of a fit. With all options at their defaults a fit is this program's own, to the bit. Their
settings: ``research/configs/anomalyncd.yaml`` and ``simgcd.yaml``; the results of their own code
beside them: docs/parity.md.

    >>> options = Published(n_heads=4, start="random")
    >>> steps_of(options).trainer                                        # doctest: +SKIP
"""

from research.published.options import Published
from research.published.steps import steps_of

__all__ = ["Published", "steps_of"]
