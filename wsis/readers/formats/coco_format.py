"""A COCO instances JSON as tools write it: images, categories and annotations, checked and tied together.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import (
    Problems,
    clean_text,
    flag,
    number,
    parse_json,
    read_bytes,
    whole_number,
)
from wsis.readers.shared.annotations import DeclaredObject
from wsis.readers.shared.format import Given
from wsis.readers.shared.layout import annotation_file, common_file
from wsis.readers.shared.records import ROLES

Id = int | str  # as the file gives it; a whole float is its integer


@dataclass(frozen=True)
class CocoImage:
    """An entry of `images`. `size` is (height, width), None where the file has none."""

    number: Id
    file_name: str
    size: tuple[int, int] | None
    where: str


@dataclass(frozen=True)
class CocoAnnotation:
    """An entry of `annotations`: its category's name, whether it is a crowd, and all its fields."""

    category: str
    crowd: bool
    fields: Mapping[str, Any]
    where: str

    def declared(self) -> DeclaredObject:
        """Its class and box, which may be no sound one."""
        place, box = f"{self.where}: field 'bbox'", self.fields.get("bbox")
        if box is None or box == []:
            return DeclaredObject(self.category, None, place)
        try:
            if not isinstance(box, list) or len(box) != 4:
                raise DataError(f"{place}: expected [x, y, width, height], got {box!r:.80}")
            x, y, width, height = (number(v, place) for v in box)
        except DataError as error:
            return DeclaredObject(self.category, None, place, str(error))
        return DeclaredObject(self.category, (x, y, x + width, y + height), place)


@dataclass(frozen=True)
class CocoFile:
    """A parsed JSON.

    Attributes:
        categories: id -> name, in the order of the ids.
        annotations: image id -> its annotations, in the file's order; every image has an entry.
    """

    path: Path
    images: tuple[CocoImage, ...]
    categories: Mapping[Id, str]
    annotations: Mapping[Id, list[CocoAnnotation]]

    def used(self) -> set[str]:
        """Names of the categories of which there is an object."""
        return {one.category for some in self.annotations.values() for one in some if not one.crowd}


def read_coco(path: Path, where: str, problems: Problems) -> CocoFile:
    """Read a file; what is wrong with single entries goes to `problems`.

    Raises:
        DataError: no such file, no JSON, or not the three lists of COCO.
    """
    tree = parse_json(read_bytes(path, where), str(path))
    if not isinstance(tree, dict):
        raise DataError(
            f"{path}: expected an object with images, annotations, categories, got {type(tree).__name__}"
        )
    images, annotations, categories = (
        _list_of_objects(tree, key, path) for key in ("images", "annotations", "categories")
    )
    if not images:
        raise DataError(f"{path}: {where} is empty: no images")
    named = _named(categories, path)
    entries: list[CocoImage] = []
    by_image: dict[Id, list[CocoAnnotation]] = {}
    _check_unique(annotations, "annotations", path, problems)
    for position, item in enumerate(images):
        with problems.collect():
            image = _image(item, f"{path}: images[{position}]", path)
            if image.number in by_image:
                raise DataError(f"{path}: images[{position}]: duplicate id {image.number!r}")
            by_image[image.number] = []
            entries.append(image)
    used = set()
    listed = {item.get("id") for item in images if isinstance(item.get("id"), int | float | str)}
    for position, item in enumerate(annotations):
        with problems.collect():
            place = f"{path}: annotations[{position}]"
            image_id = _of(item, "image_id", by_image, place)
            if image_id is None:
                if item["image_id"] in listed:
                    continue  # of an image that is itself a problem
                raise DataError(
                    f"{place}: field 'image_id': expected the id of an image, got {item['image_id']!r:.80}"
                )
            category = _of(item, "category_id", named, place)
            if category is None:
                raise DataError(
                    f"{place}: field 'category_id': unknown class: expected one of "
                    f"{sorted(named, key=str)!r:.200}, "
                    f"got {item['category_id']!r:.80} (image {image_id})"
                )
            used.add(category)
            crowd = flag(item.get("iscrowd"), f"{place}: field 'iscrowd'")
            by_image[image_id].append(CocoAnnotation(named[category].name, crowd, item, place))
    return CocoFile(path, tuple(entries), _categories(named, used), by_image)


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


def _of(item: Mapping[str, Any], key: str, known: Mapping[Id, Any], where: str) -> Id | None:
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


@dataclass(frozen=True)
class _Category:
    name: str
    where: str


def _named(items: list[dict[str, Any]], path: Path) -> dict[Id, _Category]:
    found: dict[Id, _Category] = {}
    for position, item in enumerate(items):
        place = f"{path}: categories[{position}]"
        key, name = identifier(item, "id", place), item.get("name")
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"{place}: field 'name': expected text, got {name!r:.80}")
        clean_text(name, f"{place}: field 'name'")
        if key in found:
            raise DataError(f"{place}: duplicate category {key!r} {name!r}")
        found[key] = _Category(name, place)
    return found


def _categories(named: Mapping[Id, _Category], used: set[Id]) -> dict[Id, str]:
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


def _image(item: Mapping[str, Any], where: str, path: Path) -> CocoImage:
    key = identifier(item, "id", where)
    place = f"{path}: image {key}"
    name = item.get("file_name")
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


def _list_of_objects(tree: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    value = tree.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        got = "nothing" if value is None else type(value).__name__
        raise DataError(f"{path}: field '{key}': expected a list of objects, got {got}")
    return value


def _check_unique(items: list[dict[str, Any]], key: str, path: Path, problems: Problems) -> None:
    seen: set[Id] = set()
    for position, item in enumerate(items):
        if item.get("id") is None:
            continue  # nothing refers to it
        with problems.collect():
            value = identifier(item, "id", f"{path}: {key}[{position}]")
            if value in seen:
                raise DataError(f"{path}: {key}[{position}]: duplicate id {value!r}")
            seen.add(value)


def look(root: Path, given: Given) -> str | None:
    """The files in a root that say it is COCO."""
    files = [annotation_file(root, role, given.names[role]) for role in ROLES if role in given.names]
    if any(files):
        return ", ".join(name for name in files if name is not None)
    found = common_file(root)
    return found if found is not None and _is_coco(root / found) else None


def _is_coco(path: Path) -> bool:
    """Whether a JSON has COCO's lists: read as bytes, it may be large."""
    data = path.read_bytes()
    return all(f'"{key}"'.encode() in data for key in ("images", "annotations", "categories"))
