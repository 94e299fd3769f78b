"""RLE wrappers: round trips, areas, boxes, IoU, and damaged counts."""

import numpy as np
import pytest

from wsis.errors import InputError
from wsis.method.masks import rle


def random_masks(rng: np.random.Generator, n: int, size: tuple[int, int]) -> np.ndarray:
    return rng.random((n, *size)) < rng.random((n, 1, 1))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (13, 21), (120, 97)])
def test_round_trip(size):
    masks = random_masks(np.random.default_rng(1), 6, size)
    masks[0], masks[1] = False, True
    counts = rle.encode_many(masks)
    assert [rle.encode(mask) for mask in masks] == counts
    np.testing.assert_array_equal(rle.decode_many(counts, size), masks)
    for one, mask in zip(counts, masks, strict=True):
        decoded = rle.decode(one, size)
        assert decoded.dtype == bool
        np.testing.assert_array_equal(decoded, mask)


def test_runs_are_the_column_major_runs():
    """Columns of [[1, 0], [1, 0], [0, 1]] read 1 1 0 0 0 1: runs 0 (background), 2, 3, 1."""
    mask = np.array([[1, 0], [1, 0], [0, 1]], dtype=bool)
    np.testing.assert_array_equal(rle.run_lengths(rle.encode(mask)), [0, 2, 3, 1])


def test_runs_of_random_masks():
    for mask in random_masks(np.random.default_rng(2), 20, (40, 31)):
        flat = mask.ravel(order="F")
        edges = np.flatnonzero(np.diff(flat)) + 1
        expected = np.diff(np.concatenate([[0], edges, [flat.size]]))
        if flat[0]:
            expected = np.concatenate([[0], expected])
        np.testing.assert_array_equal(rle.run_lengths(rle.encode(mask)), expected)


def test_area_and_box():
    mask = np.zeros((10, 12), dtype=bool)
    mask[2:5, 3] = True
    mask[4, 3:9] = True
    counts = rle.encode(mask)
    assert rle.area(counts, (10, 12)) == 8
    np.testing.assert_array_equal(rle.bbox(counts, (10, 12)), [3, 2, 9, 5])
    np.testing.assert_array_equal(rle.bbox(rle.encode(np.zeros((4, 4), bool)), (4, 4)), [0, 0, 0, 0])


def test_iou_equals_pixel_counting():
    rng = np.random.default_rng(3)
    left, right = random_masks(rng, 5, (30, 40)), random_masks(rng, 4, (30, 40))
    values = rle.iou(rle.encode_many(left), rle.encode_many(right), (30, 40))
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            assert values[i, j] == pytest.approx((a & b).sum() / (a | b).sum(), abs=1e-12)
    crowd = rle.iou(rle.encode_many(left), rle.encode_many(right), (30, 40), np.array([True] * 4))
    assert crowd[2, 1] == pytest.approx((left[2] & right[1]).sum() / left[2].sum(), abs=1e-12)


def test_iou_of_empty_masks_is_zero():
    empty = rle.encode(np.zeros((6, 6), bool))
    assert rle.iou([empty], [empty], (6, 6))[0, 0] == 0


def test_subtract():
    rng = np.random.default_rng(4)
    masks, void = random_masks(rng, 3, (20, 15)), random_masks(rng, 1, (20, 15))[0]
    left = rle.subtract(rle.encode_many(masks), rle.encode(void), (20, 15))
    np.testing.assert_array_equal(rle.decode_many(left, (20, 15)), masks & ~void)


def test_empty_lists():
    assert rle.encode_many(np.zeros((0, 4, 5), bool)) == []
    assert rle.decode_many([], (4, 5)).shape == (0, 4, 5)
    assert rle.areas([], (4, 5)).shape == (0,)
    assert rle.bboxes([], (4, 5)).shape == (0, 4)
    one = rle.encode(np.ones((4, 5), bool))
    assert rle.iou([], [one], (4, 5)).shape == (0, 1)
    assert rle.iou([one], [], (4, 5)).shape == (1, 0)
    assert rle.subtract([], one, (4, 5)) == []


def test_damaged_counts_are_named():
    good = rle.encode(random_masks(np.random.default_rng(5), 1, (50, 50))[0])
    with pytest.raises(InputError, match=r"counts\[1\].*50 x 51 = 2550.*2500"):
        rle.areas([rle.encode(np.ones((50, 51), bool)), good], (50, 51))
    with pytest.raises(InputError, match="compressed RLE"):
        rle.decode(b"", (5, 5))
    with pytest.raises(InputError, match="compressed RLE"):
        rle.decode(b"\x00\xff", (5, 5))
    with pytest.raises(InputError, match="32 bits"):
        rle.decode(b"oooooooo0", (5, 5))
    with pytest.raises(InputError, match="expected bytes"):
        rle.decode("abc", (5, 5))
    with pytest.raises(InputError, match="cover"):
        rle.decode(good[:-2], (50, 50))


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (np.zeros((3, 3, 3), bool), "2 dimensions"),
        (np.full((3, 3), 2, np.uint8), "uint8 of 0 and 1"),
        (np.zeros((3, 3), np.float32), "float32"),
        (np.zeros((0, 3), bool), "at least 1"),
    ],
)
def test_bad_masks(mask, text):
    with pytest.raises(InputError, match=text):
        rle.encode(mask)


def test_bad_size_and_crowd():
    counts = rle.encode(np.ones((2, 2), bool))
    with pytest.raises(InputError, match="size"):
        rle.decode(counts, (0, 4))
    with pytest.raises(InputError, match=r"crowd: expected shape \(1,\)"):
        rle.iou([counts], [counts], (2, 2), np.zeros(2, bool))
