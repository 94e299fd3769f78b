"""A COCO instances JSON read once: images, and the annotations as columns; masks stay in the file.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014. A Python object for each of COCO's 860,000
annotations would take 400 MB, and their polygons gigabytes.
"""

import time
from array import array
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import Problems, flag
from wsis.readers.files.large_json import LargeJson
from wsis.readers.formats.coco_format import (
    Category,
    CocoImage,
    Id,
    box_of,
    categories_of,
    identifier,
    image_of,
    known_id,
    used_categories,
)
from wsis.readers.formats.coco_masks import has_mask
from wsis.readers.shared.annotations import DeclaredObject

_SETTLED = 2.0  # seconds, more than the clocks of file systems are coarse
_NO_BOX = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class CocoAnnotation:
    """An entry of `annotations`: its category's name, whether it is a crowd, whether it has a mask."""

    file: "CocoFile"
    position: int
    category: str
    crowd: bool
    masked: bool

    @property
    def where(self) -> str:
        return f"{self.file.path}: annotations[{self.position}]"

    def fields(self) -> dict[str, Any]:
        """All its fields, read from the file again."""
        return self.file.annotation(self.position)

    def declared(self) -> DeclaredObject:
        """Its class and box, which may be no sound one."""
        box, fault = self.file.box(self.position)
        return DeclaredObject(self.category, box, f"{self.where}: field 'bbox'", fault)


class CocoFile:
    """What a JSON says of its images; masks stay in the file.

    Attributes:
        images: those that can be used.
        categories: id -> name, in the order of the ids.
    """

    def __init__(self, document: LargeJson, problems: Problems) -> None:
        self._document, self.path = document, document.path
        named = categories_of(self._objects("categories"), self.path)
        self.images, listed = self._read_images(problems)
        self._images: dict[Id, int] = {image.number: i for i, image in enumerate(self.images)}
        columns = _Columns(named, self._images, listed, self.path)
        for position, item in enumerate(self._objects("annotations")):
            columns.add(position, item, problems)
        self._faults = columns.faults
        images = np.array(columns.images, np.int64)
        order = np.argsort(images, kind="stable")[
            np.count_nonzero(images < 0) :
        ]  # those of an image lie together
        self._ends = np.searchsorted(images[order], np.arange(len(self.images) + 1)).tolist()
        self._names = [category.name for category in named.values()]
        self._positions = order
        self._categories = np.array(columns.categories, np.int32)[order]
        self._crowds, self._masked = (
            np.array(one, np.bool_)[order] for one in (columns.crowds, columns.masked)
        )
        self._boxes = np.array(columns.boxes, np.float64).reshape(-1, 4)
        self._boxed = bytes(columns.boxed)
        numbers = set(np.unique(self._categories).tolist())
        self.categories = used_categories(named, {key for i, key in enumerate(named) if i in numbers})

    def of(self, image_id: Id) -> list[CocoAnnotation]:
        """The annotations of an image, in the file's order."""
        i = self._images[image_id]
        mine = slice(self._ends[i], self._ends[i + 1])
        columns = (self._positions, self._categories, self._crowds, self._masked)
        rows = zip(*(column[mine].tolist() for column in columns), strict=True)
        return [CocoAnnotation(self, at, self._names[number], crowd, has) for at, number, crowd, has in rows]

    def crowds_alone(self, image_id: Id) -> bool:
        """Whether an image has annotations, all of them crowds."""
        i = self._images[image_id]
        mine = self._crowds[self._ends[i] : self._ends[i + 1]]
        return len(mine) > 0 and bool(mine.all())

    def objects(self, image_id: Id) -> "CocoObjects":
        """The annotations of an image that are no crowds."""
        return CocoObjects(self, image_id)

    def used(self) -> set[str]:
        """Names of the categories of which there is an object."""
        return {self._names[i] for i in np.unique(self._categories[~self._crowds])}

    def annotation(self, position: int) -> dict[str, Any]:
        """All fields of an annotation, read from the file."""
        return self._document.object("annotations", position)

    def box(self, position: int) -> tuple[tuple[float, float, float, float] | None, str | None]:
        """x1 y1 x2 y2, None where there is none that can be read; and why it cannot."""
        if not self._boxed[position]:
            return None, self._faults.get(position)
        x, y, width, height = self._boxes[position].tolist()
        return (x, y, x + width, y + height), None

    def _read_images(self, problems: Problems) -> tuple[tuple[CocoImage, ...], set[Any]]:
        """The images, and the ids of all that are listed."""
        entries: dict[Id, CocoImage] = {}
        listed = set()
        for position, item in enumerate(self._objects("images")):
            if isinstance(item.get("id"), int | float | str):
                listed.add(item["id"])
            with problems.collect():
                image = image_of(item, f"{self.path}: images[{position}]", self.path)
                if image.number in entries:
                    raise DataError(f"{self.path}: images[{position}]: duplicate id {image.number!r}")
                entries[image.number] = image
        return tuple(entries.values()), listed

    def _objects(self, key: str) -> Iterator[dict[str, Any]]:
        if self._document.length(key) is None:
            got = self._document.kinds.get(key, "nothing")
            raise DataError(f"{self.path}: field '{key}': expected a list of objects, got {got}")
        return self._document.objects(key)


