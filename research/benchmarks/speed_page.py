"""The page of `research.benchmarks.speed` and its plots, from what has been measured so far."""

from __future__ import annotations

import platform
import re
import statistics
from pathlib import Path
from typing import Any

from research.benchmarks.provenance import revision
from research.benchmarks.speed_plot import plot

__all__ = ["write_page"]

Results = dict[str, Any]
REFERENCE_EPOCHS = 50
INFERENCE_WAYS = {
    "torch": "`predict`, frozen blocks in bfloat16",
    "openvino, bfloat16": "`classify`, exported to OpenVINO, bfloat16",
    "openvino, float32": "`classify`, exported to OpenVINO, float32",
    "onnxruntime, float32": "`classify`, exported to ONNX, float32",
}
SHOWN_FROM = 0.05
"""Stages that never take so long are left out of the plot [s]."""


def write_page(out: Path, results: Results, options: dict[str, Any]) -> None:
    """Write the Markdown page and the plots beside it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    sections = [
        head(options),
        stage_table(results),
        training_part(results),
        inference_part(results),
        guided_part(results),
        memory_part(results),
        scaling_part(results, out.parent / "images", options),
        NOT_MEASURED,
    ]
    text = "\n".join(line for section in sections for line in [*section, ""]).rstrip() + "\n"
    out.write_text(text, encoding="utf-8")


def head(options: dict[str, Any]) -> list[str]:
    """What was compared, where, and by which command."""
    return [
        "# Speed and memory",
        "",
        "Ours beside AnomalyNCD's own code, in one run: the same images and maps of Magnetic Tile",
        "Defect (`mtd_fused`, 8 bits for AnomalyNCD, which reads nothing else), the same 300",
        "labelled images of NEU-Seg, ViT-Ti/16 with the same weights, "
        f"{options['threads']} threads on both sides; our frozen blocks",
        f"in {options['precision']}, AnomalyNCD's in float32. It has 50 epochs; "
        f"{options['reference_epochs']} of them",
        "are run after one that warms up, and multiplied. Ranges are over repetitions.",
        "",
        "```",
        "make bench-speed ARGS='--reference CHECKOUT'",
        "```",
        "",
        f"{platform.machine()}, {cpu_name()}, Python {platform.python_version()}, "
        f"revision {revision()}. Parts that were not run say so.",
    ]


def cpu_name() -> str:
    """Model of the CPU and what it knows of bfloat16."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown CPU"
    name = re.search(r"model name\s*:\s*(.*)", text)
    flags = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in text]
    return f"{name.group(1) if name else 'unknown CPU'} ({', '.join(flags) or 'no bfloat16'})"


def stage_table(results: Results) -> list[str]:
    """MEBin, training and inference: ours, theirs, ratio, bar."""
    rows = ["| what | ours | AnomalyNCD | ratio | wanted |", "|---|---|---|---|---|"]
    rows += mebin_rows(results.get("mebin"))
    reference = results.get("reference")
    ours = results.get("training")
    theirs = None
    if reference and "epoch_s" in reference:
        theirs = [REFERENCE_EPOCHS * s for s in reference["epoch_s"]]
    mine = [row["seconds"]["training"] for row in ours["rows"]] if ours else None
    rows.append(row_of("training, s (theirs: 50 epochs, multiplied)", mine, theirs, ">= 15", 1))
    found = results.get("inference")
    theirs = None
    if reference:
        pairs = zip(reference["regions_s"], reference["classes_s"], strict=True)
        theirs = [1e3 * (a + b) / reference["n_images"] for a, b in pairs]
    for name in found["rows"] if found else ["not run"]:
        mine = (
            [1e3 * s / found["n_images"] for s in found["rows"][name]["seconds"]] if found else None
        )
        what = f"image and map to class, ms an image: {INFERENCE_WAYS.get(name, name)}"
        rows.append(row_of(what, mine, theirs, ">= 5" if name == production(found) else "", 1))
    return rows


def production(found: Any) -> str | None:
    """The quickest exported way: the one meant for a production line, and the one to judge by."""
    exported = [name for name in (found or {"rows": {}})["rows"] if name != "torch"]
    if not exported:
        return "torch" if found else "not run"
    quickest: str = min(
        exported, key=lambda name: statistics.median(found["rows"][name]["seconds"])
    )
    return quickest


def mebin_rows(found: Any) -> list[str]:
    """One row a number of threads."""
    if not found:
        return ["| MEBin | not run | not run | | >= 10 |"]
    rows = []
    for n in (1, 2):
        mine, theirs = (
            found["times"].get(f"{who}, {n} thread(s)") for who in ("ours", "AnomalyNCD")
        )
        same = "identical" if found["same"] and theirs else "not compared"
        rows.append(
            row_of(f"MEBin, ms a map, {n} thread(s); masks {same}", mine, theirs, ">= 10", 2)
        )
    return rows


