"""Masks of COCO annotations: polygons and run lengths. Suffix: H W image."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from wsis.errors import InputError
from wsis.method.masks import rle
from wsis.readers.shared.regions import polygons_mask

_NOTHING: tuple[Any, ...] = (None, [], "")


def has_mask(annotation: Mapping[str, Any]) -> bool:
    """Whether `segmentation` holds something: tools without masks leave it out or write null, [], [[]], [null], {},
    empty text, or run lengths without a run."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list):
        return bool(segmentation) and (
            bool(segmentation[0]) or any(polygon not in _NOTHING for polygon in segmentation)
        )
    if isinstance(segmentation, dict):
        return bool(segmentation) and segmentation.get("counts", "absent") not in _NOTHING
    return segmentation not in _NOTHING


def segmentation_mask(annotation: Mapping[str, Any], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """Mask bool [H, W] of a COCO `segmentation`: polygons, run lengths, or compressed run lengths.

    Raises:
        DataError: absent, of another kind, of another size than the image, or damaged.
    """
    place = f"{where}: field 'segmentation'"
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list) and has_mask(annotation):
        return polygons_mask(_polygons(segmentation), size, place)
    if isinstance(segmentation, dict):
        return _run_lengths(segmentation, size, place)
    box = "; it has a box and no mask" if "bbox" in annotation and not has_mask(annotation) else ""
    raise DataError(f"{place}: expected polygons or run lengths, got {segmentation!r:.80}{box}")


def _polygons(segmentation: list[Any]) -> list[Any]:
    """Polygons [x, y, x, y, ...] of a list of them, of one that stands in no list, and of points [x, y] in place of
    numbers."""
    if not any(isinstance(one, list) for one in segmentation) or _are_points(segmentation):
        segmentation = [segmentation]
    found = [one for one in segmentation if one not in _NOTHING]
    return [list(chain.from_iterable(one)) if _are_points(one) else one for one in found]


def _are_points(polygon: Any) -> bool:
    """Whether a list holds points [x, y], three at least: of two, both readings are lines."""
    return (
        isinstance(polygon, list)
        and len(polygon) > 2
        and all(isinstance(point, list) and len(point) == 2 for point in polygon)
        and not any(isinstance(value, list) for point in polygon for value in point)
    )


def has_points(annotation: Mapping[str, Any]) -> bool:
    """Whether `segmentation` holds points [x, y] in place of numbers, which was not read before."""
    segmentation = annotation.get("segmentation")
    return isinstance(segmentation, list) and (
        _are_points(segmentation) or any(map(_are_points, segmentation))
    )


def is_click(annotation: Mapping[str, Any]) -> bool:
    """Whether `segmentation` holds polygons, and none of three points or more: a corner clicked by mistake."""
    segmentation = annotation.get("segmentation")
    if not isinstance(segmentation, list) or not segmentation:
        return False
    if isinstance(segmentation[0], list) and len(segmentation[0]) > 5:
        return False  # as nearly all
    return has_mask(annotation) and all(
        isinstance(one, list) and len(one) < 6 for one in _polygons(segmentation)
    )


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