class CocoObjects(Sequence[DeclaredObject]):
    """The objects of an image, made when they are asked for: kept, those of COCO would take 400 MB."""

    __slots__ = ("_file", "_image")

    def __init__(self, file: CocoFile, image_id: Id) -> None:
        self._file, self._image = file, image_id

    def __iter__(self) -> Iterator[DeclaredObject]:
        return (one.declared() for one in self._file.of(self._image) if not one.crowd)

    def __len__(self) -> int:
        return sum(not one.crowd for one in self._file.of(self._image))

    @overload
    def __getitem__(self, index: int) -> DeclaredObject: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[DeclaredObject]: ...
    def __getitem__(self, index: int | slice) -> DeclaredObject | Sequence[DeclaredObject]:
        return tuple(self)[index]


class _Columns:
    """What is kept of the annotations: a row each, without images where one is a problem."""

    def __init__(
        self, named: Mapping[Id, Category], images: Mapping[Id, int], listed: Set[Any], path: Path
    ) -> None:
        self._named, self._known, self._listed, self._path = named, images, listed, path
        self._numbers = {key: i for i, key in enumerate(named)}
        self._seen: set[Id] = set()
        self.images, self.categories = array("q"), array("i")
        self.crowds, self.masked, self.boxed = bytearray(), bytearray(), bytearray()
        self.boxes = array("d")  # x y width height
        self.faults: dict[int, str] = {}

    def add(self, position: int, item: dict[str, Any], problems: Problems) -> None:
        image, category, crowd = -1, -1, False
        try:
            self._check_id(position, item)
        except DataError as error:
            problems.add(str(error))
        try:
            image, category, crowd = self._row(position, item)
        except DataError as error:
            problems.add(str(error))
        self.images.append(image)
        self.categories.append(category)
        self.crowds.append(crowd)
        self.masked.append(has_mask(item))
        box, sides = item.get("bbox"), None
        if box is not None and box != []:
            try:
                sides = box_of(box, f"{self._path}: annotations[{position}]: field 'bbox'")
            except DataError as error:
                self.faults[position] = str(error)
        self.boxed.append(sides is not None)
        self.boxes.extend(sides or _NO_BOX)

    def _check_id(self, position: int, item: dict[str, Any]) -> None:
        value = item.get("id")
        if value is None:
            return  # nothing refers to it
        if type(value) is not int:
            value = identifier(item, "id", f"{self._path}: annotations[{position}]")
        if value in self._seen:
            raise DataError(f"{self._path}: annotations[{position}]: duplicate id {value!r}")
        self._seen.add(value)

    def _row(self, position: int, item: dict[str, Any]) -> tuple[int, int, bool]:
        """Places of image and category, and whether it is a crowd; -1 for one of an image that is itself a problem."""
        number, kind, crowds = item.get("image_id"), item.get("category_id"), item.get("iscrowd", 0)
        plain = type(crowds) is int and crowds in (0, 1)
        if (
            plain
            and type(number) is int
            and type(kind) is int
            and number in self._known
            and kind in self._named
        ):
            return self._known[number], self._numbers[kind], crowds == 1  # as nearly all are
        place = f"{self._path}: annotations[{position}]"
        image_id = known_id(item, "image_id", self._known, place)
        if image_id is None:
            if item["image_id"] in self._listed:
                return -1, -1, False
            raise DataError(
                f"{place}: field 'image_id': expected the id of an image, got {item['image_id']!r:.80}"
            )
        category = known_id(item, "category_id", self._named, place)
        if category is None:
            raise DataError(
                f"{place}: field 'category_id': unknown class: expected one of "
                f"{sorted(self._named, key=str)!r:.200}, "
                f"got {item['category_id']!r:.80} (image {image_id})"
            )
        crowd = flag(item.get("iscrowd"), f"{place}: field 'iscrowd'")
        return self._known[image_id], self._numbers[category], crowd


def read_coco(path: Path, where: str, problems: Problems) -> CocoFile:
    """Read a file; what is wrong with single entries goes to `problems`.

    Raises:
        DataError: no such file, no JSON, or not the three lists of COCO.
    """
    state = _state(path)
    if state is not None and (kept := _READ.get(path)) is not None and kept.state == state:
        file, messages = kept.file, kept.messages
    else:
        document = LargeJson(path, where, ("images", "annotations", "categories"))
        if document.length("images") == 0:
            raise DataError(f"{path}: {where} is empty: no images")
        own = Problems()
        file, messages = CocoFile(document, own), own.messages
        _READ.pop(path, None)
        if state is not None and state == _state(path):
            _READ[path] = _Kept(state, file, messages)
            while len(_READ) > _KEPT:
                del _READ[next(iter(_READ))]
    for message in messages:
        problems.add(message)
    return file


@dataclass(frozen=True)
class _Kept:
    state: tuple[int, ...]
    file: CocoFile
    messages: list[str]


_KEPT = 2  # files: train and val
_READ: dict[Path, _Kept] = {}
"""What this process has read: the checks of a run and its stages ask for the same file again."""


def _state(path: Path) -> tuple[int, ...] | None:
    """What changes with a file; None where it is not there, or so young that another change could look the same."""
    try:
        found = path.stat()
    except OSError:
        return None  # reading it says why
    young = time.time() - found.st_mtime < _SETTLED
    return (
        None if young else (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    )
