"""What the entries of a COCO instances JSON say, as tools write them: ids, categories, images.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import (
    class_name,
    clean_text,
    number,
    whole_number,
)
from wsis.readers.files.json_files import tool_of
from wsis.readers.shared.format import Given
from wsis.readers.shared.layout import annotation_file, common_file, some_files
from wsis.readers.shared.records import ROLES

_EXACT = 2**53  # whole numbers below are floats too
Id = int | str  # as the file gives it; a whole float is its integer


@dataclass(frozen=True, slots=True)
class CocoImage:
    """An entry of `images`. `size` is (height, width), None where the file has none."""

    number: Id
    file_name: str
    size: tuple[int, int] | None
    where: str


def identifier(item: Mapping[str, Any], key: str, where: str) -> Id:
    """The id that a field holds: a whole number, or text as it is.

    Raises:
        DataError: it is neither.
    """
    value = item.get(key)
    if isinstance(value, str) and value:
        return clean_text(value, f"{where}: field '{key}'")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise DataError(f"{where}: field '{key}': expected a whole number or text, got {value!r:.80}")
    return value


def known_id(item: Mapping[str, Any], key: str, known: Mapping[Id, Any], where: str) -> Id | None:
    """Which of the known ids a field means: itself, else the same number as text or text as number."""
    value = identifier(item, key, where)
    if value in known:
        return value
    other: Id | None = str(value)
    if isinstance(value, str):
        other = int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None
        if str(other) != value:
            other = None
    return other if other in known else None


def box_of(box: Any, place: str) -> tuple[float, float, float, float]:
    """x, y, width and height of a `bbox`.

    Raises:
        DataError: they are no four numbers.
    """
    if not isinstance(box, list) or len(box) != 4:
        raise DataError(f"{place}: expected [x, y, width, height], got {box!r:.80}")
    if all(type(v) is float or (type(v) is int and abs(v) < _EXACT) for v in box):
        x, y, width, height = map(float, box)
        return x, y, width, height
    x, y, width, height = (number(v, place) for v in box)
    return x, y, width, height


@dataclass(frozen=True)
class Category:
    """An entry of `categories`, and its place in the file."""

    name: str
    where: str


def categories_of(items: Iterable[dict[str, Any]], path: Path) -> dict[Id, Category]:
    """Id -> category, in the file's order.

    Raises:
        DataError: an id or name is missing or no text, or an id is there twice.
    """
    found: dict[Id, Category] = {}
    for position, item in enumerate(items):
        place = f"{path}: categories[{position}]"
        key, name = identifier(item, "id", place), item.get("name")
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"{place}: field 'name': expected text, got {name!r:.80}")
        name = class_name(name, f"{place}: field 'name'")
        if key in found:
            raise DataError(f"{place}: duplicate category {key!r} {name!r}")
        found[key] = Category(name, place)
    return found


def used_categories(named: Mapping[Id, Category], used: set[Id]) -> dict[Id, str]:
    """Names by id, in the order of the ids. Two categories of one name are an error where both have annotations; an
    unused one goes: Roboflow's root category is often called as the class below it."""
    kept: dict[str, Id] = {}
    for key, category in named.items():
        before = kept.get(category.name)
        if before in used and key in used:
            raise DataError(f"{category.where}: duplicate category {key!r} {category.name!r}")
        if before is None or key in used:
            kept[category.name] = key
    ids = sorted(kept.values(), key=lambda key: (isinstance(key, str), key))
    return {key: named[key].name for key in ids}


def image_of(item: Mapping[str, Any], where: str, path: Path) -> CocoImage:
    """An entry of `images`, checked.

    Raises:
        DataError: naming the field.
    """
    key = identifier(item, "id", where)
    place = f"{path}: image {key}"
    name = item.get("file_name")
    if name is None and isinstance(url := item.get("coco_url"), str) and url:
        name = "/".join(urlsplit(url).path.split("/")[-2:])  # LVIS: .../train2017/000000391895.jpg
    if not isinstance(name, str) or not name:
        raise DataError(f"{place}: field 'file_name': expected text, got {name!r:.80}")
    clean_text(name, f"{place}: field 'file_name'")
    sides = [item.get(side) for side in ("height", "width")]
    size = None
    if any(sides):  # 0, null and nothing: the tool did not know
        height, width = (whole_number(v, f"{place}: height and width") if v is not None else 0 for v in sides)
        if height < 1 or width < 1:
            raise DataError(
                f"{place}: expected height and width of at least 1, got {sides[0]} and {sides[1]}"
            )
        size = (height, width)
    return CocoImage(key, name, size, place)


def look(root: Path, given: Given) -> str | None:
    """The files in a root that say it is COCO."""
    named = [annotation_file(root, role, given.names[role]) for role in ROLES if role in given.names]
    files = [name for name in named if name is not None and tool_of(root / name) in ("coco", None)]
    if files:
        return ", ".join(files)
    if all(tool_of(root / name) != "coco" for name in some_files(root)):
        return None
    found = common_file(root)
    return found if found is not None and tool_of(root / found) == "coco" else None
