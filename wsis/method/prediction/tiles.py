"""How a large or long photograph is looked at: whole, or in tiles that overlap. Lengths are the photograph's pixels.

Tiles have the frame of the training images, so that a network sees objects at the sizes that it knows.
"""

import math
from dataclasses import dataclass

import numpy as np

from wsis.method.prediction.settings import PredictSettings
from wsis.method.prediction.training_objects import Scale, TrainingObjects, fit_factor

Window = tuple[int, int, int, int]
"""Top, left, bottom, right."""
_WORTH = 1.5  # finer than the whole, from which tiles are worth their time
_MUCH_LARGER = 3.0  # than training images in pixels: what is left whole then is worth a word


@dataclass(frozen=True)
class Tiling:
    """How one photograph is looked at.

    Attributes:
        size: height and width.
        scale: network pixels for a pixel of the photograph, in a tile or the whole.
        windows: the tiles, by rows; empty: the whole photograph at once.
        overlap: of neighbours at least. Objects longer than this may be whole in no tile.
        why: in words; empty where there is nothing to say.
    """

    size: tuple[int, int]
    scale: float
    windows: tuple[Window, ...] = ()
    overlap: int = 0
    why: str = ""

    def said(self, photographs: int = 1) -> str:
        """One line: `4000 x 800: 7 tiles of 1067 x 800, because ...`."""
        height, width = self.size
        many = f"{photographs} photographs of " if photographs > 1 else ""
        how = "whole"
        if self.windows:
            top, left, bottom, right = self.windows[0]
            how = f"{len(self.windows)} tiles of {right - left} x {bottom - top} and the whole"
        return f"{many}{width} x {height}: {how}, {self.why}"


def choose_tiling(
    size: tuple[int, int], fits: Scale, settings: PredictSettings, objects: TrainingObjects | None
) -> Tiling:
    """How a photograph (H, W) is looked at by a network whose images fit `fits`.

    A number of `settings.tiles` or `settings.size` decides. Else a photograph is looked at whole unless its objects,
    as large beside its shorter side as in training (or of as many pixels, where `objects.keeps_pixels`), would shrink
    so far that a quarter of them is smaller than nine in ten of training were.
    """
    whole = fit_factor(size, fits)
    if settings.tiles == "whole":
        at = whole if settings.size is None else settings.size / max(size)
        return Tiling(
            size, at, why="" if settings.size is None else f"at {settings.size} pixels, as asked for"
        )
    if isinstance(settings.tiles, int):
        return _tiling(size, max(fits) / settings.tiles, fits, objects, "as asked for")
    if settings.size is not None:
        why = f"so that it is looked at as if {settings.size} pixels long, as asked for"
        return _tiling(size, settings.size / max(size), fits, objects, why)
    if objects is None:
        return Tiling(size, whole, why=_unknown(size, fits))
    wanted = objects.wanted_scale(size)
    quarter = objects.quarter * whole / wanted
    if quarter >= objects.smallest or wanted < _WORTH * whole:
        return Tiling(size, whole, why=_left_whole(whole, objects))
    height, width = size
    why = (
        f"because shrunk to {round(width * whole)} x {round(height * whole)} a quarter of its objects would be under "
        f"{quarter:.0f} pixels large, and nine in ten of training were {objects.smallest:.0f} or more"
    )
    return _tiling(size, wanted, fits, objects, why)


def _unknown(size: tuple[int, int], fits: Scale) -> str:
    long = max(size) / min(size) > _WORTH * max(fits) / min(fits) * _WORTH
    return "as the sizes of training objects are not known; --tiles PIXELS looks closer" if long else ""


def _left_whole(whole: float, objects: TrainingObjects) -> str:
    if whole * _MUCH_LARGER > objects.pixel_scale:
        return ""
    return (
        "as its objects are taken to fill as much of it as those of training did; if they are smaller beside it, "
        "--tiles PIXELS looks closer"
    )


def _tiling(
    size: tuple[int, int], scale: float, fits: Scale, objects: TrainingObjects | None, why: str
) -> Tiling:
    """Tiles at a scale; the whole where one holds it."""
    longest, shortest = max(fits), min(fits)
    sides = (shortest, longest) if size[1] >= size[0] else (longest, shortest)
    tile = [min(length, max(1, round(side / scale))) for length, side in zip(size, sides, strict=True)]
    if tile == list(size):
        return Tiling(size, fit_factor(size, fits), why=f"one tile holds it, {why}")
    most = shortest / 2
    extent = most if objects is None else min(max(objects.longest, longest / 4), most)
    overlap = round(extent / scale)
    rows, columns = (_starts(length, part, overlap) for length, part in zip(size, tile, strict=True))
    windows = tuple((y, x, y + tile[0], x + tile[1]) for y in rows for x in columns)
    return Tiling(size, scale, windows, overlap, why)


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along a side: evenly spread, the first and the last at its ends."""
    if tile >= length:
        return [0]
    step = max(1, tile - overlap)
    count = math.ceil((length - tile) / step) + 1
    return [int(at) for at in np.linspace(0, length - tile, count).round()]
