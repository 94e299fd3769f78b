"""The page of a run as a person uses it, in a real browser, at the width of a desktop and of a phone."""

import io
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_page import repeated_page

from data_contracts.runs import save_run
from tests.reporting.gallery_run import IDS, gallery_run, give_masks
from wsis.apps import live_run
from wsis.apps.live_run import LiveRun
from wsis.apps.view_server import ViewServer
from wsis.reporting.page.report import write_report

playwright_api = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright: pip install 'wsis[dev]'"
)

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = {"desktop": (1280, 800), "phone": (390, 844)}
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium: $WSIS_CHROMIUM, else what is installed; skips without one."""
    path = os.environ.get("WSIS_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("needs Chromium (apt-get install chromium, or set WSIS_CHROMIUM to its path)")
    with playwright_api.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return gallery_run(tmp_path_factory.mktemp("gallery") / "store")


@pytest.fixture(scope="module")
def report(built, tmp_path_factory) -> Path:
    return write_report(built.run, tmp_path_factory.mktemp("report"))


class Visit:
    """A page in a window; what it said and asked for is kept."""

    def __init__(self, browser: Any, size: tuple[int, int], scheme: str = "light") -> None:
        width, height = size
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def names(self) -> list[str]:
        """Of the tiles, as they stand."""
        return self.page.locator(".tile b").all_text_contents()

    def choose(self, name: str, value: str) -> list[str]:
        self.page.select_option(f".tools [name={name}]", value)
        return self.names()

    def pixel(self, selector: str, x: float, y: float) -> list[int]:
        """RGB of a canvas at shares of its width and height."""
        return self.page.eval_on_selector(
            selector,
            "(c, [x, y]) => [...c.getContext('2d').getImageData(c.width * x, c.height * y, 1, 1).data].slice(0, 3)",
            [x, y],
        )

    def wait_drawn(self, selector: str) -> None:
        self.page.wait_for_function("s => document.querySelector(s)?.width > 20", arg=selector)


@pytest.fixture(params=WIDTHS)
def visit(browser, request) -> Iterator[Visit]:
    made = Visit(browser, WIDTHS[request.param])
    yield made
    made.context.close()
    assert made.errors == []


def test_numbers_come_first_and_nothing_is_asked_for(visit, report):
    visit.page.goto(report.as_uri())
    heights = visit.page.evaluate(
        "[...document.querySelectorAll('h1, .bars, #overview dl')].map(e => e.getBoundingClientRect().bottom)"
    )
    assert max(heights) < visit.page.viewport_size["height"]  # on the first screen
    assert visit.page.locator("a.first").bounding_box()["y"] < heights[0], "beside the name of the run"
    assert visit.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert {url.split(":", 1)[0] for url in visit.asked} <= {"file", "data"}
    visit.page.click("a.first")
    visit.wait_drawn(".tile canvas")
    visit.page.click("nav a[href='#lineage']")
    assert visit.page.evaluate("document.querySelector('#lineage').getBoundingClientRect().top") < 200


def test_a_table_says_where_it_goes_on(browser, report):
    """Its edge is shaded where it can be moved on, and there alone."""
    made = Visit(browser, WIDTHS["phone"])
    made.page.goto(report.as_uri())
    table = made.page.query_selector("#lineage .wide")
    assert table.evaluate("e => e.scrollWidth > e.clientWidth + 100")
    left, right = edges_of(table)
    assert right < left - 20, "more to the right"
    table.evaluate("e => { e.scrollLeft = 50; }")
    left, right = edges_of(table)
    assert left < 235 and right < 235, "more on both sides"
    table.evaluate("e => { e.scrollLeft = e.scrollWidth; }")
    left, right = edges_of(table)
    assert left < right - 20, "more to the left"
    made.context.close()


def edges_of(table: Any) -> tuple[float, float]:
    """Median grey of a table's pixels near its left and its right edge, most of which are ground."""
    grey = np.asarray(Image.open(io.BytesIO(table.screenshot())).convert("L"))
    return float(np.median(grey[:, 3])), float(np.median(grey[:, -4]))


