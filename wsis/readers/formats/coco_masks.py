"""Masks of COCO annotations: polygons and run lengths. Suffix: H W image."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
from numpy.typing import NDArray

from data_contracts.errors import DataError
from wsis.errors import InputError
from wsis.method.masks import rle
from wsis.readers.files.folder_files import finite_number


def has_mask(annotation: Mapping[str, Any]) -> bool:
    """Whether `segmentation` holds something: tools without masks leave it out or write null, [], [[]] or {}."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list):
        return any(polygon != [] for polygon in segmentation)
    return segmentation is not None and segmentation != {}


def segmentation_mask(annotation: Mapping[str, Any], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """Mask bool [H, W] of a COCO `segmentation`: polygons, run lengths, or compressed run lengths.

    Raises:
        DataError: absent, of another kind, of another size than the image, or damaged.
    """
    place = f"{where}: field 'segmentation'"
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list) and has_mask(annotation):
        return _polygons([polygon for polygon in segmentation if polygon != []], size, place)
    if isinstance(segmentation, dict):
        return _run_lengths(segmentation, size, place)
    raise DataError(f"{place}: expected polygons or run lengths, got {segmentation!r:.80}")


def _polygons(polygons: list[Any], size: tuple[int, int], place: str) -> NDArray[np.bool_]:
    """Points and lines, which tools leave behind where a corner was clicked once, cover no pixel."""
    checked = []
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) % 2:
            raise DataError(f"{place}: expected polygons [x, y, x, y, x, y, ...], got {polygon!r:.80}")
        points = np.array([finite_number(v, place) for v in polygon]).reshape(-1, 2)
        over = max(float(-points.min()), float((points - size[::-1]).max()))
        if over > max(size):
            raise DataError(
                f"{place}: expected points near the image of {size[1]} x {size[0]}, got one {over:g} pixels outside"
            )
        if len(points) > 2:
            checked.append(points.ravel().tolist())
    if not checked:
        return np.zeros(size, dtype=bool)
    merged = coco_mask.merge(coco_mask.frPyObjects(checked, *size))
    return rle.decode(bytes(merged["counts"]), size)


def _run_lengths(segmentation: Mapping[str, Any], size: tuple[int, int], place: str) -> NDArray[np.bool_]:
    declared, counts = segmentation.get("size"), segmentation.get("counts")
    if declared != list(size):
        raise DataError(
            f"{place}: expected a mask of the image's size {list(size)} (height, width), got {declared!r:.80}"
        )
    if isinstance(counts, str) and counts.isascii():
        try:
            return rle.decode(counts.encode(), size)
        except InputError as error:
            raise DataError(f"{place}: {error}") from error
    if not isinstance(counts, list) or not all(
        isinstance(c, int | float) and c >= 0 and c % 1 == 0 for c in counts
    ):
        raise DataError(f"{place}: field 'counts': expected text or run lengths, got {counts!r:.80}")
    if sum(counts) != size[0] * size[1]:
        raise DataError(f"{place}: expected runs that cover {size[0] * size[1]} pixels, got {sum(counts)}")
    foreground = np.arange(len(counts)) % 2 == 1
    return np.repeat(foreground, np.array(counts, np.int64)).reshape(size[::-1]).T
