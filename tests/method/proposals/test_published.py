"""Import of MCG and COB files: round trips, and every damage named."""

import io

import numpy as np
import pytest
import scipy.io
from scipy import sparse

from tests.method.proposals.mcg_cases import scene, voronoi
from wsis.errors import InputError
from wsis.method.proposals import ImportSettings, import_cob, import_mcg


def mat(**variables):
    stream = io.BytesIO()
    scipy.io.savemat(stream, variables, do_compression=True)
    return stream.getvalue()


def cells(arrays):
    result = np.empty((len(arrays), 1), object)
    for index, array in enumerate(arrays):
        result[index, 0] = array
    return result


IMAGE = scene()[0]
LABELS = voronoi(60, 90, 30, 0)
COUNT = int(LABELS.max()) + 1
MEMBERSHIP = np.random.default_rng(0).random((12, COUNT)) < 0.2
MEMBERSHIP[:, 3] = True
FILE = ImportSettings(ranking="file")
SCORES = np.random.default_rng(1).normal(size=(12, 1))


def mcg(**changes):
    variables = {
        "superpixels": (LABELS + 1).astype(np.uint16),
        "labels": cells([np.flatnonzero(row)[:, None].astype(np.uint16) + 1 for row in MEMBERSHIP]),
        "scores": SCORES,
    }
    return mat(**{k: v for k, v in (variables | changes).items() if v is not None})


def test_mcg_round_trip_in_the_files_order():
    found = import_mcg(mcg(), IMAGE, "x.mat", FILE)
    np.testing.assert_array_equal(found.superpixels, LABELS)
    order = np.argsort(-SCORES[:, 0])
    np.testing.assert_array_equal(found.membership, MEMBERSHIP[order])
    np.testing.assert_allclose(found.scores, 1 - np.arange(12) / 12)
    np.testing.assert_array_equal(found.masks()[0], MEMBERSHIP[order[0]][LABELS])
    assert found.image_size == (60, 90) and found.edge_contours.max() > 0
    best = import_mcg(mcg(), IMAGE, "x.mat", ImportSettings("file", num_proposals=4))
    np.testing.assert_array_equal(best.membership, MEMBERSHIP[order[:4]])


def test_learned_scores_are_not_used_unless_asked_for():
    one = import_mcg(mcg(), IMAGE, "x.mat")
    other = import_mcg(mcg(scores=-SCORES), IMAGE, "x.mat")
    np.testing.assert_array_equal(one.membership, other.membership)
    assert sorted(map(bytes, one.membership)) == sorted(map(bytes, MEMBERSHIP))


def test_ids_that_do_not_occur_are_left_out():
    labels = LABELS.copy()
    labels[labels == 5] = 4
    found = import_mcg(mcg(superpixels=(labels + 1).astype(float)), IMAGE, "x.mat", FILE)
    assert found.membership.shape[1] == COUNT - 1
    order = np.argsort(-SCORES[:, 0])
    np.testing.assert_array_equal(found.masks()[0], MEMBERSHIP[order[0]][labels])


def test_cob_masks_become_sets_of_superpixels():
    masks = MEMBERSHIP[:, LABELS]
    for stored in (
        cells([mask.astype(np.uint8) for mask in masks]),
        np.moveaxis(masks, 0, 2).astype(np.uint8),
    ):
        found = import_cob(mat(maskmat=stored, scores=SCORES), IMAGE, "x.mat", FILE)
        np.testing.assert_array_equal(found.masks(), masks[np.argsort(-SCORES[:, 0])])
    ordered = import_cob(mat(maskmat=stored), IMAGE, "x.mat", ImportSettings("file", num_proposals=5))
    np.testing.assert_array_equal(ordered.masks(), masks[:5])
    scored = import_cob(mat(maskmat=stored), IMAGE, "x.mat", ImportSettings(num_proposals=5))
    assert len(scored) == 5 and (np.diff(scored.scores) < 0).all()