def test_filters_and_sorts(visit, report):
    visit.page.goto(report.as_uri())
    assert visit.names()[:5] == [f"train{i}" for i in (4, 3, 2, 1, 0)]  # by disagreement
    assert sorted(visit.names()) == IDS and "8 of 8 images" in visit.page.inner_text(".count")
    assert visit.choose("sort", "name") == IDS
    by_iou = visit.choose("sort", "iou")
    assert by_iou.index("train4") < by_iou.index("train0") and len(by_iou) == 8
    assert visit.choose("class", "2") == ["train4"]
    visit.choose("class", "")
    assert sorted(visit.choose("split", "val")) == ["val0", "val1", "val2"]
    visit.choose("split", "")
    missed, found = visit.choose("state", "missed"), visit.choose("state", "all")
    assert "val0" in missed and "train0" in found and not {*missed} & {*found}
    assert visit.choose("company", "alone") == []
    assert "no image passes these filters" in visit.page.inner_text(".count")
    visit.choose("company", "several")
    visit.choose("state", "")
    visit.page.fill(".tools [name=name]", "RAIN2")
    assert visit.names() == ["train2"]


def test_one_image(visit, report):
    visit.page.goto(report.as_uri())
    visit.choose("sort", "name")
    visit.page.click(".tile >> nth=0")
    visit.wait_drawn(".main canvas")
    captions = visit.page.locator("#viewer .line span").all_text_contents()
    assert captions[:3] == ["given: cat", "2 seeds", "true masks: 2 found"]
    assert captions[3:7] == [
        "6 of 10 samples: IoU 100 %", "3 of 10 samples: IoU 50 %", "1 of 10 samples: IoU 14 %",
        "prediction (score ≥ 0.3): IoU 50 %",
    ]  # fmt: skip
    assert visit.page.locator("#viewer h3").all_text_contents() == [
        "Given",
        "Outer iteration 1",
        "Outer iteration 2",
    ]
    assert visit.page.evaluate("document.querySelector('#viewer').scrollWidth <= window.innerWidth")
    assert visit.page.inner_text(".facts").startswith(
        "train · among several of its class · disagreement 0.00"
    )
    visit.page.keyboard.press("ArrowRight")
    visit.page.wait_for_function("() => document.querySelector('#viewer h2').textContent === 'train1'")
    assert visit.page.url.endswith("#image=train1")
    visit.page.keyboard.press("ArrowLeft")
    visit.page.keyboard.press("ArrowLeft")
    visit.page.wait_for_function("() => document.querySelector('#viewer h2').textContent === 'val2'")
    visit.page.keyboard.press("Escape")
    visit.page.wait_for_function("() => !location.hash.startsWith('#image=')")
    assert not visit.page.is_visible("#viewer")


def test_masks_are_drawn_where_they_are(visit, report):
    """The first square covers 10..30 of 60 rows and of 80 columns; its colour is the palette's first."""
    visit.page.goto(f"{report.as_uri()}#image=train0")
    visit.wait_drawn(".main canvas")
    for name in ("photo", "line", "text"):
        visit.page.uncheck(f".layers [name={name}]")
    visit.page.click("[data-key='sample 1@1']")
    inside, outside = visit.pixel(".main canvas", 0.25, 0.33), visit.pixel(".main canvas", 0.7, 0.7)
    assert outside == [128, 128, 128] and inside == pytest.approx(
        [128 * 0.65 + 0.35 * c for c in (230, 159, 0)], abs=3
    )
    share = visit.page.eval_on_selector(
        ".main canvas",
        """c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 0; i < d.length; i += 4) n += d[i] !== 128; return n / (d.length / 4); }""",
    )
    assert share == pytest.approx(400 / 4800, rel=0.05)
    visit.page.click("[data-key='sample 0@1']")
    assert visit.pixel(".main canvas", 0.7, 0.7) != outside
    visit.page.uncheck(".layers [name=fill]")
    assert visit.pixel(".main canvas", 0.7, 0.7) == outside
    visit.page.check(".layers [name=line]")
    edge = [visit.pixel(".main canvas", 0.125 + x / 1000, 0.33) for x in range(-15, 16)]
    assert [230, 159, 0] in edge and min(
        map(sum, edge)
    ) < 120  # the line and what makes it seen on any ground


