"""labelme: a JSON file a photograph, with the shapes that were drawn in it.

    a.jpg, a.json                              beside each other, in any folders
    images/train/a.jpg, labels/train/a.json    or apart: `imagePath` says where, from the JSON's folder

Polygons, circles and masks are masks; rectangles are boxes; points and lines are labels alone. Shapes of one label with
one `group_id` are parts of one object. What is labelled `__ignore__` counts as nothing. Where no file has a shape, the
flags that are set are labels of the image. Images without JSON are left out; without shapes they are negatives.
"""

import base64
import binascii
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from data_contracts.printable import counted
from wsis.readers.files.folder_files import (
    Problems,
    class_name,
    flag,
    inside,
    parse_json,
    read_bytes,
    whole_number,
)
from wsis.readers.files.image_files import ImageFiles, files_below
from wsis.readers.files.images import decode_ids
from wsis.readers.files.json_files import (
    find_written_by,
    objects_in,
    refuse_broken,
    text_in,
    tool_of,
)
from wsis.readers.shared.drawn import Drawn, DrawnImage, DrawnSource, merged
from wsis.readers.shared.folder import FolderOptions
from wsis.readers.shared.format import Format, Given
from wsis.readers.shared.names import is_image, is_left_behind
from wsis.readers.shared.regions import Polygon, Region, box_around, ellipse, points_of
from wsis.readers.shared.settings import DataSettings
from wsis.readers.shared.splits import SplitChoice, known_splits

_IGNORED = "__ignore__"  # labelme's own names
_BACKGROUND = "_background_"
_TURNED = ("oriented_rectangle", "rotation")  # of labelme, and of X-AnyLabeling
_POINTS = {
    **{"polygon": None, "rectangle": (2, 4), "circle": (2,), "mask": (2,), "quadrilateral": (4,)},
    **dict.fromkeys(_TURNED, (4,)),
}
_UNBOXED = ("point", "points", "line", "linestrip")


