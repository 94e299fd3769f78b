"""Import of MCG and COB files: round trips, and every damage named."""

import io

import numpy as np
import pytest
import scipy.io
from mcg_cases import scene, voronoi
from scipy import ndimage

from wsis.errors import InputError
from wsis.mcg import import_cob, import_mcg
from wsis.mcg.published import superpixels_of_masks


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
SCORES = np.random.default_rng(1).normal(size=(12, 1))


def mcg(**changes):
    variables = {
        "superpixels": (LABELS + 1).astype(np.uint16),
        "labels": cells([np.flatnonzero(row)[:, None].astype(np.uint16) + 1 for row in MEMBERSHIP]),
        "scores": SCORES,
    }
    return mat(**{k: v for k, v in (variables | changes).items() if v is not None})


def test_mcg_round_trip_in_the_files_order():
    found = import_mcg(mcg(), IMAGE, "x.mat", ranking="file")
    np.testing.assert_array_equal(found.superpixels, LABELS)
    order = np.argsort(-SCORES[:, 0])
    np.testing.assert_array_equal(found.membership, MEMBERSHIP[order])
    np.testing.assert_allclose(found.scores, 1 - np.arange(12) / 12)
    np.testing.assert_array_equal(found.masks()[0], MEMBERSHIP[order[0]][LABELS])
    assert found.image_size == (60, 90) and found.edge_contours.max() > 0
    best = import_mcg(mcg(), IMAGE, "x.mat", ranking="file", num_proposals=4)
    np.testing.assert_array_equal(best.membership, MEMBERSHIP[order[:4]])


def test_learned_scores_are_not_used_unless_asked_for():
    one = import_mcg(mcg(), IMAGE, "x.mat")
    other = import_mcg(mcg(scores=-SCORES), IMAGE, "x.mat")
    np.testing.assert_array_equal(one.membership, other.membership)
    assert sorted(map(bytes, one.membership)) == sorted(map(bytes, MEMBERSHIP))


def test_ids_that_do_not_occur_are_left_out():
    labels = LABELS.copy()
    labels[labels == 5] = 4
    found = import_mcg(mcg(superpixels=(labels + 1).astype(float)), IMAGE, "x.mat", ranking="file")
    assert found.membership.shape[1] == COUNT - 1
    order = np.argsort(-SCORES[:, 0])
    np.testing.assert_array_equal(found.masks()[0], MEMBERSHIP[order[0]][labels])


def test_cob_masks_become_sets_of_superpixels():
    masks = MEMBERSHIP[:, LABELS]
    for stored in (
        cells([mask.astype(np.uint8) for mask in masks]),
        np.moveaxis(masks, 0, 2).astype(np.uint8),
    ):
        found = import_cob(mat(maskmat=stored, scores=SCORES), IMAGE, "x.mat", ranking="file")
        np.testing.assert_array_equal(found.masks(), masks[np.argsort(-SCORES[:, 0])])
    ordered = import_cob(mat(maskmat=stored), IMAGE, "x.mat", ranking="file", num_proposals=5)
    np.testing.assert_array_equal(ordered.masks(), masks[:5])
    scored = import_cob(mat(maskmat=stored), IMAGE, "x.mat", num_proposals=5)
    assert len(scored) == 5 and (np.diff(scored.scores) < 0).all()


def test_partition_of_masks_is_the_coarsest_connected_one():
    masks = np.random.default_rng(3).random((3, 9, 11)) < 0.5
    superpixels, membership = superpixels_of_masks(masks, "x")
    np.testing.assert_array_equal(membership[:, superpixels], masks)
    code = masks[0] * 4 + masks[1] * 2 + masks[2]
    assert superpixels.max() + 1 == sum(ndimage.label(code == value)[1] for value in np.unique(code))


def test_empty_proposals_are_dropped():
    labels = cells([np.array([[1]]), np.array([[2]])])
    found = import_mcg(mcg(labels=labels, scores=np.array([1.0, 2.0])), IMAGE, "x.mat")
    assert len(found) == 2
    blank = np.zeros((60, 90), np.uint8)
    with pytest.raises(InputError, match="at least one proposal with pixels"):
        import_cob(mat(maskmat=cells([blank, blank])), IMAGE, "x.mat")


GOOD = mcg()
BAD_MCG = {
    "hdf5 7.3": (b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(500), r"version 7\.3 \(HDF5\)"),
    "hdf5 signature": (bytes(512) + b"\x89HDF\r\n\x1a\n", r"version 7\.3"),
    "empty": (b"", "x.mat: expected a MAT file"),
    "text": (b"not a mat file at all" * 20, "x.mat"),
    "cut short": (GOOD[: len(GOOD) // 2], "x.mat"),
    "flipped bytes": (GOOD[:300] + bytes(b ^ 255 for b in GOOD[300:420]) + GOOD[420:], "x.mat"),
    "no labels": (mcg(labels=None), r"variables .*got none named \['labels'\]"),
    "labels not a cell": (mcg(labels=np.ones((3, 3))), "labels: expected a cell vector"),
    "labels of text": (mcg(labels=cells(["ab"] * 12)), "labels: expected numbers"),
    "id beyond": (
        mcg(labels=cells([np.array([[COUNT + 1]])] * 12)),
        rf"ids in 1\.\.{COUNT}, got {COUNT + 1}",
    ),
    "id zero": (mcg(labels=cells([np.array([[0]])] * 12)), "got 0 in proposal 0"),
    "superpixel zero": (mcg(superpixels=LABELS), r"superpixels: expected ids in 1\.\.65535, got 0"),
    "superpixel fraction": (mcg(superpixels=LABELS + 1.5), "whole numbers"),
    "superpixel nan": (mcg(superpixels=np.full((60, 90), np.nan)), "whole numbers"),
    "superpixel text": (mcg(superpixels="abc"), "superpixels: expected numbers"),
    "other size": (
        mcg(superpixels=(LABELS + 1)[:50]),
        r"expected the image's size \(60, 90\), got \(50, 90\)",
    ),
    "scores too few": (mcg(scores=SCORES[:5]), "scores: expected 12 finite numbers"),
    "scores infinite": (mcg(scores=SCORES * np.inf), "scores: expected 12 finite"),
}


@pytest.mark.parametrize("case", BAD_MCG, ids=str)
def test_damaged_mcg_files_are_named(case):
    data, match = BAD_MCG[case]
    with pytest.raises(InputError, match=match):
        import_mcg(data, IMAGE, "x.mat", ranking="file")


@pytest.mark.parametrize(
    ("variables", "match"),
    [
        ({"masks": np.ones((60, 90))}, "maskmat"),
        ({"maskmat": np.ones((60, 90))}, "cell vector"),
        ({"maskmat": cells([np.ones((60, 91))])}, "image's size"),
        ({"maskmat": np.ones((90, 60, 2))}, "image's size"),
        ({"maskmat": cells([np.ones((60, 90))]), "scores": np.ones(3)}, "scores: expected 1 finite"),
    ],
)
def test_damaged_cob_files_are_named(variables, match):
    with pytest.raises(InputError, match=match):
        import_cob(mat(**variables), IMAGE, "x.mat")


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
