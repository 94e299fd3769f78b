"""Pictures side by side with captions, as one image."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsis.reporting.pictures.text import put_text, text_size, wrapped

_GAP = 8
_TITLE_SIZE = 17
_CAPTION_SIZE = 14
GROUND = 255
"""Of the paper: white."""


class Panel(NamedTuple):
    """A picture uint8 [H, W, 3] and the caption over it, which is wrapped at the picture's width."""

    caption: str
    image: NDArray[np.uint8]


def side_by_side(
    panels: Sequence[Panel], title: str = "", columns: int = 6, legend: Sequence[str] = ()
) -> NDArray[np.uint8]:
    """Panels in rows of at most `columns`, captions above them, a title above all, lines below; uint8 [H, W, 3].

    Raises ValueError without panels.
    """
    if not panels:
        raise ValueError("side_by_side: expected at least one panel, got none")
    rows = [_row(panels[i : i + columns]) for i in range(0, len(panels), columns)]
    width = max(row.shape[1] for row in rows)
    parts = [_blank(_GAP, width)]
    if title:
        parts.append(_lines(title, width, _TITLE_SIZE, bold=True, left=_GAP))
    for row in rows:
        parts.append(np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=GROUND))
    parts += [_lines(text, width, _CAPTION_SIZE, left=_GAP) for text in legend]
    return np.concatenate(parts, axis=0)


def titled(picture: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
    """A picture uint8 [h, w, 3] with a title above it that is not cut; uint8 [H, W, 3]."""
    width = max(picture.shape[1], text_size(title, _TITLE_SIZE, bold=True)[0] + 2 * _GAP)
    line = _lines(title, width, _TITLE_SIZE, bold=True, left=_GAP)
    beside = ((0, 0), (0, width - picture.shape[1]), (0, 0))
    return np.concatenate([_blank(_GAP, width), line, np.pad(picture, beside, constant_values=GROUND)])


def under_each_other(pictures: Sequence[NDArray[np.uint8]], title: str = "") -> NDArray[np.uint8]:
    """Pictures uint8 [h, w, 3] from top to bottom on white, a title above all; uint8 [H, W, 3].

    Raises ValueError without pictures.
    """
    if not pictures:
        raise ValueError("under_each_other: expected at least one picture, got none")
    width = max(picture.shape[1] for picture in pictures)
    parts = [_blank(_GAP, width), _lines(title, width, _TITLE_SIZE, bold=True, left=_GAP)] if title else []
    for picture in pictures:
        beside = ((0, 0), (0, width - picture.shape[1]), (0, 0))
        parts += [np.pad(picture, beside, constant_values=GROUND), _blank(_GAP, width)]
    return np.concatenate(parts, axis=0)


def _row(panels: Sequence[Panel]) -> NDArray[np.uint8]:
    height = max(panel.image.shape[0] for panel in panels)
    captions = [_lines(panel.caption, panel.image.shape[1], _CAPTION_SIZE) for panel in panels]
    tallest = max(len(caption) for caption in captions)
    parts: list[NDArray[np.uint8]] = []
    for (_, image), caption in zip(panels, captions, strict=True):
        above = _blank(tallest - len(caption), image.shape[1])  # every caption touches its picture
        below = _blank(height - image.shape[0] + _GAP, image.shape[1])
        parts.append(np.concatenate([above, caption, image, below], axis=0))
    gap = _blank(parts[0].shape[0], _GAP)
    return np.concatenate([gap, *(piece for part in parts for piece in (part, gap))], axis=1)


def _lines(text: str, width: int, size: int, bold: bool = False, left: int = 0) -> NDArray[np.uint8]:
    """A text in as many lines as it needs at this width, uint8 [H, width, 3]."""
    height = text_size("", size, bold)[1] + 5
    told = wrapped(text, width - left, size, bold)
    drawn = _blank(height * len(told), width)
    for number, line in enumerate(told):
        put_text(drawn, line, left, number * height + 1, size, (20, 20, 20), bold)
    return drawn


def _blank(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), GROUND, dtype=np.uint8)
