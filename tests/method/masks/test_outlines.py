"""Masks as polygons: exact with all points, as near as asked for with few, every part kept."""

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from wsis.errors import InputError
from wsis.method.masks import rle
from wsis.method.masks.outlines import covered, joined, mask_polygons


def filled(mask: np.ndarray) -> np.ndarray:
    """The mask without holes."""
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    return np.any([ndimage.binary_fill_holes(parts == i + 1) for i in range(count)], axis=0)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float(rle.iou([rle.encode(one)], [rle.encode(other)], one.shape)[0, 0])


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.1, 3), st.floats(0.3, 0.9), st.integers(0, 99))
def test_polygons_give_the_mask_back(height: int, width: int, blur: float, share: float, seed: int) -> None:
    noise = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    mask = cv2.GaussianBlur(noise, (0, 0), blur)
    mask = mask >= np.quantile(mask, share)
    np.testing.assert_array_equal(covered(mask_polygons(mask, 1.0), mask.shape), filled(mask))
    few = mask_polygons(mask)
    assert iou(covered(few, mask.shape), filled(mask)) >= 0.98
    assert iou(covered([joined(few)], mask.shape), filled(mask)) >= 0.98


def test_a_disk_takes_few_points_and_parts_come_largest_first() -> None:
    rows, columns = np.mgrid[:200, :300]
    disk = (rows - 100) ** 2 + (columns - 80) ** 2 < 60**2
    (one,) = mask_polygons(disk)
    assert len(one) < 40 and len(mask_polygons(disk, 1.0)[0]) > 200
    disk[20:40, 250:280] = True
    large, small = mask_polygons(disk)
    assert np.ptp(large[:, 0]) > 100 and np.ptp(small[:, 0]) < 35
    ring = disk & ~((rows - 100) ** 2 + (columns - 80) ** 2 < 20**2)
    assert covered(mask_polygons(ring), ring.shape)[100, 80]  # a hole is filled


@pytest.mark.parametrize("mask", [np.ones((1, 1), bool), np.ones((5, 1), bool), np.eye(6, dtype=bool)])
def test_thin_masks(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(covered(mask_polygons(mask), mask.shape), mask)
    assert mask_polygons(np.zeros_like(mask)) == []


@pytest.mark.parametrize("mask", [np.zeros((3, 3)), np.zeros(3, bool)])
def test_what_is_no_mask(mask: Any) -> None:
    with pytest.raises(InputError, match=r"mask: expected bool \[H, W\], got"):
        mask_polygons(mask)
