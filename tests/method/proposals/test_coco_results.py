"""COCO results: out and in again, masks of any source, and every bad entry named."""

import json
import tracemalloc

import numpy as np
import pytest

from tests.method.proposals.mcg_cases import scene
from wsis.errors import InputError
from wsis.method.masks import rle
from wsis.method.masks.superpixels import adjacency, nearest_indices, resize_nearest
from wsis.method.proposals import ImportSettings, MCGConfig, generate, import_coco_results
from wsis.method.proposals.contours.detectors import LabGradient
from wsis.method.proposals.imports import complete
from wsis.method.proposals.imports.coco_results import coco_results, parse_entry

FILE = ImportSettings(ranking="file")
IMAGE = scene()[0]


def entries_of(masks, scores=None, compressed=True):
    found, masks = [], list(masks)
    for index, mask in enumerate(masks):
        counts = rle.encode(mask).decode()
        if not compressed:
            counts = rle.run_lengths(rle.encode(mask)).tolist()
        score = len(masks) - index if scores is None else scores[index]
        found.append({"segmentation": {"size": list(mask.shape), "counts": counts}, "score": score})
    return found


def parsed(entries):
    """As read from a file."""
    return [parse_entry(entry, f"entry {n}") for n, entry in enumerate(json.loads(json.dumps(entries)))]


def blobs(count, seed=0, size=(60, 90)):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    centres, radii = rng.random((count, 2)) * size, 3 + rng.random(count) * size[0] / 4
    return np.hypot(y - centres[:, :1, None], x - centres[:, 1:, None]) < radii[:, None, None]


@pytest.mark.parametrize(
    ("size", "max_side"), [((60, 90), 96), ((60, 90), 48), ((121, 53), 64), ((1, 1), 16)]
)
def test_what_is_written_comes_back(size, max_side):
    image = resize_nearest(IMAGE, size)
    config = MCGConfig(contour="lab_gradient", max_side=max_side, num_proposals=60, max_regions=80)
    proposals = generate(image, config)
    entries = json.loads(json.dumps(coco_results(proposals, 7, "a/b.jpg")))
    assert [set(entry) for entry in entries] == [
        {"image_id", "file_name", "category_id", "segmentation", "score"}
    ] * len(proposals)
    assert {(e["image_id"], e["file_name"], e["category_id"]) for e in entries} == {(7, "a/b.jpg", 1)}
    assert all(e["segmentation"]["size"] == list(size) for e in entries)
    dense = rle.decode_many([e["segmentation"]["counts"].encode() for e in entries], size)
    np.testing.assert_array_equal(dense, proposals.masks())
    found = import_coco_results(parsed(entries), image, "x", ImportSettings("file", max_side=max_side))
    np.testing.assert_array_equal(found.masks(), proposals.masks())
    np.testing.assert_allclose(found.scores, proposals.scores)
    np.testing.assert_array_equal(found.boxes, proposals.boxes)
    np.testing.assert_allclose(found.areas, proposals.areas)
    assert found.image_size == size and found.superpixels.shape == proposals.superpixels.shape


@pytest.mark.parametrize("compressed", [True, False])
def test_masks_of_any_source(compressed):
    masks = blobs(30)
    scores = np.random.default_rng(1).normal(size=30).tolist()
    found = import_coco_results(parsed(entries_of(masks, scores, compressed)), IMAGE, "x", FILE)
    order = np.argsort(-np.array(scores))
    np.testing.assert_array_equal(found.masks(), masks[order])
    np.testing.assert_allclose(found.scores, 1 - np.arange(30) / 30)
    edges, sums, lengths = adjacency(found.superpixels, LabGradient()(IMAGE, 1.0))
    np.testing.assert_array_equal(found.edges, edges)
    np.testing.assert_array_equal(found.edge_contours, sums)
    np.testing.assert_array_equal(found.edge_lengths, lengths)
    best = ImportSettings("file", num_proposals=5)
    np.testing.assert_array_equal(
        import_coco_results(parsed(entries_of(masks, scores)), IMAGE, "x", best).masks(), masks[order[:5]]
    )


def test_the_files_scores_are_not_used_unless_asked_for():
    masks = np.concatenate([scene()[1], blobs(10)])  # first the two discs that the picture shows
    one = import_coco_results(parsed(entries_of(masks, range(12))), IMAGE, "x")
    other = import_coco_results(parsed(entries_of(masks, [0.5] * 12)), IMAGE, "x")
    np.testing.assert_array_equal(one.masks(), other.masks())
    assert {one.masks()[k].tobytes() for k in (0, 1)} == {mask.tobytes() for mask in masks[:2]}


def test_scores_do_not_depend_on_how_many_are_scored_at_once(monkeypatch):
    masks = parsed(entries_of(blobs(30)))
    whole = import_coco_results(masks, IMAGE, "x")
    monkeypatch.setattr(complete, "_SCORED_AT_ONCE", 1)
    np.testing.assert_array_equal(import_coco_results(masks, IMAGE, "x").masks(), whole.masks())


def test_large_masks_are_taken_at_the_working_size():
    image = resize_nearest(IMAGE, (600, 900))
    masks = blobs(20, size=(600, 900))
    found = import_coco_results(parsed(entries_of(masks)), image, "x", ImportSettings("file", max_side=90))
    rows, columns = nearest_indices(60, 600), nearest_indices(90, 900)
    small = masks[:, rows[:, None], columns]
    np.testing.assert_array_equal(found.membership[:, found.superpixels], small)
    assert found.image_size == (600, 900) and found.masks().shape == (20, 600, 900)


