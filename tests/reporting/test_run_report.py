"""Overlays and the HTML page of a whole run in a store."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from data_contracts.errors import ConfigError, DataError
from data_contracts.store import Store
from wsis.reporting.page.elements import amount, share
from wsis.reporting.page.report import report_html, write_report
from wsis.reporting.pictures import panels
from wsis.reporting.pictures.overlays import instance_colours
from wsis.reporting.pictures.pictures import (
    PANEL_SIDE,
    decode,
    overlays,
    picture_of,
    sources_of,
    write_overlays,
)
from wsis.reporting.pictures.text import text_size, wrapped
from wsis.views.run import Run

COLUMN, HEIGHT = PANEL_SIDE + 8, round(PANEL_SIDE * 60 / 80)


class Page(HTMLParser):
    """Checks that tags nest and collects images, tables' cells and links."""

    VOID = ("meta", "link", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.images, self.cells, self.links = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images.append(dict(attrs))
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)


def test_overlays_show_every_source(demo_run):
    """Six panels in rows of four: image, seeds, two of three unique samples; the third, prediction."""
    pictures = overlays(demo_run.run, "pseudo_labels@1", 2)
    assert [one.name for one in pictures] == ["photo0", "photo2"]
    assert pictures[0].picture.shape[1] == 4 * COLUMN + 8
    assert (panel(pictures[0].picture, 1, 1) != 255).any() and (panel(pictures[0].picture, 1, 2) == 255).all()


def test_an_overlay_says_of_which_iteration_its_prediction_is(demo_run, monkeypatch):
    """Of train the last iteration has none, and says why."""
    told = written(monkeypatch)
    overlays(demo_run.run, "predictions.val@2", 1)
    assert "prediction of iteration 2 (score\u00a0≥\u00a00.3): 1 found" in told
    del demo_run.record.entries["predictions.val@2"]
    overlays(demo_run.run, "pseudo_labels@2", 1)
    assert "no prediction of iteration 2: train images are predicted only to feed a next iteration" in told


def written(monkeypatch) -> list[str]:
    """What pictures are captioned, titled and explained with, from here on."""
    told: list[str] = []

    def heard(text: str, *of, **also) -> list[str]:
        told.append(text)
        return wrapped(text, *of, **also)

    monkeypatch.setattr(panels, "wrapped", heard)
    return told


def test_numbers_of_one_kind_have_one_precision():
    assert [amount(value) for value in (0.0, 0.8, 121.2, None)] == ["0.0", "0.8", "121.2", "–"]
    assert [share(value) for value in (0.0, 0.8, 1.0, None)] == ["0.000", "0.800", "1.000", "–"]


def panel(picture: np.ndarray, row: int, column: int, legend: int = 0) -> np.ndarray:
    """Of two rows of panels, each with its caption above, and lines of a legend below."""
    line = text_size("", 14)[1] + 5
    bottom = picture.shape[0] - 8 - legend * line - (1 - row) * (line + HEIGHT + 8)
    return picture[bottom - HEIGHT : bottom, 8 + column * COLUMN : 8 + column * COLUMN + PANEL_SIDE]


def test_overlay_samples_come_most_frequent_first(demo_run):
    """The most frequent sample has both squares, the next the first alone: its second square is untouched."""
    sources = sources_of(demo_run.run, 1)
    picture = picture_of(sources, "photo0")
    image, both, first = (panel(picture, 0, column, legend=1) for column in (0, 2, 3))
    second_square = np.s_[
        HEIGHT * 30 // 60 : HEIGHT * 50 // 60, PANEL_SIDE * 45 // 80 : PANEL_SIDE * 65 // 80
    ]
    assert (both[second_square] != image[second_square]).mean() > 0.9
    np.testing.assert_array_equal(first[second_square], image[second_square])


def test_overlays_are_written(demo_run, tmp_path):
    paths = write_overlays(demo_run.run, "predictions.val@2", 99, tmp_path / "out")
    assert [p.name for p in paths] == [f"predictions.val@2_photo{i}.png" for i in range(3)]
    assert np.asarray(Image.open(paths[0])).shape[2] == 3


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("pseudo_labels@9", "holds no 'pseudo_labels@9'; it holds dataset"),
        ("prediction@1", "nothing to draw"),
    ],
)
def test_what_cannot_be_drawn(demo_run, key, text):
    with pytest.raises(ConfigError, match=text):
        overlays(demo_run.run, key, 1)


def test_run_that_has_only_data(demo_run):
    demo_run.record.entries = {"dataset": demo_run.record.entries["dataset"]}
    ((*_, picture),) = overlays(demo_run.run, "dataset", 1)
    assert picture.shape[1] == COLUMN + 8
    page = Page(report_html(demo_run.run, 1))
    assert any("dataset photo0" in image["alt"] for image in page.images)


