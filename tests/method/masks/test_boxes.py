"""Box algebra against hand-worked values and dense masks."""

import numpy as np
import pytest

from wsis.errors import InputError
from wsis.method.masks.boxes import box_areas, box_iou, box_of_mask


def test_iou_by_hand():
    a = np.array([[0, 0, 2, 2], [1, 1, 1, 1]], np.float32)
    b = np.array([[1, 1, 3, 3], [0, 0, 2, 2], [5, 5, 6, 6], [1, 1, 1, 1]], np.float32)
    np.testing.assert_allclose(box_iou(a, b), [[1 / 7, 1, 0, 0], [0, 0, 0, 0]])
    assert box_areas(b).tolist() == [4, 4, 1, 0]


def test_iou_equals_dense_masks():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.integers(0, 12, (20, 2, 2)), axis=1)
    boxes = corners.reshape(20, 4)
    masks = np.zeros((20, 12, 12), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    common = (masks[:, None] & masks).sum((2, 3))
    union = (masks[:, None] | masks).sum((2, 3))
    np.testing.assert_allclose(box_iou(boxes, boxes), common / np.maximum(union, 1))


def test_box_of_mask():
    mask = np.zeros((5, 7), bool)
    assert box_of_mask(mask).tolist() == [0, 0, 0, 0]
    mask[3, 2] = True
    assert box_of_mask(mask).tolist() == [2, 3, 3, 4]
    mask[1, 6] = True
    assert box_of_mask(mask).tolist() == [2, 1, 7, 4]


@pytest.mark.parametrize(
    ("boxes", "match"),
    [
        (np.zeros(4), r"expected numbers \[N, 4\]"),
        (np.array([[0, 0, np.nan, 1]]), "finite"),
        (np.array([[3, 0, 2, 1]]), "x1 <= x2"),
    ],
)
def test_bad_boxes_are_named(boxes, match):
    with pytest.raises(InputError, match=match):
        box_iou(boxes, np.zeros((1, 4)))
