"""Text on images with the font that matplotlib brings: labels that do not hide each other, captions."""

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

Box = tuple[int, int, int, int]
_PADDING = 3


@lru_cache(maxsize=16)
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, the same on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def text_size(text: str, size: int, bold: bool = False) -> tuple[int, int]:
    """Width and height in pixels; the height is that of the font's line, whatever the letters."""
    ascent, descent = font(size, bold).getmetrics()
    return int(np.ceil(font(size, bold).getlength(text))), ascent + descent


def put_text(
    image: NDArray[np.uint8],
    text: str,
    left: int,
    top: int,
    size: int,
    colour: tuple[int, int, int] = (0, 0, 0),
    bold: bool = False,
) -> None:
    """Write text with its upper left corner at (left, top), in place."""
    canvas = PillowImage.fromarray(image)
    ImageDraw.Draw(canvas).text((left, top), text, fill=colour, font=font(size, bold))
    image[...] = np.asarray(canvas)


def put_label(
    image: NDArray[np.uint8],
    text: str,
    middle: tuple[int, int],
    colour: tuple[int, ...],
    taken: list[Box],
) -> Box:
    """Write text on a plate of `colour` around `middle` (row, column), in place.

    It moves down until it hides none of the plates in `taken`, and stays inside the image. Returns its own
    plate, xyxy.
    """
    size = label_size(image.shape[1])
    text = shorten(text, image.shape[1] - 2 * _PADDING, size, bold=True)
    width, height = text_size(text, size, bold=True)
    width, height = width + 2 * _PADDING, height + 1
    left = int(np.clip(middle[1] - width // 2, 0, max(0, image.shape[1] - width)))
    top = _free_row(middle[0] - height // 2, height, left, left + width, image.shape[0], taken)
    plate = (left, top, left + width, top + height)
    image[plate[1] : plate[3], plate[0] : plate[2]] = colour
    luminance = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]
    ink = (0, 0, 0) if luminance > 120 else (255, 255, 255)
    put_text(image, text, left + _PADDING, top, size, ink, bold=True)
    return plate


def shorten(text: str, width: int, size: int, bold: bool = False) -> str:
    """`text`, cut with an ellipsis where it is wider than `width` pixels."""
    if text_size(text, size, bold)[0] <= width:
        return text
    while text and text_size(text + "…", size, bold)[0] > width:
        text = text[:-1]
    return text.rstrip() + "…"


def label_size(image_width: int) -> int:
    """Font size in pixels for labels on an image of this width."""
    return int(np.clip(image_width / 26, 11, 28))


def _free_row(start: int, height: int, left: int, right: int, limit: int, taken: list[Box]) -> int:
    """The row at or below `start` (else above) nearest to it where no plate of `taken` is hidden."""
    lowest = max(0, limit - height)
    start = int(np.clip(start, 0, lowest))
    rivals = [(t, b) for l, t, r, b in taken if l < right and left < r]
    free = [
        row
        for row in range(lowest + 1)
        if all(row + height <= above or row >= below for above, below in rivals)
    ]
    return min(free, key=lambda row: (abs(row - start), -row), default=start)
