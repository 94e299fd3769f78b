"""Paste low-resolution soft masks into the image frame, as Mask R-CNN does.

A mask [M, M] covers its box: the centre of output pixel x lies at u = (x + 0.5 - x1) / (x2 - x1) * M - 0.5
in mask cells, values between cell centres are bilinear, and outside the mask there are zeros (MMDetection's
`_do_paste_mask`, grid_sample with align_corners=False). Bilinear weights are a product of a row and a
column factor, so one paste is `rows @ mask @ columns.T` over the box's pixels alone.

Suffixes: N detections, M mask cells a side, H W image, h w pixels touched by one box.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.masks import rle
from wsis.method.masks.rle import Size

THRESHOLD = 0.5  # soft values at least this are of the instance


def paste_masks(masks: NDArray[np.generic], boxes: NDArray[np.floating], size: Size) -> NDArray[np.bool_]:
    """Paste every mask; a pixel belongs to the instance when its soft value is >= THRESHOLD.

    masks: uint8 [N, M, M] (soft value * 255) or float [N, M, M] in [0, 1].
    boxes: float [N, 4] xyxy in image pixels (x2/y2 exclusive); may reach outside the image. A box without
        extent gives an empty mask.
    Returns bool [N, H, W]. For many large images use `paste_to_rle`, which holds one mask at a time.
    """
    pasted = np.zeros((len(masks), *size), dtype=bool)
    for index, (window, soft) in enumerate(soft_windows(masks, boxes, size)):
        pasted[index][window] = soft >= THRESHOLD
    return pasted


def paste_to_rle(masks: NDArray[np.generic], boxes: NDArray[np.floating], size: Size) -> list[bytes]:
    """As `paste_masks`, as N COCO RLE byte strings; memory for one image mask only."""
    counts = []
    for window, soft in soft_windows(masks, boxes, size):
        pasted = np.zeros(size, dtype=bool)
        pasted[window] = soft >= THRESHOLD
        counts.append(rle.encode(pasted))
    return counts


def soft_windows(
    masks: NDArray[np.generic], boxes: NDArray[np.floating], size: Size
) -> Iterator[tuple[tuple[slice, slice], NDArray[np.float32]]]:
    """Per mask: the window of the image that it can touch, and its soft values there, float32 [h, w] in [0, 1]."""
    soft_masks = _checked_masks(masks, boxes)
    cells_y, cells_x = soft_masks.shape[1:]
    for mask, (x1, y1, x2, y2) in zip(soft_masks, np.asarray(boxes, dtype=np.float64), strict=True):
        rows, row_weights = _axis_weights(y1, y2, cells_y, size[0])
        columns, column_weights = _axis_weights(x1, x2, cells_x, size[1])
        yield (rows, columns), row_weights @ mask @ column_weights.T


def _axis_weights(start: float, end: float, cells: int, length: int) -> tuple[slice, NDArray[np.float32]]:
    """Pixels of one axis within reach of the box, and their bilinear weights [pixels, cells]."""
    extent = end - start
    if extent <= 0:
        return slice(0, 0), np.zeros((0, cells), dtype=np.float32)
    reach = extent / cells / 2  # beyond the box the outermost cell fades out over half a cell
    first = int(np.clip(np.floor(start - reach - 0.5), 0, length))
    last = int(np.clip(np.ceil(end + reach + 0.5), first, length))
    u = (np.arange(first, last) + 0.5 - start) / extent * cells - 0.5
    weights = np.maximum(0.0, 1.0 - np.abs(u[:, None] - np.arange(cells)))
    return slice(first, last), weights.astype(np.float32)


def _checked_masks(masks: NDArray[np.generic], boxes: NDArray[np.floating]) -> NDArray[np.float32]:
    if masks.ndim != 3 or boxes.shape != (len(masks), 4):
        raise InputError(f"expected masks [N, M, M] and boxes [N, 4], got {masks.shape} and {boxes.shape}")
    if not np.isfinite(boxes).all():
        raise InputError(f"boxes: expected finite values, got {boxes[~np.isfinite(boxes).all(axis=1)][0]}")
    if masks.dtype == np.uint8:
        return masks.astype(np.float32) / np.float32(255)
    if not np.issubdtype(masks.dtype, np.floating):
        raise InputError(f"masks: expected uint8 or float, got {masks.dtype}")
    return masks.astype(np.float32)
