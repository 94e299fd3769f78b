"""Text on images with the font that matplotlib brings: labels that do not hide each other, captions."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

Box = tuple[int, int, int, int]
_PADDING = 3
_MOST_HIDDEN = 0.3  # of the things under a label
_LIGHT = 120  # luminance from which black is read on a colour, and white below


@lru_cache(maxsize=16)
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, the same on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def text_size(text: str, size: int, bold: bool = False) -> tuple[int, int]:
    """Width and height in pixels; the height is that of the font's line, whatever the letters."""
    ascent, descent = font(size, bold).getmetrics()
    return int(np.ceil(font(size, bold).getlength(text))), ascent + descent


def contrasting(colour: Sequence[int]) -> tuple[int, int, int]:
    """Black for a light RGB colour (0..255), white for a dark one: one of the two is seen on any ground."""
    red, green, blue = (int(part) for part in colour)
    light = 0.3 * red + 0.59 * green + 0.11 * blue > _LIGHT
    return (0, 0, 0) if light else (255, 255, 255)


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
    about: Box,
    colour: tuple[int, ...],
    taken: list[Box],
    worth: NDArray[np.floating],
) -> Box | None:
    """Write text on a plate of `colour`, in place, where it hides least.

    Args:
        about: xyxy box of what the text names.
        taken: plates that stand already. worth: float [H, W], which share of a thing a pixel is.

    Returns the plate, xyxy. None where every place would hide more than `_MOST_HIDDEN` of a thing: then nothing is
    written.
    """
    size = label_size(image.shape[1])
    text = shorten(text, image.shape[1] - 2 * _PADDING, size, bold=True)
    width, height = text_size(text, size, bold=True)
    width, height = min(width + 2 * _PADDING, image.shape[1]), min(height + 1, image.shape[0])
    plates = _places(about, width, height, image.shape)
    # The first place, on the thing itself, is kept for a little more than nothing hidden.
    costs = [_cost(one, about, taken, worth) + 0.08 * (index > 0) for index, one in enumerate(plates)]
    plate = plates[int(np.argmin(costs))]
    left, top, right, bottom = plate
    if float(worth[top:bottom, left:right].sum()) > _MOST_HIDDEN:
        return None
    image[top:bottom, left:right] = colour
    put_text(image, text, left + _PADDING, top, size, contrasting(colour), bold=True)
    return plate


def _places(about: Box, width: int, height: int, shape: tuple[int, ...]) -> list[Box]:
    """Plates inside the image: on the box, touching it on each side, and further above and below."""
    x1, y1, x2, y2 = about
    middle = (x1 + x2 - width) // 2
    places = [(middle, y1 + (y2 - y1) // 8), (x1 - width, y1), (x2, y1), (x1 - width, y2 - height), (x2, y2)]
    for step in range(1, 7):
        for left in (middle, x1, x2 - width):
            places += [(left, y1 - step * height), (left, y2 + (step - 1) * height)]
    inside = [
        (min(max(left, 0), shape[1] - width), min(max(top, 0), shape[0] - height)) for left, top in places
    ]
    return [(left, top, left + width, top + height) for left, top in inside]


def _cost(plate: Box, about: Box, taken: list[Box], worth: NDArray[np.floating]) -> float:
    left, top, right, bottom = plate
    hidden = float(worth[top:bottom, left:right].sum())
    area = (right - left) * (bottom - top)
    shared = sum(
        max(0, min(right, x2) - max(left, x1)) * max(0, min(bottom, y2) - max(top, y1))
        for x1, y1, x2, y2 in taken
    )
    x1, y1, x2, y2 = about
    apart = max(x1 - right, left - x2, 0) + max(y1 - bottom, top - y2, 0)
    return hidden + 5 * shared / area + 0.1 * apart / (bottom - top)


def shorten(text: str, width: int, size: int, bold: bool = False) -> str:
    """`text`, cut with an ellipsis where it is wider than `width` pixels."""
    if text_size(text, size, bold)[0] <= width:
        return text
    while text and text_size(text + "…", size, bold)[0] > width:
        text = text[:-1]
    return text.rstrip() + "…"


def wrapped(text: str, width: int, size: int, bold: bool = False) -> list[str]:
    """`text` in lines of at most `width` pixels, broken at spaces and line ends; only a word wider than that is cut."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if line and text_size(longer.rstrip(), size, bold)[0] > width:
                lines.append(line.rstrip())
                longer = word
            line = longer
        lines.append(line.rstrip())
    return [shorten(line, width, size, bold) for line in lines]


def label_size(image_width: int) -> int:
    """Font size in pixels for labels on an image of this width."""
    return int(np.clip(image_width / 30, 11, 28))
