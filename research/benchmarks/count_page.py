"""The page of ``make bench-count`` from its rows."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

METHODS = ("eigengaps", "silhouette", "prototype_score", "vmf_bic", "eigengap")
"""The default first."""
SEEDS = [0, 1, 2, 3, 4]

HEAD = """# The number of classes, estimated

How many classes there are, the normal class included where normal images exist. *eigengaps*,
summed over four neighbourhood sizes, is the default (ours); *prototype score* is our reading of the
paper's; *silhouette*, *BIC* (von Mises-Fisher mixture) and a single *eigengap* are textbook. All
see the same embeddings of the same crops. An estimate is within the bar if it is off by at most 1,
or by 15 % of the truth; the others are in italics.

```
make bench-count@ARGS
```

Generated sets: products fabric, gear, pcb, tile and the twelve further defect types, none of which
took part in choosing the estimator (docs/defaults.md); 14 images of each type and 16 normal ones,
built-in detector, labelled base = NEU-Seg. *neu*: NEU-Seg's single-type test images, no normal
class, base = generated defects, with true masks and with zero-shot maps. *mtd*: its 583 test
images, base = NEU-Seg. NMI is over regions, after training, with the true number and with the
default's estimate; mean over the seeds. Estimates that differ between seeds are listed.
"""


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a table of sets, and the share within the bar."""
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[str(row["set"])].append(row)
    lines = [
        HEAD.replace("@ARGS", _arguments(rows)),
        "| set | regions | truth | eigengaps | silhouette | prototype score | BIC "
        "| eigengap | NMI, truth | NMI, estimate |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(name, groups[name]) for name in sorted(groups)]
    drawn = [group for name, group in groups.items() if name.startswith("generated")]
    if drawn:
        shares = ", ".join(
            f"{m} {sum(_within(g, m) for g in drawn)} of {len(drawn)}" for m in METHODS
        )
        lines += ["", f"Generated sets within the bar: {shares}."]
    if any(row["nmi"] for row in rows):
        truth, estimate = (
            _mean([_nmi(group, which) for group in groups.values()])
            for which in ("truth", "estimate")
        )
        lines += [
            "",
            f"NMI, mean over the sets: {truth} with the truth, {estimate} with the estimate.",
        ]
    return "\n".join(lines) + "\n"


def _nmi(group: Sequence[Mapping[str, Any]], which: str) -> float | None:
    """Mean over the seeds with the true number, or with the default's estimate."""
    numbers = [r["truth"] if which == "truth" else r["estimates"][METHODS[0]] for r in group]
    found = [row["nmi"].get(str(k)) for row, k in zip(group, numbers, strict=True)]
    known = [v for v in found if v is not None]
    return statistics.mean(known) if known else None


def _arguments(rows: Sequence[Mapping[str, Any]]) -> str:
    """What to give for these rows, where it is not everything."""
    seeds = sorted({row["seed"] for row in rows})
    given = [] if seeds == SEEDS else ["--seeds", *map(str, seeds)]
    given += [] if any(row["nmi"] for row in rows) else ["--no-training"]
    return f' ARGS="{" ".join(given)}"' if given else ""


def within(estimate: int, truth: int) -> bool:
    """Off by at most 1, or by 15 % of the truth."""
    return abs(estimate - truth) <= max(1.0, 0.15 * truth)


def _within(group: Sequence[Mapping[str, Any]], method: str) -> bool:
    """All seeds of a set are within the bar."""
    return all(within(row["estimates"][method], row["truth"]) for row in group)


def _line(name: str, group: Sequence[Mapping[str, Any]]) -> str:
    first = group[0]
    product = f" ({first['product']})" if first["product"] else ""
    cells = [f"{name}{product}", str(first["n_regions"]), str(first["truth"])]
    for method in METHODS:
        found = [row["estimates"][method] for row in group]
        text = str(found[0]) if len(set(found)) == 1 else ", ".join(map(str, found))
        cells.append(text if _within(group, method) else f"*{text}*")
    cells += [_mean([_nmi(group, which)]) for which in ("truth", "estimate")]
    return "| " + " | ".join(cells) + " |"


def _mean(values: Sequence[float | None]) -> str:
    known = [v for v in values if v is not None]
    return f"{statistics.mean(known):.3f}" if known else "-"
