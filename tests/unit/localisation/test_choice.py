"""Which localiser a fit and a prediction use."""

from __future__ import annotations

from pathlib import Path

import pytest

from protoanomalyncd.config import LocaliserConfig
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.localisation import FolderMasks, WholeImage, create_localiser
from protoanomalyncd.localisation.choice import choose_localiser, localiser_for


def test_the_default_is_none() -> None:
    assert isinstance(choose_localiser(LocaliserConfig(), "washer", None, "cpu"), WholeImage)


def test_a_folder_of_masks_comes_before_the_default(tmp_path: Path) -> None:
    for source in ("none", "folder"):
        config = LocaliserConfig(source=source)
        assert isinstance(choose_localiser(config, "washer", tmp_path, "cpu"), FolderMasks)


@pytest.mark.parametrize(
    ("config", "masks", "part"),
    [
        (LocaliserConfig(source="folder"), None, "--object-masks"),
        (LocaliserConfig(source="sam3", prompt="x"), "masks", "leave out one of them"),
        (LocaliserConfig(source="sam4"), None, "expected one of folder, grounded_sam, none, sam3"),
        (LocaliserConfig(source="sam3"), None, r"localiser.prompt: expected what the object"),
        (LocaliserConfig(source="sam3", prompt="x"), None, r"localiser.segmenter: expected local"),
        (
            LocaliserConfig(source="grounded_sam", prompt="x", segmenter="y"),
            None,
            r"localiser.box_detector: expected local-dir:FOLDER or a model such as IDEA",
        ),
    ],
)
def test_what_is_missing_is_one_line(config: LocaliserConfig, masks: str | None, part: str) -> None:
    with pytest.raises(ConfigurationError, match=part) as caught:
        choose_localiser(config, "washer", masks, "cpu")
    assert "\n" not in str(caught.value)


def test_the_prompt_of_the_product_is_kept_with_the_localiser(tmp_path: Path) -> None:
    path = tmp_path / "prompts.yaml"
    path.write_text("washer: [metal washer, ring]\nleather: null\n", encoding="utf-8")
    config = LocaliserConfig(source="sam3", segmenter="local-dir:x", prompts=str(path))
    localiser = choose_localiser(config, "washer", None, "cpu")
    assert localiser.arguments()["prompt"] == "metal washer. ring"
    assert isinstance(choose_localiser(config, "leather", None, "cpu"), WholeImage)
    with pytest.raises(ConfigurationError, match="product 'gear'"):
        choose_localiser(config, "gear", None, "cpu")
    named = LocaliserConfig(
        source="sam3", segmenter="local-dir:x", prompts=str(path), product="washer"
    )
    assert choose_localiser(named, "gear", None, "cpu").arguments() == localiser.arguments()
    direct = LocaliserConfig(
        source="sam3", segmenter="local-dir:x", prompts=str(path), prompt="gear"
    )
    assert choose_localiser(direct, "washer", None, "cpu").arguments()["prompt"] == "gear"


def test_every_setting_reaches_the_localiser() -> None:
    config = LocaliserConfig(
        source="grounded_sam",
        prompt="gear",
        box_detector="local-dir:a",
        segmenter="local-dir:b",
        score_threshold=0.2,
        max_objects=3,
        max_box_area=0.8,
        min_area=0.05,
        largest_component=True,
        fill_holes=False,
        margin=0.1,
    )
    assert choose_localiser(config, "x", None, "cpu").arguments() == {
        "prompt": "gear",
        "box_detector": "local-dir:a",
        "segmenter": "local-dir:b",
        "score_threshold": 0.2,
        "max_objects": 3,
        "max_box_area": 0.8,
        "min_area": 0.05,
        "largest_component": True,
        "fill_holes": False,
        "margin": 0.1,
    }


def test_a_prediction_uses_what_was_fitted(tmp_path: Path) -> None:
    fitted = create_localiser("sam3", prompt="gear", segmenter="local-dir:x")
    assert localiser_for(fitted, None) is fitted
    with pytest.raises(ConfigurationError, match="fitted with the localiser 'sam3'"):
        localiser_for(fitted, tmp_path)
    with pytest.raises(ConfigurationError, match="--object-masks FOLDER"):
        localiser_for(FolderMasks(tmp_path), None)
    assert isinstance(localiser_for(FolderMasks(), tmp_path), FolderMasks)
    assert isinstance(localiser_for(None, None), WholeImage)
