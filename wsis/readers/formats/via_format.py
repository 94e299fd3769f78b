"""VIA's files (VGG Image Annotator, versions 1 and 2): a project, an export of annotations, a table of regions."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import finite_number, parse_json, read_text
from wsis.readers.files.json_files import objects_in, read_object, text_in
from wsis.readers.shared.drawn import Drawn
from wsis.readers.shared.regions import Polygon, box_around, ellipse

_COLUMNS = ("file_attributes", "region_shape_attributes", "region_attributes")
_UNBOXED = ("point", "polyline", "line")


@dataclass(frozen=True, eq=False)
class ViaRegion:
    """A region: its shape's and its own attributes, still unchecked."""

    shape: dict[str, Any]
    attributes: dict[str, Any]
    where: str


@dataclass(frozen=True, eq=False)
class ViaImage:
    """An image as VIA names it, its attributes and regions."""

    name: str
    attributes: dict[str, Any]
    regions: tuple[ViaRegion, ...]
    where: str


def is_via_table(path: Path) -> bool:
    """Whether a CSV file has the header of VIA's export."""
    try:
        with path.open("rb") as stream:
            header = stream.readline(1000)
    except OSError:
        return False  # whoever reads it says why
    return all(column.encode() in header for column in _COLUMNS)


def read_via(path: Path) -> list[ViaImage]:
    """The images of a project, an export or a table.

    Raises:
        DataError: no such file, of another kind, or a field of another type; names file and place.
    """
    if path.suffix.lower() == ".csv":
        return _read_table(path)
    tree = read_object(path, "annotations")
    if "metadata" in tree and "project" in tree:
        raise DataError(f"{path}: expected a file of VIA 1 or 2, got a project of VIA 3: export it as COCO")
    images = tree.get("_via_img_metadata", tree)
    if not isinstance(images, dict):
        raise DataError(f"{path}: field '_via_img_metadata': expected an object, got {type(images).__name__}")
    return [_image_of(one, f"{path}: {key!r:.80}") for key, one in images.items()]


def _image_of(one: Any, where: str) -> ViaImage:
    if not isinstance(one, dict):
        raise DataError(f"{where}: expected an object with filename and regions, got {type(one).__name__}")
    regions = one.get("regions")
    if isinstance(regions, dict):  # VIA 1 numbers them
        regions = list(regions.values())
    place = f"{where}: regions"
    found = tuple(
        ViaRegion(
            _object(region, "shape_attributes", f"{place}[{number}]"),
            _object(region, "region_attributes", f"{place}[{number}]"),
            f"{place}[{number}]",
        )
        for number, region in enumerate(objects_in(regions or [], place))
    )
    return ViaImage(text_in(one, "filename", where), _object(one, "file_attributes", where), found, where)


def _object(tree: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = tree.get(key)
    if value is not None and not isinstance(value, dict):
        raise DataError(f"{where}: field '{key}': expected an object, got {value!r:.80}")
    return value or {}


def _read_table(path: Path) -> list[ViaImage]:
    """A row a region; a row without one for an image that has none."""
    files: dict[str, tuple[dict[str, Any], list[ViaRegion], str]] = {}
    for where, row in _rows(path):
        cells = [_cell(row.get(column), f"{where}: column {column}") for column in _COLUMNS]
        name = text_in(row, "filename", where)
        _, regions, _ = files.setdefault(name, (cells[0], [], where))
        if cells[1]:
            regions.append(ViaRegion(cells[1], cells[2], where))
    return [
        ViaImage(name, attributes, tuple(some), where) for name, (attributes, some, where) in files.items()
    ]


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    text = read_text(path, "table of regions")
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)  # Excel writes another one where numbers have commas
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for row in reader:
            plain = {(key or "").lstrip("#").strip(): value for key, value in row.items()}
            yield f"{path}: line {reader.line_num}", plain
    except csv.Error as error:
        raise DataError(f"{path}: no CSV: {error}") from error


def _cell(text: Any, where: str) -> dict[str, Any]:
    if text is None or text == "":
        return {}
    if not isinstance(text, str):
        raise DataError(f"{where}: expected a JSON object, got {text!r:.80}")
    value = parse_json(text.encode(errors="surrogatepass"), where)
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a JSON object, got {text!r:.80}")
    return value


def drawn_of(region: ViaRegion, name: str) -> Drawn:
    """The object of a region.

    Raises:
        DataError: a shape that VIA does not have, or a number that is none.
    """
    shape, where = region.shape, f"{region.where}: shape"

    def number(key: str, least: float | None = None) -> float:
        found = finite_number(shape.get(key), f"{where}: field '{key}'")
        if least is not None and found < least:
            raise DataError(f"{where}: field '{key}': expected at least {least:g}, got {found:g}")
        return found

    kind = shape.get("name")
    if kind in _UNBOXED:
        return Drawn(name, None, where)
    if kind == "rect":
        x, y, width, height = number("x"), number("y"), number("width", 0), number("height", 0)
        return Drawn(name, (x, y, x + width, y + height), where)
    if kind == "polygon":
        points = _points(shape, where)
    elif kind == "circle":
        points = ellipse((number("cx"), number("cy")), (number("r", 0), number("r", 0)))
    elif kind == "ellipse":
        degrees = float(np.degrees(number("theta"))) if "theta" in shape else 0.0
        points = ellipse((number("cx"), number("cy")), (number("rx", 0), number("ry", 0)), degrees)
    else:
        raise DataError(
            f"{where}: field 'name': expected polygon, rect, circle, ellipse, {', '.join(_UNBOXED)}, got {kind!r:.80}"
        )
    return Drawn(name, box_around(points), where, (Polygon(points),))


def _points(shape: dict[str, Any], where: str) -> NDArray[np.float64]:
    sides = []
    for key in ("all_points_x", "all_points_y"):
        values = shape.get(key)
        if not isinstance(values, list) or not values:
            raise DataError(f"{where}: field '{key}': expected a list of numbers, got {values!r:.80}")
        sides.append([finite_number(value, f"{where}: field '{key}'") for value in values])
    if len(sides[0]) != len(sides[1]):
        raise DataError(
            f"{where}: expected as many all_points_x as all_points_y, got {len(sides[0])} and {len(sides[1])}"
        )
    return np.array(sides, np.float64).T
