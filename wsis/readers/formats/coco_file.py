"""A COCO instances JSON read once: images, and the annotations as columns; masks stay in the file.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014. A Python object for each of COCO's 860,000
annotations would take 400 MB, and their polygons gigabytes.
"""

import time
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, overload

import numpy as np

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import Problems
from wsis.readers.files.large_json import LargeJson
from wsis.readers.formats.coco_columns import AnnotationColumns
from wsis.readers.formats.coco_format import (
    Category,
    CocoImage,
    Id,
    categories_of,
    image_of,
    used_categories,
)
from wsis.readers.shared.annotations import DeclaredObject, ObjectsOnDemand

_SETTLED = 2.0  # seconds, more than the clocks of file systems are coarse
_Row = tuple[int, str, tuple[float, float, float, float] | None, str | None]


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


class CocoFile:
    """What a JSON says of its images; masks stay in the file.

    Attributes:
        images: those that can be used.
        categories: id -> name, in the order of the ids.
        clicks: how many annotations have polygons, and none of three points or more.
    """

    def __init__(self, document: LargeJson, problems: Problems) -> None:
        self._document, self.path = document, document.path
        named = categories_of(self._objects("categories"), self.path)
        self.images, unusable = self._read_images(problems)
        self._images: dict[Id, int] = {image.number: i for i, image in enumerate(self.images)}
        columns = self._read_annotations(named, unusable, problems)
        self._faults, self.clicks = columns.faults, columns.clicks
        images = np.asarray(columns.images)
        order = np.argsort(images, kind="stable")[
            np.count_nonzero(images < 0) :
        ]  # those of an image lie together
        self._ends = np.searchsorted(images[order], np.arange(len(self.images) + 1)).astype(np.int32)
        self._names = [category.name for category in named.values()]
        self._positions = order.astype(np.int32)
        self._categories = np.asarray(columns.categories)[order]
        self._crowds, self._masked, self._boxed = (
            np.frombuffer(one, np.bool_)[order] for one in (columns.crowds, columns.masked, columns.boxed)
        )
        self._boxes = np.asarray(columns.boxes).reshape(-1, 4)[order]
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

    def rows(self, image_id: Id) -> list[_Row]:
        """Position in the file, class, box and fault of an image's annotations that are no crowds."""
        i = self._images[image_id]
        mine = slice(self._ends[i], self._ends[i + 1])
        columns = (self._positions, self._categories, self._crowds, self._boxed, self._boxes)
        return [
            (at, self._names[number], (x, y, x + width, y + height) if boxed else None, self._faults.get(at))
            for at, number, crowd, boxed, (x, y, width, height) in zip(
                *(column[mine].tolist() for column in columns), strict=True
            )
            if not crowd
        ]

    def names(self, image_id: Id) -> set[str]:
        """Classes of an image's annotations that are no crowds."""
        i = self._images[image_id]
        mine = slice(self._ends[i], self._ends[i + 1])
        numbers = self._categories[mine][~self._crowds[mine]]
        return {self._names[number] for number in numbers.tolist()}

    def _read_annotations(
        self, named: Mapping[Id, Category], unusable: Set[Any], problems: Problems
    ) -> AnnotationColumns:
        for one_by_one in (False, True):
            columns, own = AnnotationColumns(named, self._images, unusable, self.path, one_by_one), Problems()
            for items in self._batches("annotations"):
                columns.add(items, own)
            if one_by_one or columns.ids_differ():
                break  # else once more, to say which
        for message in own.messages:
            problems.add(message)
        return columns

    def _read_images(self, problems: Problems) -> tuple[tuple[CocoImage, ...], set[Any]]:
        """The images, and the ids of those that cannot be used."""
        entries: dict[Id, CocoImage] = {}
        unusable = set[Any]()
        sizes: dict[Any, Any] = {}  # most images share theirs
        for position, item in enumerate(self._objects("images")):
            image = None
            with problems.collect():
                image = image_of(item, f"{self.path}: images[{position}]", self.path)
                if image.number in entries:
                    raise DataError(f"{self.path}: images[{position}]: duplicate id {image.number!r}")
                entries[image.number] = replace(image, size=sizes.setdefault(image.size, image.size))
            if image is None and isinstance(item.get("id"), int | float | str):
                unusable.add(item["id"])
        return tuple(entries.values()), unusable

    def _objects(self, key: str) -> Iterator[dict[str, Any]]:
        return chain.from_iterable(self._batches(key))

    def _batches(self, key: str) -> Iterator[list[dict[str, Any]]]:
        if self._document.length(key) is None:
            got = self._document.kinds.get(key, "nothing")
            raise DataError(f"{self.path}: field '{key}': expected a list of objects, got {got}")
        return self._document.batches(key)


class CocoObjects(ObjectsOnDemand):
    """The objects of an image, made when they are asked for: kept, those of COCO would take 400 MB."""

    __slots__ = ("_file", "_image")

    def __init__(self, file: CocoFile, image_id: Id) -> None:
        self._file, self._image = file, image_id

    def names(self) -> set[str]:
        """Names of their classes."""
        return self._file.names(self._image)

    def content(self) -> str:
        """Names, boxes and what is wrong with these, in order."""
        return repr([(name, box, fault) for _, name, box, fault in self._file.rows(self._image)])

    def __iter__(self) -> Iterator[DeclaredObject]:
        path = self._file.path
        return (
            DeclaredObject(name, box, f"{path}: annotations[{at}]: field 'bbox'", fault)
            for at, name, box, fault in self._file.rows(self._image)
        )

    def __len__(self) -> int:
        return len(self._file.rows(self._image))

    @overload
    def __getitem__(self, index: int) -> DeclaredObject: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[DeclaredObject]: ...
    def __getitem__(self, index: int | slice) -> DeclaredObject | Sequence[DeclaredObject]:
        return tuple(self)[index]


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

ReadFiles = tuple[tuple[Path, _Kept], ...]
"""What one process has read, on its way to another."""


def files_read() -> ReadFiles:
    """What this process has read; it can be pickled: COCO's 120,000 images are read in 12 s, sent in one."""
    return tuple(_READ.items())


def take_files_read(files: ReadFiles) -> None:
    """Take what another process of this machine has read. A file that has changed since is read again."""
    _READ.update(files)


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
