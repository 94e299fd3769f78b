"""Shapes of Label Studio's results: coordinates in percent of the image's sides, strokes as run lengths."""

from typing import Any

import numpy as np

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import finite_number
from wsis.readers.formats.label_studio_brush import brush_bytes, decode_brush
from wsis.readers.shared.drawn import Drawn
from wsis.readers.shared.regions import Patch, Polygon, box_around, ellipse, points_of, turned


def shape_of(result: dict[str, Any], name: str, size: tuple[int, int], where: str) -> Drawn:
    """The object of a result.

    Args:
        name: its class.
        size: (height, width) of the image it was drawn on.

    Raises:
        DataError: no shape of a known kind, or a number that is none.
    """
    value = result["value"]
    scale = np.array([size[1], size[0]], np.float64) / 100

    def number(key: str, least: float | None = None) -> float:
        found = finite_number(value.get(key, 0 if key == "rotation" else None), f"{where}: field '{key}'")
        if least is not None and found < least:
            raise DataError(f"{where}: field '{key}': expected at least {least:g}, got {found:g}")
        return found

    if "rle" in value:
        strokes = Patch.of(decode_brush(brush_bytes(value["rle"], where), size, where))
        return Drawn(name, strokes.box, where, (strokes,))
    if "points" in value:
        points = points_of(value["points"], f"{where}: field 'points'") * scale
        return Drawn(name, box_around(points), where, (Polygon(points),))
    corner = np.array([number("x"), number("y")]) * scale
    if "radiusX" in value:
        radii = np.array([number("radiusX", 0), number("radiusY", 0)]) * scale
        points = ellipse((corner[0], corner[1]), (radii[0], radii[1]), number("rotation"))
        return Drawn(name, box_around(points), where, (Polygon(points),))
    if "height" not in value:  # a key point
        return Drawn(name, None, where)
    width, height = np.array([number("width", 0), number("height", 0)]) * scale
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]])
    return Drawn(name, box_around(turned(corners, number("rotation")) + corner), where)
