"""What a person draws around an object, and the pixels that it covers. Suffixes: P points, H W image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pycocotools.mask as coco_mask
from numpy.typing import NDArray

from data_contracts.errors import DataError
from wsis.method.masks import rle
from wsis.readers.files.folder_files import finite_number

Box = tuple[float, float, float, float]  # x1 y1 x2 y2 in pixels, x2 y2 exclusive

_CORNERS = 64  # of a polygon that stands for an ellipse: within 0.2 % of its area


class Region(Protocol):
    """Pixels of an object as the annotation gives them, still unchecked."""

    def mask(self, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
        """bool [H, W]; DataError where it is none of an image of this size."""
        ...

    def content(self) -> bytes:
        """All that the mask depends on, for digests."""
        ...


@dataclass(frozen=True, eq=False)
class Polygon:
    """A closed outline. points: float64 [P, 2], x y in pixels; fewer than three cover no pixel."""

    points: NDArray[np.float64]

    def mask(self, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
        """See :class:`Region`."""
        return polygons_mask([self.points.ravel().tolist()], size, where)

    def content(self) -> bytes:
        """See :class:`Region`."""
        return self.points.tobytes()


@dataclass(frozen=True, eq=False)
class Patch:
    """Pixels of a mask inside their box.

    Attributes:
        size: (H, W) of the whole mask.
        corner: row and column where the box begins. shape: its height and width. bits: its pixels, packed.
    """

    size: tuple[int, int]
    corner: tuple[int, int]
    shape: tuple[int, int]
    bits: bytes

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> "Patch":
        """Of a mask bool [H, W]."""
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows) == 0:
            return cls(mask.shape, (0, 0), (0, 0), b"")
        inner = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return cls.at(mask.shape, (int(rows[0]), int(columns[0])), inner)

    @classmethod
    def at(cls, size: tuple[int, int], corner: tuple[int, int], inner: NDArray[np.bool_]) -> "Patch":
        """Of the pixels bool [h, w] of a box that begins at `corner`."""
        return cls(size, corner, inner.shape, np.packbits(inner).tobytes())

    @property
    def box(self) -> Box:
        """Around the pixels."""
        (y, x), (height, width) = self.corner, self.shape
        return float(x), float(y), float(x + width), float(y + height)

    def mask(self, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
        """See :class:`Region`."""
        if size != self.size:
            raise DataError(
                f"{where}: expected a mask of the image's size {size[1]} x {size[0]} (width x height), "
                f"got {self.size[1]} x {self.size[0]}"
            )
        (y, x), (height, width) = self.corner, self.shape
        inner = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=height * width)
        mask = np.zeros(size, dtype=bool)
        mask[y : y + height, x : x + width] = inner.reshape(height, width)
        return mask

    def content(self) -> bytes:
        """See :class:`Region`."""
        return repr((self.size, self.corner, self.shape)).encode() + self.bits


def polygons_mask(polygons: Sequence[Any], size: tuple[int, int], place: str) -> NDArray[np.bool_]:
    """Mask bool [H, W] of polygons [x, y, x, y, ...]. Points and lines, which tools leave behind where a corner was
    clicked once, cover no pixel.

    Raises:
        DataError: no list of finite numbers, of odd length, or a point farther outside than the image is long.
    """
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


def points_of(pairs: Any, where: str) -> NDArray[np.float64]:
    """Points float64 [P, 2] from a JSON list of [x, y], P at least 1.

    Raises:
        DataError: anything else, or a number that is not finite.
    """
    if not isinstance(pairs, list) or not pairs:
        raise DataError(f"{where}: expected a list of [x, y], got {pairs!r:.80}")
    found = []
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise DataError(f"{where}: expected a list of [x, y], got {pair!r:.80} in it")
        found.append([finite_number(value, where) for value in pair])
    return np.array(found, np.float64)


def box_around(points: NDArray[np.float64]) -> Box:
    """The box of points [P, 2]."""
    (x1, y1), (x2, y2) = points.min(0).tolist(), points.max(0).tolist()
    return x1, y1, x2, y2


def box_of_boxes(boxes: Sequence[Box]) -> Box:
    """The box around boxes."""
    x1, y1, x2, y2 = zip(*boxes, strict=True)
    return min(x1), min(y1), max(x2), max(y2)


def ellipse(
    centre: tuple[float, float], radii: tuple[float, float], degrees: float = 0.0
) -> NDArray[np.float64]:
    """A polygon [P, 2] for an ellipse that is turned by `degrees` (clockwise on the screen)."""
    angles = np.linspace(0, 2 * math.pi, _CORNERS, endpoint=False)
    points = np.stack([radii[0] * np.cos(angles), radii[1] * np.sin(angles)], axis=1)
    return turned(points, degrees) + centre


def turned(points: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """Points [P, 2] turned around the origin, clockwise on the screen (y points down)."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return points @ np.array([[c, s], [-s, c]])
