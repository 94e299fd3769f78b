"""What the gallery's index and chunks say of a run, finished, without masks, or damaged."""

import base64
import io
import json
import zlib

import numpy as np
import pytest
from PIL import Image

from data_contracts.errors import ConfigError, CorruptArtefactError
from tests.reporting.gallery_run import IDS, SIZE, gallery_run, give_masks, photograph, two_squares
from wsis.method.masks import rle
from wsis.reporting.gallery.chunks import CHUNK, Gallery, index_of, inert
from wsis.reporting.gallery.entries import SIDE, entry_of
from wsis.reporting.page.report import report_html
from wsis.reporting.pictures.image_sets import SURE

SMALL = (SIDE * 60 // 80, SIDE)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return gallery_run(tmp_path_factory.mktemp("gallery") / "store")


@pytest.fixture
def gallery(built):
    return Gallery(built.run)


def entry(gallery: Gallery, image_id: str):
    return entry_of(gallery.sources, image_id)


def test_rows(gallery):
    """Of ten samples 6 have both squares, 3 the first, 1 the whole image; the prediction has the first, sure alone."""
    first = entry(gallery, "train0").row
    assert first["name"] == "train0" and first["split"] == "train" and first["classes"] == [1]
    assert first["company"] == "several" and first["disagreement"] == 0.0
    whole = 400 / 4800  # the first square's share of the image: its IoU with the whole
    assert first["loss"] == pytest.approx(1 - (0.6 * 0.5 + 0.3 * 1 + 0.1 * whole), abs=0.01)
    second = 900 / 4800
    mean = 0.6 * 1 + 0.3 * 0.5 + 0.1 * (whole + second) / 2
    assert first["iou"] == pytest.approx(mean, abs=0.01) and first["states"] == [2, 0, 0, 0]
    shifted = entry(gallery, "train4").row
    assert shifted["classes"] == [1, 2] and shifted["iou"] < first["iou"] and shifted["states"][0] < 2
    val = entry(gallery, "val0").row
    assert val["iou"] == pytest.approx(0.5, abs=0.01) and val["states"] == [
        1,
        0,
        0,
        1,
    ]  # the second has score 0.2
    assert not {"loss", "disagreement"} & val.keys()


def test_details(gallery):
    detail = entry(gallery, "train0").detail
    assert detail["size"] == list(SMALL) and detail["full"] == list(SIZE)
    masks = rle.decode_many([one.encode() for one in detail["masks"]], SMALL)
    assert len(masks) == 4  # two squares, the image, and the square as the network draws it
    assert [one["t"] for one in detail["iterations"]] == [1, 2]
    samples = detail["iterations"][0]["samples"]
    assert [one["count"] for one in samples] == [6, 3, 1]
    (true, other), (mask, label, thing, score) = detail["truth"], samples[1]["instances"][0]
    assert (mask, label, thing) == tuple(true[:3]) and score is None and true[3] is None
    assert masks[mask].mean() == pytest.approx(400 / 4800, rel=0.05) and other[2] == 1
    ((*_, thing, score),) = detail["iterations"][0]["prediction"]["instances"]
    assert thing == true[2] and score == 0.97 and "prediction" not in detail["iterations"][1]
    assert detail["boxes"][0] == [1, *(round(x * SIDE / 80, 1) for x in (10, 10, 30, 30))]
    assert len(detail["seeds"]) == 2 and detail["states"] == ["found", "found"]
    assert [one["t"] for one in entry(gallery, "val1").detail["iterations"]] == [1, 2]


def test_a_chunk_travels(gallery):
    entries = gallery.entries(0)
    data = gallery.chunk(0, entries)
    assert b"<" not in data and len(entries) == len(IDS) <= CHUNK and len(gallery) == 1
    chunk = json.loads(data)
    assert json.loads(zlib.decompress(base64.b64decode(chunk["details"]))) == [one.detail for one in entries]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(chunk["pictures"][1]))))
    assert picture.shape == (*SMALL, 3)
    wanted = Image.fromarray(photograph(1)).resize(SMALL[::-1], Image.Resampling.LANCZOS)
    assert np.abs(picture.astype(int) - np.asarray(wanted)).mean() < 4
    assert gallery.chunk(0, gallery.entries(0)) == data


