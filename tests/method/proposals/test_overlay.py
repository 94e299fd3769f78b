"""The cells between masks: the coarsest partition, and what is given up where there are too many."""

import numpy as np
import pytest
from scipy import ndimage

from wsis.errors import InputError
from wsis.method.masks.flips import flips_of_mask
from wsis.method.proposals.imports import cells
from wsis.method.proposals.imports.cells import connected_cells, superpixels_of_masks


def overlaid(masks, *limit):
    return superpixels_of_masks([flips_of_mask(mask) for mask in masks], masks.shape[1:], *limit)


def ious(masks, superpixels, membership):
    found = membership[:, superpixels]
    return (found & masks).sum((1, 2)) / (found | masks).sum((1, 2))


def wobbly_discs(count, seed=0, size=(60, 80)):
    """The same few discs again and again, each with a boundary of its own: many slivers."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    masks = []
    for index in range(count):
        centre, radius = [(20, 20), (35, 55), (40, 25)][index % 3], (12, 15, 8)[index % 3]
        angle = np.arctan2(y - centre[0], x - centre[1])
        wobble = sum(rng.normal(0, 0.5) * np.cos(k * angle + rng.random() * 6) for k in (1, 2, 3, 5))
        masks.append(np.hypot(y - centre[0], x - centre[1]) < radius + wobble)
    return np.stack(masks)


def test_parts_are_numbered_in_scan_order_and_connected():
    values = np.array([[7, 7, 1, 7], [1, 7, 1, 7], [1, 1, 1, 7], [2, 7, 7, 7]])
    expected = [[0, 0, 1, 2], [1, 0, 1, 2], [1, 1, 1, 2], [3, 2, 2, 2]]
    assert connected_cells(values).tolist() == expected
    assert connected_cells(np.zeros((1, 1))).tolist() == [[0]]
    spiral = np.random.default_rng(0).random((40, 50)) < 0.55
    found = connected_cells(spiral)
    for value in (False, True):
        labels, count = ndimage.label(spiral == value)
        pairs = set(zip(labels[spiral == value], found[spiral == value], strict=True))
        assert len(pairs) == count == len(set(found[spiral == value]))


def test_partition_of_masks_is_the_coarsest_connected_one():
    masks = np.random.default_rng(3).random((3, 9, 11)) < 0.5
    superpixels, membership = overlaid(masks)
    np.testing.assert_array_equal(membership[:, superpixels], masks)
    code = masks[0] * 4 + masks[1] * 2 + masks[2]
    assert superpixels.max() + 1 == sum(ndimage.label(code == value)[1] for value in np.unique(code))


def test_equal_complementary_empty_and_no_masks():
    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:3] = True
    superpixels, membership = overlaid(np.stack([mask, mask, ~mask, np.zeros_like(mask)]))
    assert membership.tolist() == [[False, True], [False, True], [True, False], [False, False]]
    np.testing.assert_array_equal(superpixels, mask)
    superpixels, membership = superpixels_of_masks([], (4, 5))
    assert membership.shape == (0, 1) and not superpixels.any()


def test_a_sliver_goes_where_it_costs_least():
    """Two masks that differ by a strip of two pixels: giving the strip up costs least."""
    one = np.zeros((6, 9), bool)
    one[1:5, 1:5] = True
    other = one.copy()
    other[1:3, 5] = True
    superpixels, membership = overlaid(np.stack([one, other]))
    assert membership.shape == (2, 3)
    superpixels, membership = overlaid(np.stack([one, other]), 2)
    np.testing.assert_array_equal(
        membership[:, superpixels], [one, one]
    )  # the strip is ground now: as alike, and larger
    superpixels, membership = overlaid(np.stack([one, other]), 1)
    assert membership.tolist() == [[False], [False]]  # the ground is largest


def test_limited_cells_keep_the_masks_nearly():
    masks = wobbly_discs(90)
    exact, membership = overlaid(masks)
    assert exact.max() + 1 > 500 and (ious(masks, exact, membership) == 1).all()
    worst = 1.0
    for limit in (400, 200, 100):
        superpixels, membership = overlaid(masks, limit)
        assert superpixels.max() + 1 == membership.shape[1] == limit
        np.testing.assert_array_equal(connected_cells(superpixels), superpixels)  # connected, in scan order
        now = ious(masks, superpixels, membership).min()
        assert now <= worst
        worst = now
    assert worst > 0.8
    # against the plain way: the smallest cell first, into its neighbour with the longest common boundary
    assert ious(masks, *overlaid(masks, 200)).mean() > plain_merging(masks, exact, 200).mean() + 0.01


def plain_merging(masks, cells, limit):
    cells = cells.copy()
    member = {c: masks[:, cells == c][:, 0] for c in np.unique(cells)}
    while len(member) > limit:
        small = min(member, key=lambda c: (cells == c).sum())
        around = ndimage.binary_dilation(cells == small) & (cells != small)
        into = np.bincount(cells[around]).argmax()
        cells[cells == small] = into
        del member[small]
    found = np.zeros_like(masks)
    for cell, members in member.items():
        found[:, cells == cell] = members[:, None]
    return (found & masks).sum((1, 2)) / (found | masks).sum((1, 2))


def test_the_result_is_the_same_every_time():
    masks = wobbly_discs(40)
    for one, other in zip(overlaid(masks, 150), overlaid(masks, 150), strict=True):
        np.testing.assert_array_equal(one, other)


def test_bounds_are_named(monkeypatch):
    masks = np.random.default_rng(3).random((3, 9, 11)) < 0.5
    for limit in (0, 65_536):
        with pytest.raises(InputError, match=rf"max_cells: expected 1\.\.65535, got {limit}"):
            overlaid(masks, limit)
    monkeypatch.setattr(cells, "_MOST_CELLS", 20)
    with pytest.raises(InputError, match=r"masks: expected at most 20 regions between them, got \d+"):
        overlaid(masks)
