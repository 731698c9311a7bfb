"""report.html as a document: the whole page, what is escaped, how large it gets."""

import dataclasses
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protoanomalyncd.core.errors import OutputError
from protoanomalyncd.core.records import Discovery, ImageArray, Skipped
from protoanomalyncd.discovery.metrics import metrics_of
from protoanomalyncd.reports import render_report, write_report
from tests.unit.reports.builder import NASTY_NAMES, Pictures, discovery, report

PAGE = r"""
Skip to the content Defect report Line 4
Kinds Examples All images Compared with the truth Map of regions Left out How this was made
3 kinds of defect in 40 images\. 27 images have a defect of a named kind\. 9 images look normal\.
4 images could not be named\. 2 files were left out\.
Average confidence: medium \(\d\d%\)\. \d+ images are below 50% and worth a look\.
.*Kind What it looks like Images Regions How sure
kind 1 small and round 9 22% 9 (high|medium|low) \d\d%
kind 2 – 9 22% 9 (high|medium|low) \d\d%
kind 3 – 9 22% 9 (high|medium|low) \d\d%
could not be named too unlike every kind to be given a name 4 10% 4 (high|medium|low) \d\d%
normal nothing unusual that would make it a defect 9 22% 0 (high|medium|low) \d\d%
Confidence is the model's own probability .* not a measured error rate\.
The number of kinds \(4, normal included\) was given by the user, not estimated: .*
Examples of each kind Show what stood out .*
kind 1 small and round Images 9 22% Regions 9 How sure .* \d high · \d medium · \d low
True type type_1 \d of 9 .* \d\d% All 9 images, the surest first\. All in the table kind 2 .*
could not be named too unlike .*
normal nothing unusual .* Regions 0 9 images without any .*
All images .* Name contains Kind all kind 1 kind 2 kind 3 could not be named normal
Confidence any high medium low .*
Compared with the truth The true types are .* There are 5 true types; 4 kinds were found,
normal included\. Images in the right kind \(F1\) 0\.\d\d .* Agreement \(NMI\) 0\.\d\d .*
Pairs told apart \(ARI\) 0\.\d\d .*
True type kind 1 kind 2 kind 3 could not be named normal All
type_1 \d \(paired\) · · · · \d .* All 9 9 9 4 9 40
Map of regions .* kind 1 kind 2 kind 3 .*
What was left out 1 file : not a readable image a/broken\.png 1 file : not an image Thumbs\.db
How this was made .* Settings and versions seed 0 backbone embedded seconds 1\.5
Made by ProtoAnomalyNCD\. .* Close .*
"""