def test_boxes_are_drawn_before_there_are_seeds_and_with_them(demo_run):
    box = {"boxes": np.array([[20, 10, 60, 50]], np.float32), "box_labels": np.array([1], np.int32)}
    demo_run.commit("boxes", "boxes", "boxes", {"photo0": box})
    ((*_, with_seeds),) = overlays(demo_run.run, "boxes", 1)
    demo_run.record.entries = {key: demo_run.record.entries[key] for key in ("dataset", "boxes")}
    ((*_, picture),) = overlays(demo_run.run, "boxes", 1)
    assert picture.shape[1] == 2 * COLUMN + 8 < with_seeds.shape[1]  # image and boxes, side by side
    colour = instance_colours(1)[0]
    assert not (picture[:, :COLUMN] == colour).all(axis=2).any()
    assert (picture[:, COLUMN:] == colour).all(axis=2).sum() > 100


def test_report_is_one_page_that_needs_nothing_else(demo_run, tmp_path):
    path = write_report(demo_run.run, tmp_path / "report", images=2)
    text = path.read_text()
    page = Page(text)
    assert all(link.startswith(("data:image/", "data:,", "#")) for link in page.links)
    assert all(f'id="{link[1:]}"' in text for link in page.links if link.startswith("#"))
    assert len(page.images) == 1 + 2 + 4 * 2 + 2 + 1  # mAP, figures, pictures, curves, times
    assert all(image["alt"] for image in page.images)
    assert (
        text.count("Pseudo labels (samples of the conditional distribution)") == 1
    )  # above the figure, not in it once more
    assert [image["alt"] for image in page.images].count("photo0, photo1, photo2") == 2  # the two figures
    for cell in ("50.0", "pseudo labels", "prediction@2", "12 s", "0.610"):
        assert cell in page.cells
    start = page.cells.index("conditional@2")
    assert page.cells[start - 7 : start] == ["conditional@1", "90", "–", "–", "–", "1.88", "0.400"]
    assert page.cells[start : start + 7] == ["conditional@2", "90", "70", "1.50", "yes", "1.88", "0.400"]
    assert "<b>held-back loss</b>: on a few training images that no step learned from" in text
    assert "<b>DIV(p,c)</b>: distance of the samples from their target" in text
    start = page.cells.index("pseudo_labels@2")
    assert page.cells[start : start + 7] == ["pseudo_labels@2", "3", "0.250", "0.250", "0.250", "3.0", "0"]
    assert re.findall("<h2>(.+?)</h2>", text)[:8] == [  # what is looked for comes first
        "Results",
        "Pseudo labels, instance by instance",
        "Figures",
        "Pictures",
        "Conditional networks",
        "Training curves",
        "Where the time went",
        "Lineage",
    ]
    assert text.index("Learned from") < text.index("<h2>Results") < text.index('id="gallery-index"')
    assert len(list((tmp_path / "report" / "overlays").glob("*.png"))) == 8


def test_report_says_what_is_damaged_and_shows_the_rest(demo_run, tmp_path):
    shutil.copytree(demo_run.store.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    entry = demo_run.record.entries["evaluation.prediction@1"]
    metrics = store.root / entry.stage / entry.fingerprint / "metrics.json"
    metrics.write_text(json.dumps({}))
    text = report_html(Run(store, demo_run.record), 1)
    assert re.search(r"Not readable: artefact evaluation/\w+ is damaged: .*metrics\.json", text)
    assert "<h2>Lineage</h2>" in text and "data:image/jpeg" in text


@pytest.mark.parametrize("content", [None, "[", '[{"step": 1}]'])
def test_report_survives_a_curve_that_is_missing_or_damaged(demo_run, tmp_path, content):
    shutil.copytree(demo_run.store.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    before = len(Page(report_html(Run(store, demo_run.record), 0)).images)
    entry = next(e for key, e in demo_run.record.entries.items() if key == "prediction@1")
    curve = store.root / entry.stage / entry.fingerprint / "curve.json"
    curve.unlink()
    if content is not None:
        curve.write_text(content)
    text = report_html(Run(store, demo_run.record), 0)
    assert "curve.json is missing or damaged: wsis verify" in text
    assert len(Page(text).images) == before - 1


def test_report_escapes_what_it_shows(demo_run):
    demo_run.record.error, demo_run.record.status = "<script>alert(1)</script>", "failed"
    assert "<script>" not in report_html(demo_run.run, 0)


def test_decode_names_the_image():
    with pytest.raises(DataError, match="image photo9: field 'encoded'"):
        decode(b"no image", "photo9")