def row_of(
    what: str, mine: list[float] | None, theirs: list[float] | None, bar: str, digits: int
) -> str:
    """A row with medians, ranges, and the range of the ratio."""
    ratio = "-"
    if mine and theirs:
        middle = statistics.median(theirs) / statistics.median(mine)
        low, high = min(theirs) / max(mine), max(theirs) / min(mine)
        ratio = f"**{middle:.1f}** ({low:.1f} to {high:.1f})"
    return f"| {what} | {spread(mine, digits)} | {spread(theirs, digits)} | {ratio} | {bar} |"


def spread(values: list[float] | None, digits: int) -> str:
    """Median and range; "not run" where there is nothing."""
    if not values:
        return "not run"
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) < 2:
        return middle
    return f"{middle} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def training_part(results: Results) -> list[str]:
    """Stages and NMI of our runs on the given maps."""
    lines = ["## Training on the same maps", ""]
    found = results.get("training")
    if not found:
        return [*lines, "Not run."]
    lines += ["| seed | NMI of images | regions | training | classes | regions found |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in found["rows"]:
        s = row["seconds"]
        nmi = "-" if row["nmi"] is None else f"{row['nmi']:.3f}"
        lines.append(
            f"| {row['seed']} | {nmi} | {s['regions']:.1f} s | {s['training']:.1f} s "
            f"| {s['classes']:.1f} s | {row['n_regions']} |"
        )
    known = [row["nmi"] for row in found["rows"] if row["nmi"] is not None]
    if known:
        lines += ["", f"Mean NMI {statistics.mean(known):.3f}."]
    return [
        *lines,
        "",
        *reference_nmi(results),
        f"Peak memory: ours {found['peak_mb']:,} MB"
        + (
            f", AnomalyNCD {results['reference']['peak_mb']:,} MB."
            if "reference" in results
            else "."
        ),
    ]


def reference_nmi(results: Results) -> list[str]:
    """What is known of the reference's NMI, and what it can show."""
    runs = [v for k, v in results.items() if k.partition("/")[0] == "reference" and "nmi" in v]
    lines = []
    if runs:
        told = ", ".join(f"{run['nmi']:.3f}" for run in runs)
        lines = [
            f"AnomalyNCD's NMI of images after {runs[0]['epochs_run']} of its {REFERENCE_EPOCHS} "
            f"epochs, by its own merging of regions ({len(runs)} seed(s), from 0): {told}."
        ]
    return [
        *lines,
        "Measured once before, after 13 epochs with its own default seed: .287. None of these is "
        "its final value:",
        "they show where it stands when our training has long ended, not what it reaches after "
        f"{REFERENCE_EPOCHS} epochs,",
        "which would take hours here.",
    ]


def inference_part(results: Results) -> list[str]:
    """What is counted on each side."""
    lines = [
        "## From image and map to class",
        "",
        "Ours: from files to classes of images and regions: reading image and map, MEBin, crops,",
        "descriptors, network, classes; the model is loaded before and not counted. `predict` is",
        "the fitted model in torch; `classify` is its export, which needs no torch and is what a",
        "production line would run, so that the bar is held against the quicker of its rows.",
        "AnomalyNCD: its `binarization` (reading, MEBin, crops, written to disk as its next step",
        "needs them) and its loop over the crops, once.",
    ]
    found, theirs = results.get("inference"), results.get("reference")
    if found:
        lines += [
            "",
            "| ours | images a second | images, regions with torch's class |",
            "|---|---|---|",
        ]
        for name, row in found["rows"].items():
            rate = found["n_images"] / statistics.median(row["seconds"])
            same = "-"
            if row["same_images"] is not None:
                same = f"{row['same_images']} of {found['n_images']}, "
                same += f"{row['same_regions']} of {found['n_regions']}"
            lines.append(f"| {INFERENCE_WAYS.get(name, name)} | {rate:.0f} | {same} |")
    if theirs:
        parts = [
            statistics.median(theirs[k]) / theirs["n_images"] for k in ("regions_s", "classes_s")
        ]
        lines += [
            "",
            f"AnomalyNCD: {1 / sum(parts):.1f} images a second, {theirs['n_crops']} crops; "
            f"{1e3 * parts[0]:.1f} ms an image to the crops, "
            f"{1e3 * parts[1]:.1f} ms to the classes.",
        ]
    return lines


def guided_part(results: Results) -> list[str]:
    """Plain and guided forward passes, and the share of the measured peak."""
    lines = ["## Guided and plain forward pass", ""]
    found = results.get("guided")
    if not found:
        return [*lines, "Not run."]
    lines += [
        "One crop of 224 px, one thread. *Plain* is timm's network as it is; *packed* is the same",
        "network, unguided, through the quicker products that our frozen blocks run through. The",
        "last block of the guided pass is computed for the class token only. The three take turns;",
        "a ratio is the median of the turns' ratios, which a machine that slows down for a while",
        "does not change. Wanted: at most 1.10 of either; the stricter is *packed*.",
        "",
        "| network | plain, ms | packed, ms | guided, ms | guided / plain | guided / packed |",
        "|---|---|---|---|---|---|",
    ]
    for name, times in found["rows"].items():
        cells = " | ".join(spread(times[k], 1) for k in ("plain", "packed", "guided"))
        lines.append(
            f"| {name} | {cells} | {turn_by_turn(times['guided'], times['plain']):.2f} "
            f"| **{turn_by_turn(times['guided'], times['packed']):.2f}** |"
        )
    lines.append("")
    for precision, peak in found["peak_gflops"].items():
        times = found["rows"].get(f"ViT-Ti/16, {precision}")
        if times:
            reached = found["vit_gflop"] / statistics.median(times["packed"]) * 1e3
            lines.append(
                f"- {precision}: the packed ViT-Ti/16 does {reached:.0f} of the {peak:.0f} GFLOP/s "
                "that a product of 1024 x 1024 matrices reaches on this thread "
                f"({reached / peak:.0%})."
            )
    return lines


def turn_by_turn(times: list[float], others: list[float]) -> float:
    """Median ratio of measurements that were made turn by turn."""
    return statistics.median(a / b for a, b in zip(times, others, strict=True))


def memory_part(results: Results) -> list[str]:
    """The main job on MTD in a process of its own."""
    lines = ["## Peak memory of the main job on MTD", ""]
    found = results.get("memory")
    if not found:
        return [*lines, "Not run."]
    return [
        *lines,
        f"{found['peak_mb']:,} MB resident at most (wanted: 3,000), "
        f"{found['seconds'] / 60:.1f} minutes, default settings, from raw images to the report.",
    ]


def scaling_part(results: Results, pictures: Path, options: dict[str, Any]) -> list[str]:
    """Times by number of images and of classes, with plots."""
    lines = ["## Growth with the number of images and of classes", ""]
    runs: dict[tuple[int, int], list[Any]] = {}
    for key, value in results.items():
        if key.startswith("scaling/"):
            _, images, classes, _ = key.split("/")
            runs.setdefault((int(images), int(classes)), []).append(value)
    if not runs:
        return [*lines, "Not run."]
    fewest = min(k for _, k in runs)
    by_size = {n: v for (n, k), v in sorted(runs.items()) if k == fewest}
    counted = [n for n, _ in runs]
    at = max(sorted(by_size, reverse=True), key=counted.count)
    by_class = {k: v for (n, k), v in sorted(runs.items()) if n == at}
    lines += [
        f"The whole job, report included, on generated images of {options['image_size']} px (a few",
        "drawn images, each copy with noise of its own), network "
        f"`{options['scaling_backbone']}`, window {options['window']} px,",
        f"{options['scaling_epochs']} epochs.",
        "Wanted: t(2n) / t(n) of at most 2.3.",
        "",
        "| images | seconds | t(2n) / t(n) | peak memory, MB |",
        "|---|---|---|---|",
    ]
    middles = {n: statistics.median(r["seconds"] for r in v) for n, v in by_size.items()}
    for n, values in by_size.items():
        ratio = f"{middles[n] / middles[n // 2]:.2f}" if n // 2 in middles else "-"
        peak = max(r["peak_mb"] for r in values)
        lines.append(
            f"| {n:,} | {spread([r['seconds'] for r in values], 1)} | {ratio} | {peak:,} |"
        )
    lines += extrapolated(middles)
    lines += ["", "![Seconds by number of images](images/scaling.svg)"]
    stages = sorted({s for v in by_size.values() for s in v[0]["stages"]})
    curves = {"whole": list(middles.items())}
    for stage in stages:
        line = [(n, statistics.median(r["stages"][stage] for r in v)) for n, v in by_size.items()]
        if max(seconds for _, seconds in line) >= SHOWN_FROM:
            curves[stage] = line
    pictures.mkdir(parents=True, exist_ok=True)
    (pictures / "scaling.svg").write_text(plot(curves, "images", "seconds"), encoding="utf-8")
    if len(by_class) > 1:
        lines += ["", f"With {at:,} images:", "", "| classes | seconds |", "|---|---|"]
        lines += [f"| {k} | {spread([r['seconds'] for r in v], 1)} |" for k, v in by_class.items()]
    return lines


def extrapolated(middles: dict[int, float]) -> list[str]:
    """Rows for sizes up to 100,000 that were not run, on a line through the two largest."""
    if len(middles) < 2:
        return []
    (n1, t1), (n2, t2) = sorted(middles.items())[-2:]
    slope = (t2 - t1) / (n2 - n1)
    return [
        f"| {n:,} | {t2 + slope * (n - n2):,.0f} (not run; a straight line) | - | - |"
        for n in (10_000, 100_000)
        if n > n2
    ]


NOT_MEASURED = [
    "## Not measured",
    "",
    "On a GPU nothing was measured: none was at hand. The code paths are the same (`device`",
    "set at the edge, autocast to bfloat16 by `embedding.precision`, images decoded in threads).",
]