def test_a_link_opens_its_image_and_back_leaves_it(visit, report):
    visit.page.goto(f"{report.as_uri()}#image=val1")
    visit.wait_drawn(".main canvas")
    assert visit.page.inner_text("#viewer h2") == "val1"
    visit.page.click("#viewer [name=close]")
    visit.page.click(".tile >> nth=1")
    visit.page.wait_for_selector("#viewer[open]")
    visit.page.go_back()
    visit.page.wait_for_selector("#viewer", state="hidden")
    visit.page.goto(f"{report.as_uri()}#image=nobody")
    visit.page.wait_for_function(
        "() => document.querySelector('.count').textContent.includes('no image is called nobody')"
    )


def test_dark_is_dark_and_legible(browser, report):
    made = Visit(browser, WIDTHS["phone"], "dark")
    made.page.goto(f"{report.as_uri()}#image=train0")
    made.wait_drawn(".main canvas")

    def luminance(selector: str, name: str) -> float:
        colour = made.page.eval_on_selector(selector, f"e => getComputedStyle(e).{name}")
        return sum(map(int, colour[4:-1].split(","))) / 3

    for selector in ("body", "#viewer"):
        assert luminance(selector, "backgroundColor") < 40 < 200 < luminance(selector, "color")
    made.context.close()


def test_without_masks_nothing_empty_is_offered(visit, tmp_path):
    run = gallery_run(tmp_path / "store", masks=False).run
    visit.page.goto(f"{write_report(run, tmp_path / 'report').as_uri()}#image=train0")
    visit.wait_drawn(".main canvas")
    assert "true masks" not in visit.page.inner_text("#viewer") and not visit.page.is_visible(
        ".layers [name=truth]"
    )
    visit.page.keyboard.press("Escape")
    assert not visit.page.is_visible(".tools [name=state]") and visit.page.is_visible(".unscored")
    assert "iou" not in visit.page.locator(".tools [name=sort] option").evaluate_all(
        "all => all.map(o => o.value)"
    )
    assert visit.page.locator(".bars").count() == 0


def test_without_predictions_the_gallery_says_that_it_draws_pseudo_labels(visit, tmp_path):
    built = gallery_run(tmp_path / "store", masks=False)
    for key in [key for key in built.record.entries if key.startswith("predictions.")]:
        del built.record.entries[key]
    save_run(built.store, built.record)
    visit.page.goto(write_report(built.run, tmp_path / "report").as_uri())
    options = visit.page.locator(".tools [name=drawn] option:enabled").all_text_contents()
    assert options == ["each image's last pseudo labels", "photographs alone"]
    assert visit.page.input_value(".tools [name=drawn]") == "sample"
    assert "no prediction of its images: drawn are pseudo labels" in visit.page.inner_text(
        "#gallery > .about"
    )
    visit.page.click("a.first")
    val = visit.page.locator(".tile", has_text="val0")
    val.scroll_into_view_if_needed()
    visit.page.wait_for_function("() => document.querySelectorAll('.tile[data-instead]').length === 3")
    assert val.get_attribute("data-instead") == "no pseudo labels"


def test_a_tile_says_where_it_shows_another_set_than_was_asked_for(visit, report):
    visit.page.goto(report.as_uri())
    visit.page.click("a.first")
    assert "no prediction of its images" not in visit.page.inner_text("#gallery > .about")
    visit.wait_drawn(".tile canvas")
    assert visit.page.locator(".tile[data-instead]").count() == 0
    visit.choose("drawn", "sample")
    visit.page.wait_for_function(
        "() => document.querySelectorAll('.tile[data-instead=prediction]').length === 3"
    )