def test_the_index(gallery, built):
    index = index_of(gallery, gallery.facts)
    assert [row["name"] for row in index["images"]] == IDS and index["total"] == len(IDS)
    assert index["classes"] == ["cat", "cow"] and index["colours"][0] == [230, 159, 0]
    assert "<" not in inert({"name": "</script>"})
    few = Gallery(built.run, 3)
    assert few.ids == [IDS[0], IDS[4], IDS[7]] and index_of(few, [])["total"] == len(IDS)
    assert index_of(None, [])["images"] == []


def test_without_masks_boxes_and_samples_speak(tmp_path):
    run = gallery_run(tmp_path / "store", masks=False).run
    row, detail = entry_of(Gallery(run).sources, "train1")
    assert row["company"] == "several" and "iou" not in row and "truth" not in detail and "loss" in row
    assert "iou" not in detail["iterations"][0]["samples"][0]
    text = report_html(run, None)
    assert "Nothing is scored: evaluate=false. Look at what the trained network predicts" in text
    assert "<h2>Results</h2>" not in text


def test_the_index_says_of_which_iterations_sets_are(gallery):
    """Train was predicted in iteration 1 alone, to feed iteration 2."""
    index = index_of(gallery, gallery.facts)
    assert index["last"] == {"sample": 2, "train": 1, "val": 2, "both": 1} and index["sure"] == SURE


def test_given_masks_are_told_from_samples(tmp_path):
    built = gallery_run(tmp_path / "store")
    give_masks(built, "train1")
    gallery = Gallery(built.run)
    row, detail = entry(gallery, "train1")
    assert row["given"] == 2 and [one.get("given") for one in detail["iterations"]] == [None, True]
    row, detail = entry(gallery, "train2")
    assert "given" not in row and not any("given" in one for one in detail["iterations"])


def test_given_masks_are_those_that_the_iteration_took(tmp_path):
    """The run has others since."""
    built = gallery_run(tmp_path / "store")
    give_masks(built, "train1")
    nothing = {"train3": built.run.records("corrections")["train1"]}
    built.commit("corrections", "later_corrections", "corrections", nothing)
    sources = Gallery(built.run).sources
    assert sources.is_given("train1", 2) and not sources.is_given("train3", 2)
    assert not sources.is_given("train1", 1)


def test_before_there_is_anything(built):
    run = built.run
    run.record = run.record.model_copy(update={"entries": {"dataset": run.record.entries["dataset"]}})
    row, detail = entry_of(Gallery(run).sources, "train0")
    assert set(row) == {"name", "split", "classes"} and detail["iterations"] == detail["masks"] == []
    run.record = run.record.model_copy(update={"entries": {}})
    with pytest.raises(ConfigError, match="no data set yet"):
        Gallery(run)
    assert 'id="gallery"' not in report_html(run, None)


def test_what_is_damaged_is_said_and_the_rest_is_shown(tmp_path):
    built = gallery_run(tmp_path / "store")
    place = built.record.entries["pseudo_labels@2"]
    for file in (built.store.root / place.stage / place.fingerprint).rglob("records.json"):
        file.write_text("{}")
    gallery = Gallery(built.run)
    assert any("pseudo_labels" in line and "damaged" in line for line in gallery.sources.unreadable)
    assert [one["t"] for one in entry(gallery, "train0").detail["iterations"]] == [1]
    place = built.record.entries["dataset"]
    for file in (built.store.root / place.stage / place.fingerprint).rglob("records.json"):
        file.write_text("{}")
    with pytest.raises(CorruptArtefactError):
        Gallery(built.run)
    assert "Not readable" in report_html(built.run, None)


def test_an_image_that_contradicts_itself_is_named(built, monkeypatch):
    gallery = Gallery(built.run)
    for records in gallery.sources.labels.values():
        read = records.read
        monkeypatch.setattr(
            records, "read", lambda i, f, read=read: {**read(i, f), "proposal_ids": np.full(4, 99, np.int32)}
        )
    row, detail = entry(gallery, "train2")
    assert detail is None and "proposal" in row["problem"] and row["name"] == "train2"


def test_the_store_is_not_written_and_pages_are_equal(built):
    before = {p: p.stat().st_mtime_ns for p in built.store.root.rglob("*")}
    assert report_html(built.run, None) == report_html(built.run, None)
    assert {p: p.stat().st_mtime_ns for p in built.store.root.rglob("*")} == before
    assert two_squares().shape == (2, *SIZE)
