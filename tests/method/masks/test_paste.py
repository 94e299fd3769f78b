"""Pasting against torch's grid_sample (MMDetection's convention) and hand-worked cases."""

import numpy as np
import pytest
import torch
from torch.nn.functional import grid_sample

from wsis.errors import InputError
from wsis.method.masks import rle
from wsis.method.masks.paste import paste_masks, paste_to_rle, soft_windows


def paste_reference(mask: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """MMDetection's `_do_paste_mask` without its skip_empty shortcut, in float64."""
    x1, y1, x2, y2 = box
    y = (torch.arange(size[0], dtype=torch.float64) + 0.5 - y1) / (y2 - y1) * 2 - 1
    x = (torch.arange(size[1], dtype=torch.float64) + 0.5 - x1) / (x2 - x1) * 2 - 1
    grid = torch.stack([x[None].expand(size), y[:, None].expand(size)], dim=-1)[None]
    source = torch.from_numpy(mask.astype(np.float64))[None, None]
    return grid_sample(source, grid, align_corners=False)[0, 0].numpy()


def random_boxes(rng: np.random.Generator, n: int) -> np.ndarray:
    """Sub-pixel boxes from under one pixel to beyond every border of a 60 x 80 image."""
    corner = rng.uniform([-30, -30], [80, 60], size=(n, 2))
    extent = np.exp(rng.uniform(np.log(0.4), np.log(120), size=(n, 2)))
    return np.concatenate([corner, corner + extent], axis=1).astype(np.float32)


def paste_soft(masks, boxes, size):
    pasted = np.zeros((len(masks), *size), np.float32)
    for index, (window, soft) in enumerate(soft_windows(masks, boxes, size)):
        pasted[index][window] = soft
    return pasted


@pytest.mark.parametrize("cells", [1, 7, 28])
def test_soft_values_equal_grid_sample(cells):
    rng = np.random.default_rng(0)
    boxes, masks = random_boxes(rng, 60), rng.random((60, cells, cells)).astype(np.float32)
    pasted = paste_soft(masks, boxes, (60, 80))
    for index, box in enumerate(boxes):
        expected = paste_reference(masks[index], box.astype(np.float64), (60, 80))
        np.testing.assert_allclose(pasted[index], expected, atol=2e-6)


def test_hard_masks_equal_mmdet_away_from_the_threshold():
    rng = np.random.default_rng(1)
    boxes = random_boxes(rng, 40)
    masks = rng.integers(0, 256, (40, 28, 28), dtype=np.uint8)
    pasted = paste_masks(masks, boxes, (60, 80))
    for index, box in enumerate(boxes):
        soft = paste_reference(masks[index] / 255.0, box.astype(np.float64), (60, 80))
        clear = np.abs(soft - 0.5) > 1e-5
        np.testing.assert_array_equal(pasted[index][clear], (soft >= 0.5)[clear])


def test_full_mask_fills_an_integer_box_exactly():
    """A mask of ones over [3, 2, 9, 5] is 1 inside; the border pixels' values stay >= 0.5."""
    pasted = paste_masks(np.full((1, 28, 28), 255, np.uint8), np.array([[3, 2, 9, 5]], np.float32), (8, 12))
    expected = np.zeros((8, 12), bool)
    expected[2:5, 3:9] = True
    np.testing.assert_array_equal(pasted[0], expected)


def test_two_cells_interpolate():
    """Cells (0, 1) over a box 4 wide: pixel centres at u = -.25, .25, .75, 1.25, then 1.75 outside.

    Beyond the last cell centre (u = 1) the value fades to the zero outside: .75, .25.
    """
    mask = np.array([[[0.0, 1.0], [0.0, 1.0]]], np.float32)
    soft = paste_soft(mask, np.array([[1, 0, 5, 2]], np.float32), (2, 6))
    np.testing.assert_allclose(soft[0, 0], [0, 0, 0.25, 0.75, 0.75, 0.25], atol=1e-6)


def test_rle_equals_dense_and_empty_cases():
    rng = np.random.default_rng(2)
    boxes, masks = random_boxes(rng, 10), rng.integers(0, 256, (10, 28, 28), dtype=np.uint8)
    boxes[0, 2] = boxes[0, 0]  # no extent
    boxes[1] = [-40, -40, -10, -10]  # outside the image
    pasted = paste_masks(masks, boxes, (60, 80))
    assert not pasted[:2].any() and pasted[2:].any()
    assert paste_to_rle(masks, boxes, (60, 80)) == rle.encode_many(pasted)
    none = paste_masks(np.zeros((0, 28, 28), np.uint8), np.zeros((0, 4), np.float32), (60, 80))
    assert none.shape == (0, 60, 80)


@pytest.mark.parametrize(
    ("masks", "boxes", "text"),
    [
        (np.zeros((2, 28, 28), np.uint8), np.zeros((1, 4), np.float32), r"masks \[N, M, M\]"),
        (np.zeros((1, 28, 28), np.uint8), np.array([[0, 0, np.nan, 3]], np.float32), "finite"),
        (np.zeros((1, 28, 28), np.int64), np.ones((1, 4), np.float32), "int64"),
    ],
)
def test_bad_inputs(masks, boxes, text):
    with pytest.raises(InputError, match=text):
        paste_masks(masks, boxes, (5, 5))
