"""The report in a real browser, as a new user would try it; skipped where there is no Chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from protoanomalyncd.core.records import Skipped
from protoanomalyncd.discovery.metrics import metrics_of
from protoanomalyncd.reports import write_report
from tests.unit.reports.browser import CHROMIUM, Browser
from tests.unit.reports.builder import NASTY_NAMES, Pictures, discovery, report

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium: no chromium, chromium-browser or google-chrome found"
)
N_IMAGES = 120


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = discovery(
        N_IMAGES, 4, width=100, height=300, n_outliers=3, skipped=[Skipped("a.png", "too small")]
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    return write_report(path, report(found, Pictures(100, 300), metrics=metrics_of(found)))


@pytest.fixture
def opened(browser: Browser, page: Path) -> Iterator[Browser]:
    """The page, freshly loaded on a desktop; afterwards: silent, and nothing fetched."""
    browser.requests.clear()
    browser.complaints.clear()
    browser.size(1280, 900)
    browser.open(page)
    yield browser
    assert [url for url in browser.requests if not url.startswith("data:")] == [page.as_uri()]
    assert browser.complaints == []


def rows(browser: Browser, column: str) -> list[str]:
    """Text of one column of the table of images."""
    script = f"[...document.querySelectorAll('#table tbody .{column}')].map(e => e.textContent)"
    value: list[str] = browser.run(script)
    return value


def percentages(browser: Browser) -> list[int]:
    return [int(text.split()[-1].strip("<>%")) for text in rows(browser, "confidence")]


def choose(browser: Browser, control: str, value: str) -> None:
    """Set a field as typing or choosing does."""
    browser.run(
        f"(e => {{ e.value = {value!r}; e.dispatchEvent(new Event('input')) }})"
        f"(document.getElementById({control!r}))"
    )


def click(browser: Browser, selector: str) -> None:
    browser.run(f"document.querySelector({selector!r}).click()")


def visible(browser: Browser, selector: str) -> int:
    """How many elements take room on the page."""
    script = f"[...document.querySelectorAll({selector!r})].filter(e => e.getClientRects().length)"
    count: int = browser.run(f"{script}.length")
    return count


def test_the_answer_is_on_the_first_screen(opened: Browser) -> None:
    script = """
      const lines = [...document.querySelectorAll('.lead, .kinds tr')];
      lines.filter(e => e.getBoundingClientRect().bottom < innerHeight).map(e => e.innerText)
    """
    lines = opened.run(f"eval({script!r})")
    assert lines[0] == f"3 kinds of defect in {N_IMAGES} images."
    for name in ("kind 1", "kind 2", "kind 3", "could not be named", "normal"):
        line = next(text for text in lines[2:] if text.startswith(name))
        assert any(word in line for word in ("high", "medium", "low"))


def test_sorting(opened: Browser) -> None:
    names = rows(opened, "name")
    assert len(names) == 50
    assert names == sorted(names)
    click(opened, "#table th:nth-of-type(3) button")
    rising = percentages(opened)
    assert rising == sorted(rising)
    click(opened, "#table th:nth-of-type(3) button")
    falling = percentages(opened)
    assert falling == sorted(falling, reverse=True)
    assert falling[0] > rising[0]
    assert opened.run("document.querySelector('[aria-sort=descending]').innerText") == "Confidence"


def test_filters_and_pages(opened: Browser) -> None:
    assert opened.run("document.getElementById('shown').textContent") == f"1–50 of {N_IMAGES}"
    click(opened, "#next")
    click(opened, "#next")
    assert opened.run("document.getElementById('shown').textContent") == "101–120 of 120"
    choose(opened, "kind", "-1")
    assert set(rows(opened, "kind")) == {"could not be named"}
    assert len(rows(opened, "kind")) == 3
    choose(opened, "kind", "")
    choose(opened, "level", "low")
    assert all(text.startswith("low") for text in rows(opened, "confidence"))
    choose(opened, "level", "")
    choose(opened, "search", "TYPE_2/0001")
    assert set(rows(opened, "name")) == {"type_2/00010.png", "type_2/00014.png", "type_2/00018.png"}
    choose(opened, "search", "nowhere")
    assert opened.run("document.querySelector('#table .empty').innerText").startswith("No image")
    click(opened, "#class-2 .foot a")
    assert set(rows(opened, "kind")) == {"kind 2"}


def test_typical_and_least_sure(opened: Browser) -> None:
    assert visible(opened, "#class-1 .typical .tile") == 12
    assert visible(opened, "#class-1 .unsure .tile") == 0
    click(opened, "#class-1 [value=unsure]")
    assert visible(opened, "#class-1 .typical .tile") == 0
    assert visible(opened, "#class-1 .unsure .tile") == 12
    assert visible(opened, "#class-2 .typical .tile") == 12


def test_the_overlay_can_be_switched_off(opened: Browser) -> None:
    assert visible(opened, ".typical .heat") > 12
    click(opened, "#overlay")
    assert visible(opened, ".typical .heat") == 0
    assert visible(opened, ".typical .photo") > 12


def test_enlarging_by_keyboard(opened: Browser) -> None:
    opened.run("document.querySelector('#class-1 .open').focus()")
    opened.key("Enter", 13, "\r")
    assert opened.run("document.getElementById('viewer').open")
    first = opened.run("document.getElementById('viewer-name').textContent")
    assert visible(opened, ".panes svg") == 2
    assert "Whole image, 100 × 300 px" in opened.run("document.querySelector('.panes').innerText")
    opened.key("ArrowRight", 39)
    assert opened.run("document.getElementById('viewer-name').textContent") != first
    assert opened.run("document.querySelector('.place').textContent") == "2 of 12"
    opened.key("Escape", 27)
    assert not opened.run("document.getElementById('viewer').open")


def test_the_map_tells_what_a_dot_is(opened: Browser) -> None:
    opened.run("document.getElementById('map').scrollIntoView({behavior: 'instant'})")
    x, y, name = opened.run("""
      (() => {
        const box = document.getElementById('plot').getBoundingClientRect();
        const point = JSON.parse(document.getElementById('data').textContent).points[7];
        return [box.x + point[0] * box.width / 1000, box.y + point[1] * box.width / 1000, point[4]];
      })()
    """)
    opened.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert name in opened.run("document.getElementById('hint').innerText")
    assert visible(opened, "#hint img") == 1
    click(opened, ".keys [data-class='1']")
    assert visible(opened, "#plot path.faint") == 4
    click(opened, ".keys [data-class='1']")
    assert visible(opened, "#plot path.faint") == 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_sticks_out(opened: Browser, width: int, dark: bool) -> None:
    opened.size(width, 800, mobile=width < 700, dark=dark)
    assert opened.run("document.documentElement.scrollWidth") <= width
    colours = opened.run(
        "(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))"
        ".map(c => c.match(/\\d+/g).map(Number)[1])"
    )
    assert (colours[0] > colours[1]) == dark


def test_names_stay_text(browser: Browser, tmp_path: Path) -> None:
    found = discovery(0, names=NASTY_NAMES, class_names=("OK", "<b>x</b>", "\"'&", "日本"))
    path = write_report(tmp_path / "odd.html", report(found, title="<script>alert(1)</script>"))
    browser.complaints.clear()
    browser.open(path)
    assert sorted(rows(browser, "name")) == sorted(NASTY_NAMES)
    assert set(rows(browser, "kind")) == set(found.class_names)
    assert browser.run("document.scripts.length") == 2
    assert browser.run("document.querySelectorAll('img[onerror], b b, h1 script').length") == 0
    assert browser.complaints == []


def test_5000_images_stay_usable(browser: Browser, tmp_path: Path) -> None:
    path = write_report(tmp_path / "large.html", report(discovery(5000, 12)))
    browser.open(path)
    assert len(rows(browser, "name")) == 50
    milliseconds = browser.run("""
      (() => {
        const start = performance.now();
        document.querySelector('#table th:nth-of-type(2) button').click();
        return performance.now() - start;
      })()
    """)
    assert milliseconds < 1000
    choose(browser, "search", "04321")
    assert len(rows(browser, "name")) == 1


def test_an_empty_report_opens(browser: Browser, tmp_path: Path) -> None:
    path = write_report(tmp_path / "empty.html", report(discovery(0)))
    browser.complaints.clear()
    browser.open(path)
    assert browser.run("document.querySelector('.lead').textContent") == "There were no images."
    assert browser.complaints == []