def test_equal_and_empty_masks():
    mask, empty, dot = blobs(1)[0], np.zeros((60, 90), bool), np.zeros((60, 90), bool)
    dot[0, 1] = True
    found = import_coco_results(parsed(entries_of([mask, empty, mask, ~empty])), IMAGE, "x", FILE)
    np.testing.assert_array_equal(found.masks(), [mask, mask, ~empty])
    best = ImportSettings("file", num_proposals=1)
    np.testing.assert_array_equal(
        import_coco_results(parsed(entries_of([empty, mask])), IMAGE, "x", best).masks(), [mask]
    )
    for none in ([], [empty]):
        with pytest.raises(InputError, match="x: expected at least one proposal with pixels, got none"):
            import_coco_results(parsed(entries_of(none)), IMAGE, "x")
    between = ImportSettings(max_side=45)  # the dot lies between the pixels that are kept
    with pytest.raises(InputError, match="at least one proposal with pixels"):
        import_coco_results(parsed(entries_of([dot])), IMAGE, "x", between)


def test_superpixels_are_bounded():
    masks = np.random.default_rng(0).random((40, 60, 90)) < 0.5
    assert (
        import_coco_results(parsed(entries_of(masks)), IMAGE, "x").membership.shape[1] == 4096
    )  # of 5,400 pixels
    few = import_coco_results(parsed(entries_of(masks)), IMAGE, "x", ImportSettings("file", max_cells=300))
    assert few.membership.shape[1] == 300 and len(few) <= 40


def test_a_thousand_masks_of_a_large_image_need_little_memory():
    size = (1500, 2000)
    image = resize_nearest(IMAGE, size)
    masks = parsed(entries_of(resize_nearest(mask, size) for mask in blobs(20)) * 50)
    tracemalloc.start()
    found = import_coco_results(masks, image, "x", ImportSettings())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 1000 and found.superpixels.shape == (288, 384)
    assert peak < 60e6  # the masks alone, dense: 3 GB


GOOD = entries_of(blobs(1))[0]
COUNTS = GOOD["segmentation"]["counts"]


def entry(**segmentation):
    return {**GOOD, "segmentation": GOOD["segmentation"] | segmentation}


BAD = {
    "no segmentation": ({"score": 1.0}, "segmentation: expected run lengths {size, counts}, got None"),
    "polygons": (
        {**GOOD, "segmentation": [[0, 0, 5, 0, 5, 5]]},
        "segmentation: expected run lengths .*got polygons",
    ),
    "no size": (entry(size=None), r"segmentation.size: expected \[height, width\], got None"),
    "one size": (entry(size=[60]), r"segmentation.size: .*got \[60\]"),
    "zero size": (entry(size=[0, 90]), r"segmentation.size: .*got \[0, 90\]"),
    "fraction size": (entry(size=[60.0, 90]), "segmentation.size"),
    "no counts": (entry(counts=None), "segmentation.counts: expected compressed run lengths .*got None"),
    "empty counts": (entry(counts=""), "segmentation.counts"),
    "empty list": (entry(counts=[]), r"segmentation.counts: .*got \[\]"),
    "counts of text": (entry(counts=["a"]), "segmentation.counts"),
    "counts fractions": (entry(counts=[5.5, 3]), "segmentation.counts"),
    "counts negative": (entry(counts=[-5, 5405]), "segmentation.counts"),
    "counts true": (entry(counts=[True, 5399]), "segmentation.counts"),
    "counts not ascii": (entry(counts="é" + COUNTS), "segmentation.counts"),
    "no score": ({"segmentation": GOOD["segmentation"]}, "score: expected a finite number, got None"),
    "text score": ({**GOOD, "score": "0.5"}, "score: .*got '0.5'"),
    "nan score": ({**GOOD, "score": float("nan")}, "score: expected a finite number, got nan"),
    "infinite score": ({**GOOD, "score": float("inf")}, "score: .*got inf"),
    "huge score": ({**GOOD, "score": 10**400}, "score: expected a finite number"),
    "true score": ({**GOOD, "score": True}, "score: .*got True"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_entries_are_named(case):
    bad, match = BAD[case]
    with pytest.raises(InputError, match=f"^entry 3: {match}"):
        parse_entry(bad, "entry 3")


DAMAGED = {
    "other size": (
        entry(size=[50, 90]),
        r"segmentation.size: expected the image's size \[60, 90\] \(height, width\), got \[50, 90\]$",
    ),
    "turned": (entry(size=[90, 60]), ".*the mask lies on its side: was it made without the EXIF rotation"),
    "short runs": (
        entry(counts=[5, 10]),
        "segmentation.counts: expected runs that cover 60 x 90 = 5400 pixels, got 15",
    ),
    "long runs": (entry(counts=[5, 10**6]), ".*cover 60 x 90 = 5400 pixels, got 1000005"),
    "cut": (entry(counts=COUNTS[:-1]), "segmentation.counts: expected"),
    "no run lengths": (entry(counts="hello world"), "segmentation.counts: expected a compressed RLE"),
    "endless run": (entry(counts="o" * 20 + "0"), "segmentation.counts: a run of 21 characters"),
}


@pytest.mark.parametrize("case", DAMAGED, ids=str)
def test_damaged_masks_are_named_with_image_and_entry(case):
    bad, match = DAMAGED[case]
    with pytest.raises(InputError, match=f"image a: entry 1: {match}"):
        import_coco_results(parsed([GOOD, bad]), IMAGE, "image a")
