"""Boxes: float xyxy in pixels, x2 and y2 exclusive (one pixel at (x, y) is [x, y, x + 1, y + 1])."""

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError


def check_boxes(boxes: np.ndarray, field: str = "boxes") -> None:
    """InputError unless ``boxes`` is numeric [N, 4], finite, with x1 <= x2 and y1 <= y2."""
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype.kind not in "iuf":
        raise InputError(
            f"{field}: expected numbers [N, 4] xyxy, got shape {boxes.shape} dtype {boxes.dtype}"
        )
    if not np.isfinite(boxes).all():
        raise InputError(
            f"{field}: expected finite coordinates, got {boxes[~np.isfinite(boxes).all(axis=1)][0]}"
        )
    inverted = (boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1])
    if inverted.any():
        raise InputError(f"{field}: expected x1 <= x2 and y1 <= y2, got {boxes[inverted][0].tolist()}")


def box_areas(boxes: np.ndarray) -> NDArray[np.float64]:
    """Areas float64 [N] of boxes [N, 4]."""
    boxes = boxes.astype(np.float64)
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def box_iou(boxes_a: np.ndarray, boxes_b: np.ndarray) -> NDArray[np.float64]:
    """IoU of every pair, float64 [N, M] in [0, 1]; 0 where both boxes are empty.

    Raises InputError for boxes that are not finite [N, 4] with x1 <= x2 and y1 <= y2.
    """
    check_boxes(boxes_a, "boxes_a")
    check_boxes(boxes_b, "boxes_b")
    a, b = boxes_a.astype(np.float64)[:, None], boxes_b.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common = np.clip(sides, 0, None).prod(axis=-1)
    union = box_areas(boxes_a)[:, None] + box_areas(boxes_b)[None] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def box_of_mask(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Tight box float32 [4] of a mask bool [H, W]; zeros for an empty mask."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return np.zeros(4, np.float32)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
