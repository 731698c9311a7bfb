"""A whole tiny study: table, figures, resuming, shared work, plain baselines beside."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from research.ablate import main
from research.studies import ablation, runs
from research.studies.ablation import run_study
from research.studies.class_attention import class_attention
from research.studies.outcomes import Outcome, markdown_table, summarise
from research.studies.study import read_study
from tests.tiny import SIDE, network_folder, tiny_config, tiny_encoder, tiny_images, tiny_labelled

N_ROWS = 6


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network_folder(tmp_path_factory.mktemp("network") / "vit", depth=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, network: Path) -> Path:
    """A study of every method, with one seed."""
    folder = tmp_path_factory.mktemp("study")
    base = tiny_config(network).to_dict()
    base.pop("seed")
    base["training"]["epochs"] = 1
    rows: dict[str, Any] = {
        "soft": {},
        "published": {"published": {"mebin": "reference", "guidance": "reference"}},
        "k-means": {"method": "kmeans", "features": "unguided"},
        "Ward, masked": {"method": "agglomerative", "features": "masked"},
        "Ward, map-weighted": {"method": "agglomerative", "features": "map_weighted"},
        "GCD": {"method": "gcd_kmeans", "features": "trained"},
    }
    study = {
        "images": str(tiny_images(folder / "images")),
        "labelled": str(tiny_labelled(folder / "base")),
        "seeds": [0],
        "per_class": 3,
        "base": base,
        "rows": rows,
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def result(folder: Path) -> Path:
    out = folder / "out"
    assert main([str(folder / "study.yaml"), "--out", str(out), "--quiet"]) == 0
    return out


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_row_is_run(result: Path) -> None:
    rows = rows_of(result)
    assert len(rows) == N_ROWS
    assert [(r["row"], r["seed"]) for r in rows[:2]] == [("soft", "0"), ("published", "0")]
    assert all(0 <= float(r["nmi"]) <= 1 and 0 < float(r["f1"]) <= 1 for r in rows)
    assert {r["n_images"] for r in rows} == {"12"}  # three of each of four types
    table = (result / "table.md").read_text(encoding="utf-8")
    assert "python -m research.ablate" in table
    assert table.count(" ± 0.000") == 3 * N_ROWS
    assert not (result / "work").exists()


def test_each_trained_row_has_its_figures(result: Path) -> None:
    names = {path.name for path in (result / "figures").iterdir()}
    assert names == {
        f"{kind}-{row}.png" for kind in ("tsne", "attention") for row in ("soft", "published")
    }
    strip = cv2.imread(str(result / "figures" / "attention-soft.png"))
    assert strip.shape[0] == 2 * 114
    assert strip.shape[1] % 114 == 0
    assert cv2.imread(str(result / "figures" / "tsne-soft.png")).std() > 1


def test_finished_runs_are_read_and_new_rows_are_run(
    result: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, made = rows_of(result), []
    run_row = runs.run_row

    def watched(row: Any, *arguments: Any) -> Any:
        made.append((row.name, arguments[0].seed))
        return run_row(row, *arguments)

    monkeypatch.setattr(ablation, "run_row", watched)
    study = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))
    study["rows"] = {
        "a new name": study["rows"]["soft"],
        "hard": {"embedding.guidance.mode": "hard"},
    }
    (folder / "more.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    arguments = [str(folder / "more.yaml"), "--out", str(result), "--quiet"]
    assert main([*arguments, "--seeds", "0", "--no-figures"]) == 0
    assert made == [("hard", 0)]
    after = rows_of(result)
    assert [row["row"] for row in after] == ["a new name", "hard"]
    assert after[0]["nmi"] == before[0]["nmi"]


def test_runs_are_known_by_the_content_of_their_data(
    result: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def stopped(row: Any, *arguments: Any) -> Any:
        made.append(row.name)
        raise KeyboardInterrupt

    monkeypatch.setattr(ablation, "run_row", stopped)
    # copy (not copy2): other paths and other times of change
    copy = shutil.copytree(folder / "images", tmp_path / "copy", copy_function=shutil.copy)
    study = read_study(folder / "study.yaml", images=copy)
    outcomes = run_study(study, shutil.copytree(result, tmp_path / "out"), lambda *_: None)
    assert len(outcomes) == len(study.rows)
    assert not made
    image = next(path for path in sorted((copy / "test").rglob("*.png")) if path.is_file())
    Image.new("RGB", (32, 32)).save(image)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "out", lambda *_: None)
    assert made == [study.rows[0].name]


def test_shared_work_changes_no_result(folder: Path, result: Path, tmp_path: Path) -> None:
    study = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))
    study["rows"] = {"published": study["rows"]["published"]}
    alone = folder / "alone.yaml"
    alone.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    out = tmp_path / "alone"
    assert main([str(alone), "--out", str(out), "--quiet", "--seeds", "0", "--no-figures"]) == 0
    (found,) = rows_of(out)
    records = [json.loads(p.read_text()) for p in (result / "runs").iterdir()]
    (expected,) = [r for r in records if r["row"] == "published"]
    for name in ("nmi", "ari", "f1"):
        assert float(found[name]) == expected[name]


def test_an_interrupted_study_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))
    study["rows"] = {name: study["rows"][name] for name in ("k-means", "Ward, masked")}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    arguments = [str(path), "--out", str(tmp_path / "out"), "--quiet"]
    arguments += ["--seeds", "1", "0", "--no-figures"]
    run_row = runs.run_row

    def stopped(row: Any, *rest: Any) -> Any:
        if row.name == "Ward, masked" and rest[0].seed == 0:
            raise KeyboardInterrupt
        return run_row(row, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(ablation, "run_row", stopped)
        assert main(arguments) == 130
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 3
    assert main(arguments) == 0
    assert [(row["row"], row["seed"]) for row in rows_of(tmp_path / "out")] == [
        ("k-means", "1"),
        ("k-means", "0"),
        ("Ward, masked", "1"),
        ("Ward, masked", "0"),
    ]


def test_a_missing_study_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([str(tmp_path / "no.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert "expected a readable YAML file" in capsys.readouterr().err


def test_the_table_holds_means_and_deviations() -> None:
    outcomes = [
        Outcome("a", 0, 0.2, 0.1, 0.5, 9, 10.0),
        Outcome("a", 1, 0.4, 0.3, 0.7, 9, 20.0),
        Outcome("b", 0, 0.5, 0.5, 0.5, 9, 1.0),
    ]
    first, second = summarise(outcomes)
    assert first.nmi == pytest.approx((0.3, 0.2 / 2**0.5))
    assert first.seconds == pytest.approx(15)
    assert second.f1 == (0.5, 0.0)
    assert "| a | 2 | 0.300 ± 0.141 | 0.200 ± 0.141 | 0.600 ± 0.141 | 15 |" in markdown_table(
        outcomes
    )


def test_attention_is_what_the_tail_attends_to(network: Path) -> None:
    """The weights reproduce the block's own attention output."""
    encoder = tiny_encoder(network)
    images = torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8)
    tokens = encoder.tokens(images, torch.rand(2, SIDE, SIDE))
    found = class_attention(encoder, tokens)
    assert found is not None
    assert found.shape == tokens.bias.shape
    block = encoder.tail.block
    x = block.norm1(torch.cat([tokens.cls[:, None], tokens.patches], dim=1))  # type: ignore
    width = x.shape[-1]
    heads = block.attn.num_heads  # type: ignore[union-attr]
    q, k, _ = block.attn.qkv(x).split(width, dim=-1)  # type: ignore
    size = width // heads
    expected = np.zeros(found.shape)
    for image in range(2):
        for h in range(heads):
            own = slice(h * size, (h + 1) * size)
            logits = (q[image, 0, own] @ k[image, :, own].T) / size**0.5
            logits[1:] += tokens.bias[image]
            expected[image] += torch.softmax(logits, dim=0)[1:].detach().numpy() / heads
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_object_masks_of_a_study_reach_the_fit(folder: Path, tmp_path: Path) -> None:
    study = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))
    images = Path(study["images"])
    for path in sorted((images / "test").rglob("*.png")):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[: SIDE // 2] = 255
        target = tmp_path / "objects" / path.relative_to(images)
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), mask)
    study["rows"] = {"with": {}, "k-means": {"method": "kmeans"}}
    study["object_masks"] = str(tmp_path / "objects")
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    shares: list[set[float]] = []

    def watch(outcome: Any, run: Any) -> None:
        if run.result is not None:
            found = run.result.discovery
            loaded = [found.evidence.load_object(image.name) for image in found.images]
            shares.append({float(mask.mean()) for mask in loaded})

    run_study(read_study(path), tmp_path / "out", lambda *_: None, watch)
    assert shares == [{0.5}]