@dataclass(frozen=True, eq=False)
class _Bitmap:
    """A mask of labelme: a PNG in base64, and the pixel where its upper left corner lies."""

    png: str
    corner: tuple[int, int]  # x, y

    def mask(self, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
        try:
            data = base64.b64decode(self.png, validate=True)
        except (binascii.Error, ValueError) as error:
            raise DataError(f"{where}: field 'mask': expected a PNG in base64: {error}") from error
        patch = decode_ids(data, f"{where}: field 'mask'") > 0
        (x, y), (height, width) = self.corner, patch.shape
        if x < 0 or y < 0 or x + width > size[1] or y + height > size[0]:
            raise DataError(
                f"{where}: field 'mask': expected a mask inside the image of {size[1]} x {size[0]}, "
                f"got {width} x {height} at {x}, {y}"
            )
        mask = np.zeros(size, dtype=bool)
        mask[y : y + height, x : x + width] = patch
        return mask

    def content(self) -> bytes:
        return f"{self.corner} {self.png}".encode(errors="backslashreplace")


class Labelme(DrawnSource):
    """A folder with labelme's files."""

    def _drawn(self, problems: Problems) -> Iterator[DrawnImage]:
        found: list[DrawnImage] = []
        flagged: dict[str, list[str]] = {}
        self._finders: dict[str, ImageFiles] = {}
        for name in self._named_files or _files(self.root):
            with problems.collect():
                path = inside(self.root, name, "annotations")
                tree = parse_json(read_bytes(path, "annotations"), str(path))
                if not isinstance(tree, dict) or not tree.keys() & {"shapes", "imagePath"}:
                    self.note(f"left out: {name}, which is none of labelme's files")
                    continue
                one = self._image(name, tree)
                flagged[one.file_name] = _flags(tree.get("flags"), one.where)
                found.append(one)
        if any(one.objects or one.void for one in found):
            return iter(found)
        return (_with_labels(one, flagged[one.file_name]) for one in found)

    def _image(self, name: str, tree: dict[str, Any]) -> DrawnImage:
        where = str(self.root / name)
        parts: dict[Any, list[Drawn]] = {}
        void: list[Region] = []
        for position, shape in enumerate(objects_in(tree.get("shapes"), f"{where}: field 'shapes'")):
            drawn = _shape(shape, f"{where}: shapes[{position}]")
            group = shape.get("group_id")
            if drawn.name == _IGNORED:
                void += drawn.regions
            elif drawn.name != _BACKGROUND:
                key = position if group is None else (drawn.name, repr(group))
                parts.setdefault(key, []).append(drawn)
        try:
            image = self._image_of(name, text_in(tree, "imagePath", where), f"{where}: field 'imagePath'")
        except DataError as error:
            if not tree.get("imageData"):
                raise
            raise DataError(
                f"{error}; the JSON holds the picture (imageData): write it to that file"
            ) from error
        objects = tuple(merged(some) for some in parts.values())
        return DrawnImage(image, objects, where, self._split_of(image, name), _size(tree, where), tuple(void))

    def _image_of(self, name: str, written: str, where: str) -> str:
        """The image: as `imagePath` says from the JSON's folder, else the file that fits it best."""
        folder = posixpath.dirname(name)
        beside = posixpath.normpath(posixpath.join(folder, written.replace("\\", "/")))
        if self._known is not None:
            return self._known.find(beside if self._known.knows(beside) else written, where)
        if beside in self._image_set:
            return beside
        if folder not in self._finders:
            self._finders[folder] = ImageFiles(self.root, ".", folder or ".", self.options.strict)
        found = self._finders[folder].find(written, where)
        if not is_image(found):
            raise DataError(f"{where}: expected an image, got {found!r}")
        return found


def _shape(shape: dict[str, Any], where: str) -> Drawn:
    name = class_name(text_in(shape, "label", where), f"{where}: field 'label'")
    kind = shape.get("shape_type") or "polygon"  # old versions name none
    if not isinstance(kind, str) or kind not in (*_POINTS, *_UNBOXED):
        known = ", ".join((*_POINTS, *_UNBOXED))
        raise DataError(f"{where}: field 'shape_type': expected one of {known}, got {kind!r:.80}")
    points = points_of(shape.get("points"), f"{where}: field 'points'")
    if kind in _UNBOXED:
        return Drawn(name, None, where)
    wanted = _POINTS[kind]
    if wanted is not None and len(points) not in wanted:
        few = " or ".join(map(str, wanted))
        raise DataError(f"{where}: field 'points': expected {few} points of a {kind}, got {len(points)}")
    if kind == "rectangle" or kind in _TURNED:
        return Drawn(name, box_around(points), where)
    if kind == "mask":
        x1, y1, x2, y2 = box_around(np.trunc(points))  # of pixels, the last one inside
        bitmap = _Bitmap(text_in(shape, "mask", where), (whole_number(x1, where), whole_number(y1, where)))
        return Drawn(name, (x1, y1, x2 + 1, y2 + 1), where, (bitmap,))
    if kind == "circle":
        radius = float(np.hypot(*(points[1] - points[0])))
        centre = (float(points[0, 0]), float(points[0, 1]))
        points = ellipse(centre, (radius, radius))
    return Drawn(name, box_around(points), where, (Polygon(points),))


def _size(tree: dict[str, Any], where: str) -> tuple[int, int] | None:
    """(height, width) as the file claims them."""
    sides = [tree.get("imageHeight"), tree.get("imageWidth")]
    if not all(sides):  # null where the tool did not know
        return None
    height, width = (whole_number(side, f"{where}: imageHeight and imageWidth") for side in sides)
    if height < 1 or width < 1:
        raise DataError(f"{where}: expected imageHeight and imageWidth of at least 1, got {height}, {width}")
    return height, width


def _flags(flags: Any, where: str) -> list[str]:
    """Names of the flags that are set."""
    if flags is not None and not isinstance(flags, dict):
        raise DataError(f"{where}: field 'flags': expected an object, got {type(flags).__name__}")
    named = {class_name(name, f"{where}: field 'flags'"): value for name, value in (flags or {}).items()}
    return [name for name, value in named.items() if flag(value, f"{where}: field 'flags'")]


def _with_labels(one: DrawnImage, names: list[str]) -> DrawnImage:
    objects = tuple(Drawn(name, None, f"{one.where}: field 'flags'") for name in names)
    return DrawnImage(one.file_name, objects, one.where, one.split, one.size)


def _files(root: Path) -> list[str]:
    """labelme's files below the root.

    Raises:
        DataError: there are none.
    """
    found = [p for p in files_below(root) if p.lower().endswith(".json") and not is_left_behind(p)]
    if not any(tool_of(root / name) == "labelme" for name in found):
        expected = f"{root}: expected labelme's JSON files, one a photograph"
        refuse_broken((root / name for name in found), expected)
        raise DataError(f"{expected}, got {counted(len(found), 'other JSON file')}")
    return found


def _look(root: Path, given: Given) -> str | None:
    found = find_written_by(root, "labelme", known_splits(given.names))
    return f"{found[0]} and others" if len(found) > 1 else next(iter(found), None)


def _open(config: DataSettings, root: Path, options: FolderOptions, choice: SplitChoice) -> Labelme:
    return Labelme(root, options, choice)


FORMAT = Format("labelme (a.json beside a.jpg)", _look, _open)
