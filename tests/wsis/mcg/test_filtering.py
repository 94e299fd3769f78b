"""Filters by seeds and boxes against dense masks."""

import numpy as np
import pytest
from mcg_cases import voronoi

from wsis.errors import InputError
from wsis.masks.superpixels import proposal_masks, resize_nearest
from wsis.mcg.filtering import filter_by_boxes, filter_by_seeds, superpixels_at, touched_superpixels


@pytest.fixture
def proposals():
    labels = voronoi(20, 30, 40, 0)
    membership = np.random.default_rng(0).random((50, int(labels.max()) + 1)) < 0.1
    membership[~membership.any(axis=1), 0] = True
    return labels, membership, proposal_masks(labels, membership, (53, 71))


@pytest.mark.parametrize("grid", [(5, 7), (53, 71), (80, 100)])
def test_seed_masks_equal_dense_overlap(proposals, grid):
    labels, membership, dense = proposals
    seeds = np.random.default_rng(1).random((6, *grid)) < 0.02
    seeds[0] = False
    found = filter_by_seeds(membership, touched_superpixels(labels, seeds, (53, 71)))
    large = np.stack([resize_nearest(seed, (53, 71)) for seed in seeds])
    overlap = (dense[:, None] & large[None]).any((2, 3))
    assert found.kept.tolist() == np.flatnonzero(overlap.any(axis=1)).tolist()
    np.testing.assert_array_equal(found.matches, overlap[found.kept])
    np.testing.assert_array_equal(found.fallback, ~overlap.any(axis=0))
    assert not found.kept_all and found.fallback[0]


def test_seed_points_equal_dense_masks(proposals):
    labels, membership, dense = proposals
    points = np.stack(
        [np.random.default_rng(2).integers(0, 53, 9), np.random.default_rng(3).integers(0, 71, 9)], 1
    )
    touched = np.eye(membership.shape[1], dtype=bool)[superpixels_at(labels, points, (53, 71))]
    found = filter_by_seeds(membership, touched)
    inside = dense[:, points[:, 0], points[:, 1]]
    assert found.kept.tolist() == np.flatnonzero(inside.any(axis=1)).tolist()
    np.testing.assert_array_equal(found.matches, inside[found.kept])


def test_without_a_seed_everything_stays_and_says_so(proposals):
    _, membership, _ = proposals
    for touched in (np.zeros((0, membership.shape[1]), bool), np.zeros((2, membership.shape[1]), bool)):
        found = filter_by_seeds(membership, touched)
        assert found.kept_all and len(found.kept) == 50 and found.matches.shape == (50, len(touched))
        assert found.fallback.all()


def test_boxes_keep_what_overlaps_and_a_lonely_box_its_best():
    proposal_boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 6], [20, 20, 30, 30], [24, 20, 30, 30]], np.float32)
    boxes = np.array([[0, 0, 10, 10], [22, 22, 24, 26], [90, 90, 95, 95]], np.float32)
    found = filter_by_boxes(proposal_boxes, boxes)
    assert found.kept.tolist() == [0, 1, 2]
    assert found.matches.tolist() == [[True, False, True], [True, False, False], [False, True, False]]
    assert found.fallback.tolist() == [False, True, True] and not found.kept_all
    exact = filter_by_boxes(
        proposal_boxes, boxes[:1], 0.6
    )  # the second has IoU 0.6: at the threshold it stays
    assert exact.kept.tolist() == [0, 1] and not exact.fallback.any()
    nothing = filter_by_boxes(proposal_boxes, boxes[:0])
    assert nothing.kept_all and nothing.kept.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (
            lambda: superpixels_at(np.zeros((2, 2), int), np.array([[0, 9]]), (4, 4)),
            r"inside \(4, 4\), got \[0, 9\]",
        ),
        (lambda: superpixels_at(np.zeros((2, 2), int), np.array([[0.5, 1]]), (4, 4)), "integers"),
        (lambda: touched_superpixels(np.zeros((2, 2), int), np.zeros((2, 2)), (4, 4)), "seed masks"),
        (lambda: filter_by_seeds(np.ones((2, 3), bool), np.ones((1, 4), bool)), "touched"),
        (lambda: filter_by_boxes(np.zeros((1, 4)), np.zeros((1, 4)), 0.0), "threshold"),
    ],
)
def test_bad_input_is_named(call, match):
    with pytest.raises(InputError, match=match):
        call()
