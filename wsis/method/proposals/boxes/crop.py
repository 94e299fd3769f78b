"""A box and its surroundings on a small grid, and what is known there before anything is cut.

Suffix legend: h w working size, g the grid of one crop, N boxes.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

IntBox = tuple[int, int, int, int]
_MARGIN = 0.25  # of the box's sides, seen around it
_SIDE = 80  # root of a box's area on its grid, at most: time
_LONGEST = 200  # longer side of a box on its grid, at most
_MAGNIFIED = 2.5  # a grid pixel is at least 1 / so much of a working pixel


@dataclass(frozen=True)
class Crop:
    """One box with a margin, resized.

    Attributes:
        box: x1, y1, x2, y2 in working pixels, with at least one pixel.
        window: the same of box and margin, inside the image.
        size: (g, g) of the grid.
    """

    box: IntBox
    window: IntBox
    size: tuple[int, int]

    @classmethod
    def around(cls, box: IntBox, image_size: tuple[int, int]) -> "Crop":
        """The crop of a box in an image (h, w)."""
        x1, y1, x2, y2 = box
        width, height = x2 - x1, y2 - y1
        dx, dy = int(np.ceil(_MARGIN * width)) + 2, int(np.ceil(_MARGIN * height)) + 2
        window = max(0, x1 - dx), max(0, y1 - dy), min(image_size[1], x2 + dx), min(image_size[0], y2 + dy)
        factor = min(_MAGNIFIED, _SIDE / (width * height) ** 0.5, _LONGEST / max(width, height))
        size = (
            max(2, round((window[3] - window[1]) * factor)),
            max(2, round((window[2] - window[0]) * factor)),
        )
        return cls(box, window, size)

    def __call__(self, values: NDArray[np.generic]) -> NDArray[np.float32]:
        """A map [h, w, ...] of the image on the grid, float32 [g, g, ...]."""
        x1, y1, x2, y2 = self.window
        part = np.ascontiguousarray(values[y1:y2, x1:x2], np.float32)
        shrinks = self.size[0] * self.size[1] < part.shape[0] * part.shape[1]
        way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return cv2.resize(part, self.size[::-1], interpolation=way)

    def ellipse(self) -> NDArray[np.float64]:
        """(x / a)^2 + (y / b)^2 about the box's centre, [g, g]: 1 on the ellipse that is inscribed in the box."""
        x1, y1, x2, y2 = self.on_grid()
        rows, columns = np.mgrid[: self.size[0], : self.size[1]] + 0.5
        return _ellipse(rows, columns, (x1, y1, x2, y2))

    def inside(self) -> NDArray[np.bool_]:
        """Grid pixels in the box, bool [g, g]; at least one."""
        x1, y1, x2, y2 = self.on_grid()
        rows, columns = np.mgrid[: self.size[0], : self.size[1]] + 0.5
        within = (columns > x1) & (columns < x2) & (rows > y1) & (rows < y2)
        within.ravel()[int(self.ellipse().argmin())] = True
        return within

    def on_grid(self) -> tuple[float, float, float, float]:
        """The box in grid pixels."""
        x1, y1, x2, y2 = self.box
        left, top, right, bottom = self.window
        fx, fy = self.size[1] / (right - left), self.size[0] / (bottom - top)
        return (x1 - left) * fx, (y1 - top) * fy, (x2 - left) * fx, (y2 - top) * fy

    def in_box(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask of the grid at the working size, bool [y2 - y1, x2 - x1]."""
        left, top, right, bottom = self.window
        x1, y1, x2, y2 = self.box
        size = (right - left, bottom - top)
        whole = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5
        return whole[y1 - top : y2 - top, x1 - left : x2 - left]


def inscribed(height: int, width: int, tilt: float = 0.0) -> NDArray[np.bool_]:
    """An ellipse inscribed in a box of so many pixels, bool [height, width]; it touches all sides.

    Args: tilt: in (-1, 1), 0 for axes along the sides; the nearer to 1 (-1), the slimmer about the falling (rising)
        diagonal: x^2 / a^2 - 2 tilt x y / (a b) + y^2 / b^2 = 1 - tilt^2 has the same box for every tilt.
    """
    y = (np.arange(height) + 0.5)[:, None] / (height / 2) - 1
    x = (np.arange(width) + 0.5) / (width / 2) - 1
    mask = x * x - 2 * tilt * x * y + y * y < 1 - tilt**2
    # pixel centres of a flat ellipse end before the box does: the pixels that hold where it touches the sides
    for place, across in ((tilt, 1), (-tilt, -1)):
        row = min(int((place + 1) / 2 * height), height - 1)
        column = min(int((place + 1) / 2 * width), width - 1)
        mask[row, width - 1 if across > 0 else 0] = True
        mask[height - 1 if across > 0 else 0, column] = True
    return mask


def _ellipse(
    rows: NDArray[np.floating], columns: NDArray[np.floating], box: tuple[float, float, float, float]
) -> NDArray[np.float64]:
    x1, y1, x2, y2 = box
    across, down = max((x2 - x1) / 2, 0.5), max((y2 - y1) / 2, 0.5)
    return ((columns - (x1 + x2) / 2) / across) ** 2 + ((rows - (y1 + y2) / 2) / down) ** 2


def pixel_boxes(
    boxes: NDArray[np.floating], scale: tuple[float, float], size: tuple[int, int]
) -> list[IntBox]:
    """Boxes float [N, 4] as whole pixels of a map (h, w) with at least one pixel each.

    Args: scale: map pixels to a pixel of the boxes, down and across.
    """
    result = []
    for x1, y1, x2, y2 in boxes.astype(np.float64).tolist():
        left = min(max(round(x1 * scale[1]), 0), size[1] - 1)
        top = min(max(round(y1 * scale[0]), 0), size[0] - 1)
        right = min(max(round(x2 * scale[1]), left + 1), size[1])
        bottom = min(max(round(y2 * scale[0]), top + 1), size[0])
        result.append((left, top, right, bottom))
    return result
