"""Boxes that are written in another way than the format has it, seen over all of a part: one alone could be right.

Suffix: N boxes.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_contracts.printable import counted
from wsis.readers.shared.annotations import BOX_TOLERANCE, Declared

_UNSOUND = 0.1  # share of boxes that leave their image, from which on all are looked at
_FEWEST = 2  # of these


class Image(Protocol):
    """An image of a part: what was declared, its size (H, W), boxes float32 [N, 4] xyxy, what was said of others."""

    @property
    def declared(self) -> Declared: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def boxes(self) -> NDArray[np.float32]: ...
    @property
    def clipped(self) -> tuple[str, ...]: ...
    @property
    def dropped(self) -> tuple[str, ...]: ...


def shares_line(part: Sequence[Image], where: str) -> str | None:
    """What to say where all boxes of a part are shares of their images, 0 to 1, where pixels are meant; else None.

    Args:
        part: its images, whose boxes are float32 [N, 4] xyxy.
        where: names the part.
    """
    some = [one.boxes for one in part if len(one.boxes)]
    if not some or any((one > 1).any() for one in some) or not any((one % 1).any() for one in some):
        return None
    first = next(item for one in part for item in one.declared.objects if item.box is not None)
    return (
        f"{where}: expected boxes in pixels, got {counted(sum(map(len, some)), 'box')} of which none is larger than a "
        f"pixel, as shares of the image are ({first.where}); multiply them by the image's width and height"
    )


def corners_or_shares_line(part: Sequence[Image], where: str) -> str | None:
    """As `shares_line`, and what to say where boxes read as x, y, width and height are corners x1, y1, x2, y2."""
    unsound = sum(len(one.clipped) + len(one.dropped) for one in part)
    total = sum(len(one.boxes) + len(one.dropped) for one in part)
    if unsound < max(_FEWEST, _UNSOUND * total):
        return shares_line(part, where)
    held = [
        (x, y, x2 - x, y2 - y, one.size)  # as the file has it
        for one in part
        for x, y, x2, y2 in (item.box for item in one.declared.objects if item.box is not None)
    ]
    for x, y, right, bottom, (height, width) in held:
        inside = right <= width + BOX_TOLERANCE and bottom <= height + BOX_TOLERANCE
        if not (right > x and bottom > y and inside):
            return None
    shown = ", ".join(f"{side:g}" for side in held[0][:4])
    return (
        f"{where}: expected bbox [x, y, width, height], got what reads as corners [x1, y1, x2, y2] in all of "
        f"{counted(len(held), 'box')}, such as [{shown}]: {unsound} of them would reach out of their image; "
        "write width and height"
    )
