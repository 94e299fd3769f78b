"""Masks as the places where they change, against dense masks."""

import numpy as np
import pytest

from wsis.errors import InputError
from wsis.method.masks import rle
from wsis.method.masks.flips import Enlarge, Shrink, compress, flips_of_mask, flips_of_runs, inside, runs_of
from wsis.method.masks.superpixels import nearest_indices, proposal_masks, resize_nearest


def random_masks(count, seed=0):
    """Masks of random size and density, the empty and the full one among them."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        height, width = rng.integers(1, 24, 2).tolist()
        yield rng.random((height, width)) < (0, 1, rng.random())[min(index, 2)], rng


def test_a_mask_by_hand():
    mask = np.array([[0, 1, 1], [1, 1, 0]], bool)  # column by column: 0 1, 1 1, 1 0
    assert flips_of_mask(mask).tolist() == [1, 5]
    assert runs_of(np.array([1, 5]), (2, 3)).tolist() == [1, 4, 1]
    assert flips_of_runs(np.array([1, 0, 0, 2, 0, 2, 1]), (2, 3)).tolist() == [1, 5]
    assert flips_of_runs(np.array([6]), (2, 3)).tolist() == []
    assert flips_of_runs(np.array([0, 6]), (2, 3)).tolist() == [0, 6]
    assert runs_of(np.array([0, 6]), (2, 3)).tolist() == [0, 6]
    assert inside(np.array([1, 5]), np.arange(6)).tolist() == [False, True, True, True, True, False]


def test_runs_flips_and_counts_agree_with_dense_masks():
    for mask, _ in random_masks(100):
        size, flips = mask.shape, flips_of_mask(mask)
        assert compress(flips, size) == rle.encode(mask)
        np.testing.assert_array_equal(flips_of_runs(rle.run_lengths(rle.encode(mask)), size), flips)
        np.testing.assert_array_equal(inside(flips, np.arange(mask.size)), mask.T.ravel())


def test_shrinking_is_nearest_neighbour():
    for mask, rng in random_masks(200, 1):
        target = int(rng.integers(1, mask.shape[0] + 1)), int(rng.integers(1, mask.shape[1] + 1))
        rows, columns = (nearest_indices(t, s) for t, s in zip(target, mask.shape, strict=True))
        found = Shrink(mask.shape, target)(flips_of_mask(mask))
        np.testing.assert_array_equal(found, flips_of_mask(mask[np.ix_(rows, columns)]))


def test_enlarging_is_nearest_neighbour_and_shrinking_undoes_it():
    for mask, rng in random_masks(200, 2):
        superpixels = np.unique(rng.integers(0, 5, mask.shape), return_inverse=True)[1].reshape(mask.shape)
        members = rng.random((3, superpixels.max() + 1)) < 0.4
        for size in ((37, 41), mask.shape, (1, 50), (5, 3)):  # also smaller than the superpixels' grid
            enlarge = Enlarge(superpixels, size)
            for row, dense in zip(members, proposal_masks(superpixels, members, size), strict=True):
                np.testing.assert_array_equal(enlarge(row), flips_of_mask(dense))
        back = Shrink((37, 41), mask.shape)(flips_of_mask(resize_nearest(mask, (37, 41))))
        np.testing.assert_array_equal(back, flips_of_mask(mask))


@pytest.mark.parametrize(
    ("runs", "match"),
    [
        ([2, 3], "cover 2 x 3 = 6 pixels, got 5 pixels"),
        ([2, 5], "got 7 pixels"),
        ([2, -1, 5], "got 6 pixels, shortest run -1"),
        ([], "got 0 pixels, shortest run None"),
    ],
)
def test_runs_that_are_no_mask_are_named(runs, match):
    with pytest.raises(InputError, match=match):
        flips_of_runs(np.array(runs, np.int64), (2, 3))


def test_shrinking_never_enlarges():
    with pytest.raises(InputError, match=r"at most the masks' size \(4, 4\), got \(4, 5\)"):
        Shrink((4, 4), (4, 5))
