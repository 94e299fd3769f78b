"""Proposal retrieval: the metric against dense masks, the choice by hand, suppression and bad input."""

import cv2
import numpy as np
import pytest

from wsis.errors import InputError
from wsis.method.prm.retrieval import RetrievalConfig, contour_sums, retrieve, score_proposals

ALL = RetrievalConfig(max_proposals=None)


def voronoi(rng: np.random.Generator, size: tuple[int, int], count: int) -> np.ndarray:
    """Superpixels of any shape: nearest of random points; ids 0..count-1 all present."""
    points = rng.permutation(size[0] * size[1])[:count]
    rows, columns = np.mgrid[: size[0], : size[1]]
    distance = (rows[..., None] - points // size[1]) ** 2 + (columns[..., None] - points % size[1]) ** 2
    return distance.argmin(2).astype(np.int32)


def dense_contour(mask: np.ndarray, width: int) -> np.ndarray:
    return cv2.morphologyEx(
        mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((width, width), np.uint8)
    ).astype(bool)


@pytest.mark.parametrize("width", [1, 3, 5, 9])
def test_contour_sums_equal_dense_morphology(width):
    rng = np.random.default_rng(width)
    superpixels = voronoi(rng, (31, 44), 25)
    membership = rng.random((40, 25)) < 0.4
    membership[0], membership[1] = True, False  # the whole image has no contour, nor has nothing
    values = rng.random((31, 44, 3))
    got = contour_sums(superpixels, membership, values, width)
    for row, members in zip(got, membership, strict=True):
        band = dense_contour(members[superpixels], width)
        np.testing.assert_allclose(row, values[band].sum(0), rtol=1e-9, atol=1e-9)
    assert np.abs(got[:2]).max() == 0


def test_score_equals_the_formula_on_dense_masks():
    rng = np.random.default_rng(0)
    size = (24, 36)
    superpixels = voronoi(rng, size, 20)
    membership = rng.random((30, 20)) < 0.3
    responses = rng.integers(0, 256, (3, *size)).astype(np.uint8)
    class_maps = rng.integers(0, 256, (2, *size)).astype(np.uint8)
    peaks = np.array([[4, 1, 1], [2, 5, 5], [4, 9, 9]])
    got = score_proposals(peaks, responses, class_maps, np.array([2, 4]), superpixels, membership, ALL)
    for n, (label, _, _) in enumerate(peaks):
        response = responses[n] / responses[n].sum()
        class_map = class_maps[[2, 4].index(label)].astype(float)
        background = (class_map < 0.95 * class_map.mean()) / class_map.size
        for p, members in enumerate(membership):
            mask = members[superpixels]
            expected = (
                0.8 * response[mask].sum()
                + response[dense_contour(mask, 5)].sum()
                - 2 * background[mask].sum()
            )
            assert got[n, p] == pytest.approx(expected, abs=1e-6)


def scene():
    """Two squares, superpixels 1 and 2, on ground 0 with a bridge 3 between them; proposals of all kinds."""
    superpixels = np.zeros((40, 60), np.int32)
    superpixels[10:30, 5:25], superpixels[10:30, 35:55] = 1, 2
    superpixels[10:30, 25:35] = 3
    membership = np.array([[1, 1, 1, 1], [0, 1, 1, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], bool)
    response = np.zeros((2, 40, 60), np.float32)
    response[0, 12:28, 7:23], response[1, 12:28, 37:53] = 1, 1
    response[0, 10:30, 5:7] = 3  # the outline responds most
    class_map = np.isin(superpixels, (1, 2)).astype(np.float32)[None] * 255
    return superpixels, membership, response, class_map


def test_each_peak_retrieves_its_own_object():
    superpixels, membership, response, class_map = scene()
    peaks = np.array([[1, 20, 15], [1, 20, 45]])
    found = retrieve(peaks, response, class_map, np.array([1]), superpixels, membership, RetrievalConfig())
    np.testing.assert_array_equal(found.proposal_ids, [3, 4])
    np.testing.assert_array_equal(found.labels, [1, 1])
    assert found.values[0] > found.values[1] > 0.7


def test_second_peak_on_the_same_proposal_is_suppressed():
    superpixels, membership, response, class_map = scene()
    peaks = np.array([[1, 20, 45], [1, 20, 15], [1, 15, 10]])
    maps = np.stack([response[1], response[0], response[0] ** 2])
    found = retrieve(peaks, maps, class_map, np.array([1]), superpixels, membership, RetrievalConfig())
    assert sorted(found.proposal_ids.tolist()) == [3, 4]


def test_limits_on_proposals():
    superpixels, membership, response, class_map = scene()
    arguments = (np.array([[1, 20, 15]]), response[:1], class_map, np.array([1]), superpixels, membership)
    few = retrieve(*arguments, RetrievalConfig(max_proposals=3))
    assert few.proposal_ids.tolist() == [1]  # both squares with the bridge: the best of the first three
    values = score_proposals(*arguments, ALL)
    # areas: 1, 5/12, 7/12, 1/6, 1/6 of the image; one that is nearly all of it is not considered
    np.testing.assert_array_equal(np.isfinite(values[0]), [False, True, True, True, True])
    none = retrieve(*arguments, RetrievalConfig(max_proposals=1))
    assert len(none.proposal_ids) == 0 and none.values.dtype == np.float32


def test_no_peaks_no_proposals_no_response():
    superpixels, membership, response, class_map = scene()
    rest = (class_map, np.array([1]), superpixels)
    assert len(retrieve(np.zeros((0, 3), int), response[:0], *rest, membership, ALL).labels) == 0
    assert len(retrieve(np.array([[1, 2, 3]]), response[:1], *rest, membership[:0], ALL).labels) == 0
    dark = retrieve(np.array([[1, 2, 3]]), response[:1] * 0, *rest, membership, RetrievalConfig())
    assert dark.values[0] == 0  # nothing responds: a proposal without background scores 0


def test_bad_input():
    superpixels, membership, response, class_map = scene()
    rest = (superpixels, membership, ALL)
    with pytest.raises(InputError, match=r"maps of the peaks' classes, none for \[2\]"):
        retrieve(np.array([[2, 0, 0]]), response[:1], class_map, np.array([1]), *rest)
    with pytest.raises(InputError, match="N peak_response_maps"):
        retrieve(np.array([[1, 0, 0]]), response, class_map, np.array([1]), *rest)
    with pytest.raises(InputError, match="one class for each of 1 maps, got 2"):
        retrieve(np.array([[1, 0, 0]]), response[:1], class_map, np.array([1, 2]), *rest)