def test_tiles_say_of_which_iteration_their_set_is(visit, report):
    """Train is predicted only to feed iteration 2: its last prediction is of iteration 1."""
    visit.page.goto(report.as_uri())
    about = visit.page.locator("#gallery > .about")
    assert about.inner_text().startswith(
        "Drawn are predictions of score ≥ 0.3, of iteration 1 on train, of iteration 2 on val: train images are "
        "predicted only to feed a next iteration."
    )
    visit.choose("sort", "loss")
    assert "both of iteration 1" in about.inner_text()
    visit.choose("sort", "iou")
    assert (
        "on train of the samples of iteration 2, on val of the prediction of iteration 2"
        in about.inner_text()
    )
    visit.page.click("a.first")
    of_val = ".tile[data-drawn='iteration 2']"
    visit.page.wait_for_function("s => document.querySelectorAll(s).length === 3", arg=of_val)
    assert visit.page.locator(".tile[data-drawn='iteration 1']").count() == 5
    visit.choose("drawn", "sample")
    assert "pseudo labels of iteration 2" in about.inner_text()
    visit.page.goto(f"{report.as_uri()}#image=train0")
    visit.wait_drawn(".main canvas")
    said = visit.page.locator("#viewer .panels .note").all_text_contents()
    assert said == ["No prediction: train images are predicted only to feed a next iteration."]


def test_given_masks_are_marked(visit, tmp_path):
    built = gallery_run(tmp_path / "store")
    give_masks(built, "train1")
    visit.page.goto(f"{write_report(built.run, tmp_path / 'report').as_uri()}#image=train1")
    visit.wait_drawn(".main canvas")
    captions = visit.page.locator("#viewer .line span").all_text_contents()
    assert "given masks, from iteration 2 on" in captions
    assert any(one.startswith("given masks: IoU") for one in captions)
    assert not any(one.startswith("10 of 10") for one in captions)
    assert "given masks from iteration 2 on" in visit.page.inner_text(".facts")


def test_tiles_are_as_high_as_what_they_hold(browser, report):
    """In a window much taller than the few images need."""
    made = Visit(browser, (1280, 2400))
    made.page.goto(report.as_uri())
    made.page.click("a.first")
    made.wait_drawn(".tile canvas")
    heights = made.page.evaluate(
        "[...document.querySelectorAll('.tile')].map(e => e.getBoundingClientRect().height)"
    )
    assert len(heights) == len(IDS) and max(heights) < 150 + 60
    made.context.close()


def test_a_long_gallery_draws_what_is_seen(visit, tmp_path, built):
    """Two hundred tiles: the first are drawn before one scrolls, the last are not until one does."""
    visit.page.goto(repeated_page(built.run, 200, tmp_path / "long.html").as_uri())
    visit.page.click("a.first")
    visit.wait_drawn(".tile canvas")
    last = ".tile:last-of-type canvas"
    assert visit.page.eval_on_selector(last, "c => c.width") == 0
    visit.page.eval_on_selector(".tile:last-of-type", "e => e.scrollIntoView()")
    visit.wait_drawn(last)


def test_a_served_page_follows_its_run(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(live_run, "LOOKS", 0.1)
    built = gallery_run(tmp_path / "store")
    with LiveRun(built.run) as live, ViewServer(live) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            made = Visit(browser, WIDTHS["desktop"])
            made.page.goto(f"{server.url}#image=train0")
            made.wait_drawn(".main canvas")
            made.page.wait_for_function(
                "() => performance.getEntriesByType('resource').some(e => e.name.includes('/photo/0'))"
            )
            made.page.keyboard.press("Escape")
            built.record.status = "failed"
            save_run(built.store, built.record)
            made.page.wait_for_function(
                "() => document.querySelector('#overview').textContent.includes('failed')"
            )
            made.page.wait_for_function("() => document.querySelector('.tile b').textContent === 'train4'")
            assert made.errors == []
            origins = {url.split("/", 3)[2] for url in made.asked if not url.startswith("data:")}
            assert origins == {server.url.split("/")[2]}
            made.context.close()
        finally:
            server.shutdown()
            thread.join(20)
    assert json.loads(live.state())["status"] == "failed"