class _Reader(HTMLParser):
    """Text as it is read, and every tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._silent = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("style", "script", "title"):
            self._silent = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._silent:
            self._silent = ""

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.text += data.split()


def read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    return reader


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    value: dict[str, Any] = json.loads(found.group(1))
    return value


@pytest.fixture(scope="module")
def whole() -> str:
    skipped = [
        Skipped("a/broken.png", "not a readable image"),
        Skipped("Thumbs.db", "not an image"),
    ]
    found = discovery(40, n_outliers=4, skipped=skipped)
    return render_report(
        report(
            found,
            metrics=metrics_of(found),
            descriptions={1: "small and round"},
            settings={"seed": 0, "backbone": "embedded", "seconds": 1.5},
            kinds_given=True,
        )
    )


def test_the_whole_page(whole: str) -> None:
    text = " ".join(read(whole).text)
    position = 0
    for part in re.split(r" ?\.\* ?", " ".join(PAGE.split())):
        found = re.compile(part).search(text, position)
        assert found, f"after {text[max(0, position - 80) : position]!r} expected {part!r}"
        position = found.end()


def test_the_page_is_the_same_each_time() -> None:
    found = discovery(12)
    assert render_report(report(found)) == render_report(report(found))


def test_nothing_is_loaded_from_elsewhere(whole: str) -> None:
    for tag, attributes in read(whole).tags:
        for name in ("src", "href", "data-whole", "action", "srcset"):
            value = attributes.get(name) or ""
            assert value == "" or value.startswith(("#", "data:")), (tag, name, value[:80])
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", whole)
    policy = next(a["content"] for t, a in read(whole).tags if "http-equiv" in a)
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy


def test_every_reference_within_the_page_exists(whole: str) -> None:
    tags = read(whole).tags
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {str(a["href"])[1:] for _, a in tags if (a.get("href") or "").startswith("#")}
    labels = {str(a[k]) for _, a in tags for k in ("aria-labelledby", "aria-describedby") if k in a}
    assert targets | labels <= set(ids)


def test_user_strings_are_escaped() -> None:
    found = discovery(
        0,
        names=NASTY_NAMES,
        class_names=("OK", "<b>x</b>", "\"'&", "日本"),
        skipped=[Skipped("<svg onload=alert(3)>", "<i>why</i>")],
    )
    page = render_report(
        report(
            found,
            title="</title><script>alert(4)</script>",
            descriptions={1: "<u>under</u>"},
            settings={"<k>": "<v>"},
            metrics=metrics_of(found),
        )
    )
    tags = [tag for tag, _ in read(page).tags]
    assert tags.count("script") == 2
    assert not {"u", "k", "v"} & set(tags)
    assert not any(name.startswith("on") for _, a in read(page).tags for name in a)
    assert "alert(1)</script>" not in page
    assert "alert(4)</script>" not in page
    assert [row[0] for row in data_of(page)["images"]] == sorted(NASTY_NAMES)
    shown = {html.unescape(str(a["data-name"])) for _, a in read(page).tags if "data-name" in a}
    assert shown == set(NASTY_NAMES)


def test_a_missing_image_gets_a_placeholder() -> None:
    found = discovery(12)
    missing = [image.name for image in found.images][::3]
    page = render_report(report(found, Pictures(96, 80, missing)))
    assert page.count('class="missing"') == len(missing)
    assert f"{missing[0]}: No such file or directory" in page
    assert "<b>4 pictures</b>" in page


def test_a_missing_map_costs_only_the_overlay() -> None:
    class NoMaps(Pictures):
        def map(self, name: str) -> Any:
            raise KeyError(name) if self.loaded and self.loaded[-1] == name else ValueError

        def image(self, name: str) -> ImageArray:
            self.loaded.append(name)
            return np.zeros((self.height, self.width, 3), np.uint8)

    page = render_report(report(discovery(8), NoMaps(96, 80)))
    assert page.count('class="photo"') == 8
    assert 'class="heat"' not in page


def test_each_image_is_loaded_once() -> None:
    pictures = Pictures(96, 80)
    render_report(report(discovery(30), pictures))
    assert len(pictures.loaded) == len(set(pictures.loaded)) == 30


@pytest.mark.parametrize(
    ("found", "lead"),
    [
        (discovery(0), "There were no images."),
        (discovery(0, skipped=[Skipped("a", "b")]), "No image could be used."),
        (discovery(5, 1), "No kind of defect in 5 images."),
        (discovery(2, 2), "1 kind of defect in 2 images."),
        (Discovery((), (), ()), "There were no images."),
    ],
)
def test_little_or_nothing_found(found: Discovery, lead: str) -> None:
    assert f'class="lead">{lead}</h2>' in render_report(report(found))


def test_without_normal_class_all_are_kinds() -> None:
    found = discovery(8)
    found = Discovery(found.class_names, found.images, found.regions, normal_class=None)
    page = render_report(report(found))
    assert "4 kinds in 8 images." in page
    assert "look normal" not in page


def test_images_without_regions() -> None:
    found = discovery(6)
    page = render_report(report(Discovery(found.class_names, found.images, ())))
    assert page.count('class="photo"') == 6
    assert 'id="map"' not in page


def test_sections_that_have_nothing_to_say_are_left_out() -> None:
    page = render_report(report(discovery(6, truth=False, positions=False)))
    assert 'id="truth"' not in page
    assert 'id="map"' not in page
    assert "True type" not in " ".join(read(page).text)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [(True, "was given by the user"), (False, "was estimated from the images"), (None, "")],
)
def test_who_chose_the_number_of_kinds(given: bool | None, sentence: str) -> None:
    page = render_report(report(discovery(4), kinds_given=given))
    assert ("The number of kinds" in page) == bool(sentence)
    assert sentence in page


def test_known_classes_are_none_of_the_kinds_found() -> None:
    found = discovery(8, class_names=("normal", "a", "b", "c", "burn", "crack"))
    known = dataclasses.replace(found, known_classes=(4, 5))
    page = render_report(report(known, kinds_given=True))
    assert "The number of kinds (4, normal included)" in page


def test_empty_classes_are_named() -> None:
    page = render_report(report(discovery(3, class_names=("normal", "a", "b", "c", "d"))))
    assert "No image fell into c, d." in page


class _Noise(Pictures):
    """What JPEG and PNG shrink worst."""

    def __init__(self) -> None:
        super().__init__(320, 240)
        draw = np.random.default_rng(0)
        self.noise = draw.integers(0, 256, (240, 320, 3), dtype=np.uint8)
        self.scores = draw.random((128, 128)).astype(np.float32)

    def image(self, name: str) -> ImageArray:
        return self.noise

    def map(self, name: str) -> Any:
        return self.scores


@pytest.mark.parametrize(("n_images", "n_classes"), [(600, 6), (900, 30)])
def test_the_size_is_bounded_even_for_noise(n_images: int, n_classes: int) -> None:
    found = discovery(n_images, n_classes, width=320, height=240)
    page = render_report(report(found, _Noise()))
    assert len(page.encode()) < 8_000_000


def test_5000_images() -> None:
    page = render_report(report(discovery(5000, 12)))
    assert len(page.encode()) < 4_000_000
    assert len(data_of(page)["images"]) == 5000
    assert data_of(page)["thumbnails"] == []
    assert page.count("<img") == 0


def test_tall_images_keep_their_shape() -> None:
    found = discovery(8, width=100, height=650)
    page = render_report(report(found, Pictures(100, 650)))
    windows = re.findall(r'<svg viewBox="(\d+) (\d+) (\d+) (\d+)"', page)
    for x, y, width, height in (map(int, w) for w in windows):
        assert 0 <= x <= x + width <= 100
        assert 0 <= y <= y + height <= 650
        assert width == height or (width, height) == (100, 650)


def test_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    assert write_report(path, report(discovery(4))) == path
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("protoanomalyncd.storage.files.os.replace", refuse)
    with pytest.raises(OutputError, match="No space left on device"):
        write_report(path, report(discovery(6)))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        write_report(tmp_path / "no" / "report.html", report(discovery(2)))


def test_not_a_number_is_shown_as_a_dash() -> None:
    found = discovery(3)
    broken = [
        type(i)(i.name, i.path, i.class_id, float("nan"), float("nan"), 0.0, 1)
        for i in found.images
    ]
    page = render_report(report(Discovery(found.class_names, tuple(broken), found.regions)))
    assert data_of(page)["images"][0][2:4] == [None, None]
    assert "nan" not in " ".join(read(page).text).lower()
