"""Which localiser a fit and a prediction use."""

from __future__ import annotations

from pathlib import Path

import pytest

from protoanomalyncd.config import Component
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.localisation import FolderMasks, WholeImage, create_localiser
from protoanomalyncd.localisation.choice import choose_localiser, localiser_for


def sam3(**options: object) -> Component:
    return Component("sam3", {"prompt": "x", "segmenter": "local-dir:y", **options})


def test_the_default_is_none() -> None:
    assert isinstance(choose_localiser(Component("none"), "washer", None, "cpu"), WholeImage)


def test_a_folder_of_masks_comes_before_the_default(tmp_path: Path) -> None:
    for source in ("none", "folder"):
        config = Component(source)
        assert isinstance(choose_localiser(config, "washer", tmp_path, "cpu"), FolderMasks)


@pytest.mark.parametrize(
    ("config", "masks", "part"),
    [
        (Component("folder"), None, "--object-masks"),
        (Component("sam3", {"prompt": "x"}), "masks", "leave out one of them"),
        (Component("sam4"), None, "expected one of folder, grounded_sam, none, sam3"),
        (Component("sam3"), None, r"localiser.prompt: expected what the object"),
        (Component("sam3", {"prompt": "x"}), None, r"localiser.segmenter: expected local"),
        (
            Component("grounded_sam", {"prompt": "x", "segmenter": "y"}),
            None,
            r"localiser.box_detector: expected local-dir:FOLDER or a model such as IDEA",
        ),
        (Component("sam3", {"box_detector": "x"}), None, "sam3 has no option 'box_detector'; its"),
        (Component("none", {"prompt": "x"}), None, "none has no option 'prompt'; it has no opt"),
        (
            sam3(score_threshold=1.1),
            None,
            r"score_threshold: expected in \[0, 1\] or null, got",
        ),
        (sam3(max_objects=1.5), None, "localiser.max_objects: expected a whole number, got 1.5"),
        (sam3(max_objects=0), None, "localiser.max_objects: expected at least 1, got 0"),
        (sam3(max_box_area=0.0), None, r"localiser.max_box_area: expected in \(0, 1\], got 0"),
        (sam3(min_area=1.0), None, r"localiser.min_area: expected in \[0, 1\), got 1"),
        (sam3(margin=0.6), None, r"localiser.margin: expected in \[0, 0.5\], got 0.6"),
        (sam3(fill_holes=1), None, "localiser.fill_holes: expected true or false, got 1"),
        (sam3(prompt="  "), None, "localiser.prompt: expected a name of the object"),
    ],
)
def test_what_is_missing_is_one_line(config: Component, masks: str | None, part: str) -> None:
    with pytest.raises(ConfigurationError, match=part) as caught:
        choose_localiser(config, "washer", masks, "cpu")
    assert "\n" not in str(caught.value)


def test_the_prompt_of_the_product_is_kept_with_the_localiser(tmp_path: Path) -> None:
    path = tmp_path / "prompts.yaml"
    path.write_text("washer: [metal washer, ring]\nleather: null\n", encoding="utf-8")
    files = {"segmenter": "local-dir:x", "prompts": str(path)}
    config = Component("sam3", files)
    localiser = choose_localiser(config, "washer", None, "cpu")
    assert localiser.arguments()["prompt"] == "metal washer. ring"
    assert isinstance(choose_localiser(config, "leather", None, "cpu"), WholeImage)
    with pytest.raises(ConfigurationError, match="product 'gear'"):
        choose_localiser(config, "gear", None, "cpu")
    named = Component("sam3", {**files, "product": "washer"})
    assert choose_localiser(named, "gear", None, "cpu").arguments() == localiser.arguments()
    direct = Component("sam3", {**files, "prompt": "gear"})
    assert choose_localiser(direct, "washer", None, "cpu").arguments()["prompt"] == "gear"


def test_every_setting_reaches_the_localiser() -> None:
    options = {
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
    found = choose_localiser(Component("grounded_sam", options), "x", None, "cpu")
    networks = {name: options.pop(name) for name in ("box_detector", "segmenter")}
    assert found.arguments() == options  # those of the machine are no model's
    assert {name: getattr(found, name) for name in networks} == networks


def test_a_prediction_uses_what_was_fitted(tmp_path: Path) -> None:
    fitted = create_localiser("sam3", prompt="gear", segmenter="local-dir:x")
    assert localiser_for(fitted, None) is fitted
    with pytest.raises(ConfigurationError, match="fitted with the localiser 'sam3'"):
        localiser_for(fitted, tmp_path)
    with pytest.raises(ConfigurationError, match="--object-masks FOLDER"):
        localiser_for(FolderMasks(tmp_path), None)
    assert isinstance(localiser_for(FolderMasks(), tmp_path), FolderMasks)
    assert isinstance(localiser_for(None, None), WholeImage)
