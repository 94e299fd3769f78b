"""Masks as polygons, for tools that have nothing else: their parts, simplified. Holes cannot be said and are filled.

Suffixes: H W image, P points.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pycocotools.mask as coco_mask
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.masks import rle

LEAST_IOU = 0.98  # of the simplified polygons with the mask, its holes filled
_TOLERANCES = (1.0, 0.5, 0.25, 0.0)  # pixels that an outline may stray, the coarsest first


def mask_polygons(mask: NDArray[np.bool_], least_iou: float = LEAST_IOU) -> list[NDArray[np.float64]]:
    """Outlines [P, 2] (x y in pixels) of the parts of a mask bool [H, W], the largest first; none of an empty mask.

    As few points as give the mask back, by COCO's rule which pixels a polygon covers, with an IoU of at least
    `least_iou` (holes filled); with all points they give it back exactly.

    Raises:
        InputError: `mask` is no boolean array of two axes.
    """
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise InputError(f"mask: expected bool [H, W], got {mask.dtype} {list(mask.shape)}")
    if not mask.any():
        return []
    # At twice the size the outline through centres of pixels lies a quarter of a pixel inside the mask's edge, nearer
    # to it than to any centre of the mask's own pixels.
    twice = cv2.resize(mask.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    outlines: Sequence[Any] = cv2.findContours(twice, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    outlines = sorted(outlines, key=cv2.contourArea, reverse=True)
    filled = [rle.encode(covered([_points(one) for one in outlines], mask.shape))]
    polygons: list[NDArray[np.float64]] = []
    for tolerance in _TOLERANCES:
        polygons = [_points(cv2.approxPolyDP(one, 2 * tolerance, closed=True)) for one in outlines]
        polygons = [one for one in polygons if len(one) > 2]
        again = [rle.encode(covered(polygons, mask.shape))]
        if rle.iou(again, filled, mask.shape)[0, 0] >= least_iou:
            return polygons
    return polygons


def _points(outline: NDArray[np.int32]) -> NDArray[np.float64]:
    """From pixels at twice the size to places in the image."""
    return (outline.reshape(-1, 2).astype(np.float64) + 0.5) / 2


def covered(polygons: Sequence[NDArray[np.float64]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels bool [H, W] that polygons of three points or more cover, by COCO's rule."""
    if not polygons:
        return np.zeros(size, dtype=bool)
    merged = coco_mask.merge(coco_mask.frPyObjects([one.ravel().tolist() for one in polygons], *size))
    return rle.decode(bytes(merged["counts"]), size)


def joined(polygons: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """One polygon [P, 2] of several parts, joined by bridges without width between their nearest points."""
    whole = polygons[0]
    for part in polygons[1:]:
        distances = np.hypot(*(whole[:, None] - part[None]).transpose(2, 0, 1))
        i, j = np.unravel_index(int(distances.argmin()), distances.shape)
        around = np.concatenate([part[j:], part[: j + 1]])
        whole = np.concatenate([whole[: i + 1], around, whole[i:]])
    return whole