def test_empty_proposals_are_dropped():
    labels = cells([np.array([[1]]), np.zeros((0, 0)), np.array([[2]])])
    found = import_mcg(mcg(labels=labels, scores=np.array([1.0, 3.0, 2.0])), IMAGE, "x.mat", FILE)
    np.testing.assert_array_equal(found.masks(), np.stack([LABELS == 1, LABELS == 0]))
    with pytest.raises(InputError, match=r"x\.mat: expected at least one proposal with pixels, got none"):
        import_mcg(mcg(labels=cells([np.zeros((0, 1))]), scores=np.ones(1)), IMAGE, "x.mat")
    blank, dot = np.zeros((60, 90), np.uint8), np.zeros((60, 90), np.uint8)
    dot[7, 8] = 1
    best = ImportSettings("file", num_proposals=1)
    stored = mat(maskmat=cells([blank, dot]), scores=np.array([2.0, 1.0]))
    np.testing.assert_array_equal(import_cob(stored, IMAGE, "x.mat", best).masks()[0], dot)
    with pytest.raises(InputError, match="at least one proposal with pixels"):
        import_cob(mat(maskmat=cells([blank, blank])), IMAGE, "x.mat")


def version_7_3():
    """How such a file begins: MATLAB's header in the HDF5 user block, HDF5's signature at byte 512."""
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  5 10:00:00 2015 HDF5 schema 1.00 ."
    return (text.ljust(124) + b"\x00\x02IM").ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n" + bytes(88)


def nan_at(row):
    scores = SCORES.copy()
    scores[row] = np.nan
    return scores


