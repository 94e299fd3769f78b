"""Scores, interleaving and selection by hand and by brute force."""

import numpy as np
import pytest
from scipy import ndimage

from tests.method.proposals.mcg_cases import scene, voronoi
from wsis.method.masks.superpixels import areas_of, iou_matrix, superpixel_areas
from wsis.method.proposals import MCGConfig
from wsis.method.proposals.contours.detectors import LabGradient
from wsis.method.proposals.generator.generation import candidate_pool, select
from wsis.method.proposals.generator.holes import fill_holes, on_border, touching_pairs
from wsis.method.proposals.generator.pool import distinct_sets
from wsis.method.proposals.generator.ranking import (
    interleave,
    objectness,
    overlap_limits,
    select_loosening,
    take_turns,
    unlearned_order,
)


def test_objectness_by_hand():
    share = np.array([0.25, 1.0, 0.25])
    scores = objectness(share, np.array([10.0, 0, 6]), np.array([5.0, 0, 3]), np.array([0, 40, 6]))
    np.testing.assert_allclose(scores, [0.5 * 0.75 * 0.5, 0, 0.5 * 0.75 * 0.5 * 0.5])


def test_interleave_takes_the_best_of_each_list_first():
    which, row = interleave([np.array([0.1, 0.9]), np.array([0.5]), np.array([0.2, 0.3, 0.3])], [0, 0, 0])
    assert list(zip(which.tolist(), row.tolist(), strict=True)) == [
        (0, 1),
        (1, 0),
        (2, 1),
        (0, 0),
        (2, 2),
        (2, 0),
    ]


def test_rankings_take_turns_and_a_thing_comes_once():
    one, other, third = np.array([3, 1, 4, 5, 9]), np.array([1, 2]), np.array([9])
    assert take_turns([one, other, third], [2, 1, 1]).tolist() == [3, 1, 9, 4, 5, 2]


def test_limits_rise_with_the_size_of_a_thing():
    found = overlap_limits(np.array([0.001, 0.02, np.sqrt(0.02 * 0.2), 0.2, 1.0]), 0.5, 0.8)
    np.testing.assert_allclose(found, [0.5, 0.5, 0.65, 0.8, 0.8], rtol=1e-6)


