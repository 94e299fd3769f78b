"""The annotations of a COCO instances JSON as columns: a number or two an entry in the place of a Python object."""

from array import array
from collections.abc import Mapping, Sequence, Set
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import Problems, flag
from wsis.readers.formats.coco_format import Category, Id, box_of, identifier, known_id
from wsis.readers.formats.coco_masks import has_mask, is_click

_NO_BOX = (0.0, 0.0, 0.0, 0.0)
_NUMBERS = {int, float}


class AnnotationColumns:
    """What is kept of the annotations, a row each: place of the image (-1 where the entry is a problem) and of the
    category, whether it is a crowd, has a mask, has a box; x, y, width and height; and what is wrong with boxes.

    Args:
        named: id -> category.
        images: id -> place, of the images that can be used.
        unusable: ids of images that are problems themselves.
        one_by_one: look at each entry alone, which says which id is there twice; else those that are read together
            are checked together, and one by one only where one of them is not as the format has it.
    """

    def __init__(
        self,
        named: Mapping[Id, Category],
        images: Mapping[Id, int],
        unusable: Set[Any],
        path: Path,
        one_by_one: bool = False,
    ) -> None:
        self._named, self._known, self._unusable, self._path = named, images, unusable, path
        self._one_by_one = one_by_one
        self._numbers = {key: i for i, key in enumerate(named)}
        self._seen: set[Id] = set()
        self._ids = array(
            "q"
        )  # those that are whole numbers of 64 bits, unless one by one: a set takes 80 bytes each
        self.images, self.categories = array("q"), array("i")
        self.crowds, self.masked, self.boxed = bytearray(), bytearray(), bytearray()
        self.boxes = array("d")
        self.faults: dict[int, str] = {}
        self.clicks = 0  # annotations of no polygon with three points

    def add(self, items: Sequence[dict[str, Any]], problems: Problems) -> None:
        """Take entries that follow one another; what is wrong with them goes to `problems`."""
        self.clicks += sum(map(is_click, items))
        if not self._one_by_one and self._add_plain(items):
            return
        for item in items:
            self._add_one(len(self.images), item, problems)

    def ids_differ(self) -> bool:
        """Whether no id is there twice. Of ids that are text, and of all one by one, `add` says it."""
        ids = np.sort(np.asarray(self._ids))
        return not bool((ids[1:] == ids[:-1]).any())

    def _add_plain(self, items: Sequence[dict[str, Any]]) -> bool:
        """Take entries as nearly all are; False, and none is taken, where one is not."""
        keys = ("id", "image_id", "category_id", "bbox")
        columns: list[list[Any]] = [[item.get(key) for item in items] for key in keys]
        ids, images, categories, boxes = columns
        crowds = [item.get("iscrowd", 0) for item in items]
        sides = _sides(boxes)
        if sides is None or any(set(map(type, one)) != {int} for one in (ids, images, categories, crowds)):
            return False
        try:
            numbers = array("q", ids)
            places = array("q", [self._known[one] for one in images])
            classes = array("i", [self._numbers[one] for one in categories])
        except (OverflowError, KeyError):  # a number of more than 64 bits, or an id that is not known
            return False
        if not set(crowds) <= {0, 1}:
            return False
        self._ids += numbers
        self.images += places
        self.categories += classes
        self.crowds += bytes(crowds)
        self.masked += bytes(map(has_mask, items))
        self.boxed += b"\1" * len(items)
        self.boxes += sides
        return True

    def _add_one(self, position: int, item: dict[str, Any], problems: Problems) -> None:
        image, category, crowd = -1, -1, False
        with problems.collect():
            self._check_id(position, item)
        with problems.collect():
            image, category, crowd = self._row(position, item)
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
        if not self._one_by_one and isinstance(value, int) and abs(value) < 2**63:
            self._ids.append(value)
            return
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
            if item["image_id"] in self._unusable:
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


def _sides(boxes: Sequence[Any]) -> "array[float] | None":
    """x, y, width and height of each `bbox`, one after the other; None where one is not four numbers."""
    if set(map(type, boxes)) != {list} or set(map(len, boxes)) != {4}:
        return None
    try:
        sides = list(chain.from_iterable(boxes))
        return array("d", sides) if set(map(type, sides)) <= _NUMBERS else None
    except OverflowError:
        return None