RESAVE = r"got version 7\.3 \(HDF5\); write it again in MATLAB: .*save\('new.mat', '-struct', 's', '-v7'\)"
GOOD = mcg()
BAD_MCG = {
    "7.3": (version_7_3(), RESAVE),
    "7.3, header alone": (version_7_3()[:200], RESAVE),
    "7.3, other header": (bytes(512) + version_7_3()[512:], RESAVE),
    "hdf5": (version_7_3()[512:], RESAVE),
    "empty": (b"", "x.mat: expected a MAT file of version 5 to 7, got 0 bytes of another kind"),
    "text": (b"not a mat file at all" * 20, "got 420 bytes of another kind"),
    "cut short": (GOOD[: len(GOOD) // 2], r"x\.mat: the MAT file is damaged: cut short"),
    "flipped bytes": (
        GOOD[:300] + bytes(b ^ 255 for b in GOOD[300:420]) + GOOD[420:],
        "the MAT file is damaged",
    ),
    "no labels": (mcg(labels=None), r"variables .*got none named \['labels'\]"),
    "labels not a cell": (mcg(labels=np.ones((3, 3))), "labels: expected a cell vector"),
    "labels an empty cell": (
        mcg(labels=np.empty((0, 1), object)),
        "labels: expected a cell vector with at least",
    ),
    "labels a table": (
        mcg(labels=np.full((2, 6), 1.0, object)),
        r"labels: expected a cell vector .*got object \(2, 6\)",
    ),
    "labels a struct": (mcg(labels={"a": 1}), "labels: expected numbers or a cell vector, got struct"),
    "labels of text": (
        mcg(labels=cells(["ab"] * 12)),
        "labels 0: expected numbers or a cell vector, got char",
    ),
    "labels of cells": (
        mcg(labels=cells([cells([np.ones(2)])] * 12)),
        "labels of proposal 0: expected numbers",
    ),
    "labels fractions": (mcg(labels=cells([np.array([1.5])] * 12)), "labels of proposal 0: expected whole"),
    "id beyond": (
        mcg(labels=cells([*[np.array([[1]])] * 11, np.array([[COUNT + 1]])])),
        rf"labels of proposal 11: expected superpixel ids in 1\.\.{COUNT}, got {COUNT + 1}",
    ),
    "id zero": (mcg(labels=cells([np.array([[0]])] * 12)), r"labels of proposal 0: .* got 0"),
    "id negative": (mcg(labels=cells([np.array([[-3]])] * 12)), r"labels of proposal 0: .* got -3"),
    "id huge": (mcg(labels=cells([np.array([[1e300]])] * 12)), "expected 32-bit numbers"),
    "superpixel zero": (mcg(superpixels=LABELS), r"superpixels: expected ids in 1\.\.65535, got 0"),
    "superpixel beyond": (
        mcg(superpixels=LABELS + 70_000),
        r"superpixels: expected ids in 1\.\.65535, got 70000",
    ),
    "superpixel fraction": (mcg(superpixels=LABELS + 1.5), "superpixels: expected whole numbers"),
    "superpixel nan": (mcg(superpixels=np.full((60, 90), np.nan)), "whole numbers"),
    "superpixel text": (mcg(superpixels="abc"), "superpixels: expected numbers"),
    "superpixel complex": (mcg(superpixels=(LABELS + 1) * 1j), "superpixels: expected numbers .*got complex"),
    "superpixel cell": (mcg(superpixels=cells([LABELS + 1])), "superpixels: expected numbers, got object"),
    "superpixel sparse": (
        mcg(superpixels=sparse.csc_array(LABELS + 1.0)),
        "superpixels: expected numbers .*got sparse",
    ),
    "superpixel empty": (mcg(superpixels=np.zeros((0, 0))), r"superpixels: .*size \(60, 90\), got \(0, 0\)"),
    "superpixel volume": (mcg(superpixels=np.ones((60, 90, 2))), r"superpixels: .*got \(60, 90, 2\)"),
    "other size": (
        mcg(superpixels=(LABELS + 1)[:50]),
        r"superpixels: expected the image's size \(60, 90\), got \(50, 90\)",
    ),
    "turned": (mcg(superpixels=(LABELS + 1).T), r"expected the image's size \(60, 90\), got \(90, 60\)"),
    "scores too few": (mcg(scores=SCORES[:5]), r"scores: expected 12 numbers, got float64 \(5, 1\)"),
    "scores empty": (mcg(scores=np.zeros((0, 0))), "scores: expected 12 numbers"),
    "scores text": (mcg(scores="high"), "scores: expected numbers .*got char"),
    "scores nan": (
        mcg(scores=nan_at(7)),
        r"scores: expected finite numbers, got nan for proposal 7 \(1 such\)",
    ),
    "scores infinite": (
        mcg(scores=SCORES * np.inf),
        r"scores: expected finite numbers, got -?inf .*\(12 such\)",
    ),
}


@pytest.mark.parametrize("case", BAD_MCG, ids=str)
def test_damaged_mcg_files_are_named(case):
    data, match = BAD_MCG[case]
    with pytest.raises(InputError, match=match):
        import_mcg(data, IMAGE, "x.mat", FILE)


ONES = np.ones((60, 90))


@pytest.mark.parametrize(
    ("variables", "match"),
    [
        ({"masks": ONES}, r"variables \['maskmat'\], got none"),
        ({"maskmat": ONES}, "maskmat: expected a cell vector"),
        ({"maskmat": cells([ONES, np.ones((60, 91))])}, r"maskmat 1: .*size \(60, 90\), got \(60, 91\)"),
        ({"maskmat": np.ones((90, 60, 2))}, "image's size"),
        ({"maskmat": np.zeros((60, 90, 0))}, "at least one"),
        ({"maskmat": cells([ONES, ONES * np.nan])}, "maskmat 1: expected whole numbers"),
        ({"maskmat": cells([ONES, "mask"])}, "maskmat 1: expected numbers .*got char"),
        ({"maskmat": cells([ONES, np.zeros((0, 0))])}, r"maskmat 1: .*got \(0, 0\)"),
        ({"maskmat": cells([ONES]), "scores": np.ones(3)}, "scores: expected 1 numbers"),
        (
            {"maskmat": cells([ONES]), "scores": np.array([np.nan])},
            "scores: expected finite numbers, got nan",
        ),
    ],
)
def test_damaged_cob_files_are_named(variables, match):
    with pytest.raises(InputError, match=match):
        import_cob(mat(**variables), IMAGE, "x.mat")


def test_version_7_3_of_cob_is_named():
    with pytest.raises(InputError, match=RESAVE):
        import_cob(version_7_3(), IMAGE, "x.mat")


def test_random_damage_never_escapes_as_another_error():
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        data = bytearray(GOOD)
        for at in rng.integers(0, len(data), 3):
            data[at] = rng.integers(0, 256)
        try:
            import_mcg(bytes(data), IMAGE, "x.mat")
        except InputError:
            refused += 1
    assert refused > 20