def cells(count=144):
    """A dark ground with a grid of small bright squares, uint8 RGB: what ``objectness`` puts last."""
    image = np.full((96, 96, 3), 40, np.uint8)
    side = int(count**0.5)
    for number in range(count):
        y, x = 8 * (number // side) + 2, 8 * (number % side) + 2
        image[y : y + 4, x : x + 4] = (200, 180, 60 + number % 90)
    return image


def test_small_things_of_strong_contour_come_before_tuples_of_them():
    image = cells()
    pool = candidate_pool(image, MCGConfig(contour="lab_gradient"), LabGradient())
    sets = distinct_sets(pool)
    order = unlearned_order(pool, sets)
    assert sorted(order.tolist()) == list(range(len(sets.membership)))  # every set, once
    share = areas_of(select(pool, 200), pool.areas) / image[..., 0].size
    # 144 squares of 16 pixels: most places are theirs, and the ground keeps one
    assert (share < 0.01).mean() > 0.6
    assert share.max() > 0.5


def plain_order(pool, sets):
    """Round by round: twelve single regions of the contour, one of each hierarchy of appearance and, while the
    contour has some, one pair. Then every tuple, the best of each list, the second of each, and so on."""
    pixels, at = pool.graph.superpixels.size, 0
    contours, appearance, pairs, every = [], [], [], []
    for delay, (_, found) in zip(pool.delays, pool.lists, strict=True):
        size = found.nodes.shape[1]
        scored = []
        for row in range(len(found)):
            share = found.area[row] / pixels
            mean = found.boundary_strength[row] / max(found.boundary_length[row], 1)
            outside = found.border[row] / max(found.boundary_length[row] + found.border[row], 1)
            usual = share**0.5 * (1 - share) * mean * (1 - outside)
            which = int(sets.index[at + row])
            scored.append((usual, which))
            if size == 1:
                entry = (found.strength[row] * share**0.1, which)
                if delay:
                    appearance.append((len(every), entry))
                else:
                    contours.append(entry)
            elif size == 2 and not delay:
                pairs.append((usual, which))
        every.append([(rank + delay, which) for rank, (_, which) in enumerate(falling(scored))])
        at += len(found)
    lists = [(falling_once(contours), 12)]
    for number in sorted({number for number, _ in appearance}):
        lists.append((falling_once([entry for other, entry in appearance if other == number]), 1))
    lists.append((falling_once(pairs)[: -(-len(lists[0][0]) // 12)], 1))
    order = []
    while any(rest for rest, _ in lists):
        for rest, share in lists:
            order += rest[:share]
            del rest[:share]
    for rank in range(max(rank for one in every for rank, _ in one) + 1):
        order += [which for one in every for other, which in one if other == rank]
    return list(dict.fromkeys(order))


def falling(scored):
    return sorted(scored, key=lambda entry: -entry[0])


def falling_once(scored):
    return list(dict.fromkeys(which for _, which in falling(scored)))


@pytest.mark.parametrize("appearance", [True, False])
def test_order_equals_a_plain_one(appearance):
    image, _ = scene(seed=2)
    config = MCGConfig(contour="lab_gradient", max_side=64, max_regions=60, appearance=appearance)
    pool = candidate_pool(image, config, LabGradient())
    sets = distinct_sets(pool)
    found = unlearned_order(pool, sets)
    assert found.tolist() == plain_order(pool, sets)
    assert len(found) > 300


def plain_selection(iou, limits, count, share):
    chosen, waiting = [], list(range(len(iou)))
    for rank, small, large in limits:
        limit = overlap_limits(share, small, large)
        left = []
        for candidate in waiting:
            room = len(chosen) < min(rank, count)
            if room and all(iou[candidate, other] <= limit[candidate] for other in chosen):
                chosen.append(candidate)
            else:
                left.append(candidate)
        waiting = left
    return chosen


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 7, 60, 1000])
def test_loosening_selection_equals_brute_force(seed, count):
    rng = np.random.default_rng(seed)
    areas = rng.integers(1, 50, 12)
    membership = rng.random((400, 12)) < rng.random((400, 1))
    membership[~membership.any(axis=1), 0] = True
    limits = ((5, 0.3, 0.5), (20, 0.5, 0.7), (50, 0.8, 0.9), (10**9, 0.95, 0.95))
    found = select_loosening(membership, areas, limits, count)
    # the same float32 IoU, so that ties with a limit fall alike
    share = areas_of(membership, areas) / areas.sum()
    assert found.tolist() == plain_selection(iou_matrix(membership, membership, areas), limits, count, share)
    if count == 1000:  # duplicates above the last limit are gone, everything else is there
        iou = iou_matrix(membership[found], membership[found], areas) - np.eye(len(found))
        assert iou.max() <= 0.95
        left = np.setdiff1d(np.arange(400), found)
        assert (iou_matrix(membership[left], membership[found], areas).max(axis=1) > 0.95).all()


@pytest.mark.parametrize(
    "shape", [(14, 17, 45, 200), (30, 30, 160, 130), (1, 40, 12, 30), (9, 1, 4, 10), (2, 2, 4, 9)]
)
def test_hole_filling_equals_dense_masks(shape):
    height, width, cells, count = shape
    labels = voronoi(height, width, cells, seed=height)
    size = int(labels.max()) + 1
    rng = np.random.default_rng(cells)
    membership = rng.random((count, size)) < rng.choice([0.3, 0.6, 0.8], (count, 1))
    filled = fill_holes(membership, touching_pairs(labels), on_border(labels))
    changed = 0
    for before, after in zip(membership, filled, strict=True):
        expected = ndimage.binary_fill_holes(before[labels], np.ones((3, 3)))
        np.testing.assert_array_equal(after[labels], expected)
        changed += int((before != after).any())
    assert changed > 0 or min(height, width) <= 2


def test_a_ring_is_filled_and_a_gap_at_the_corner_is_not_a_hole():
    labels = np.arange(25).reshape(5, 5).astype(np.int32)
    ring = np.zeros((1, 25), bool)
    ring[0, [6, 7, 8, 11, 13, 16, 17, 18]] = True
    pairs, border = touching_pairs(labels), on_border(labels)
    assert fill_holes(ring, pairs, border).sum() == 9
    ring[0, 6] = False  # the middle now meets the outside across a corner
    assert fill_holes(ring, pairs, border).sum() == 7
    assert superpixel_areas(labels).sum() == 25
