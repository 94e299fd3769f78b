"""COCO instances JSON: any user's own images and classes.

    annotations/instances_<split>.json    or the paths of the options, relative to the root
    <split>/, images/<split>/ or images/  the image files

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014. Suffixes: N instances, H W image.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
from numpy.typing import NDArray

from data_contracts.errors import DataError
from stages.readers.annotations import Declared, DeclaredObject
from stages.readers.files import Problems, finite_number, inside, parse_json, plain_name, read_bytes, sha256
from stages.readers.folder import Entry, FolderOptions, FolderSource
from stages.readers.records import Role, TruthRecord
from wsis.errors import InputError
from wsis.masks import rle


@dataclass(frozen=True)
class CocoPaths:
    """Places relative to the root; None stands for the usual ones."""

    annotations: Mapping[Role, str]
    images: Mapping[Role, str]


@dataclass(frozen=True)
class _Part:
    """One parsed JSON: category id -> name, image id -> its annotations."""

    path: Path
    images: tuple[dict[str, Any], ...]
    categories: dict[int, str]
    annotations: dict[int, list[dict[str, Any]]]


class CocoSource(FolderSource):
    """A folder of images with COCO instances JSON.

    Classes are the categories sorted by their id (1..C), unless `options.classes` names them. Crowd regions give
    no label and no box; for evaluation they are void. An image's id is `<split>_<id in the JSON>`.
    """

    def __init__(self, root: Path, options: FolderOptions, paths: CocoPaths | None = None) -> None:
        super().__init__(root, options)
        self._paths = paths or CocoPaths({}, {})
        self._parts: dict[Role, _Part] = {}

    # -- annotations --------------------------------------------------------------------------------------
    def _declare(self, role: Role, problems: Problems) -> list[Declared]:
        declared: list[Declared] = []
        with problems.collect():
            part = self._read_part(role, problems)
            self._parts[role] = part
            folder = self._image_folder(role)
            if not part.images:
                raise DataError(f"{part.path}: split {self.options.splits[role]!r} is empty: no images")
            for image in part.images:
                with problems.collect():
                    declared.append(self._declare_image(image, role, part, folder))
        return declared

    def _read_part(self, role: Role, problems: Problems) -> _Part:
        split = plain_name(self.options.splits[role], "option data split")
        name = self._paths.annotations.get(role) or f"annotations/instances_{split}.json"
        path = inside(self.root, name, f"annotations of split {split!r}")
        data = read_bytes(path, f"split {split!r}")
        tree = parse_json(data, str(path))
        if not isinstance(tree, dict):
            raise DataError(
                f"{path}: expected an object with images, annotations, categories, got {_kind(tree)}"
            )
        images, annotations, categories = (
            _list_of_objects(tree, key, path) for key in ("images", "annotations", "categories")
        )
        names = _categories(categories, path)
        known = _unique_ids(images, "images", path, problems)
        _unique_ids(annotations, "annotations", path, problems)
        by_image: dict[int, list[dict[str, Any]]] = {i: [] for i in known}
        for number, annotation in enumerate(annotations):
            with problems.collect():
                place = f"{path}: annotations[{number}]"
                image_id = _integer(annotation, "image_id", place)
                if image_id not in by_image:
                    raise DataError(f"{place}: field 'image_id': expected the id of an image, got {image_id}")
                category = _integer(annotation, "category_id", place)
                if category not in names:
                    raise DataError(
                        f"{place}: field 'category_id': unknown class: expected one of {sorted(names)}, "
                        f"got {category} (image {image_id})"
                    )
                by_image[image_id].append({**annotation, "_place": place})
        return _Part(path, tuple(images), names, by_image)

    def _image_folder(self, role: Role) -> str:
        split = self.options.splits[role]
        given = self._paths.images.get(role)
        candidates = [given] if given else [split, f"images/{split}", "images"]
        for name in candidates:
            if inside(self.root, name, f"image folder of split {split!r}").is_dir():
                return name
        raise DataError(
            f"{self.root}: no image folder of split {split!r}; expected {' or '.join(candidates)}"
        )

    def _declare_image(self, image: dict[str, Any], role: Role, part: _Part, folder: str) -> Declared:
        number = _integer(image, "id", f"{part.path}: images")
        where = f"{part.path}: image {number}"
        name = image.get("file_name")
        if not isinstance(name, str):
            raise DataError(f"{where}: field 'file_name': expected text, got {name!r}")
        inside(self.root / folder, name, f"{where}: field 'file_name'")
        path = inside(self.root, f"{folder}/{name}", f"{where}: field 'file_name'")
        if not path.is_file():
            raise DataError(f"{where}: the file {path} is missing")
        height, width = (_integer(image, side, where) for side in ("height", "width"))
        if height < 1 or width < 1:
            raise DataError(f"{where}: expected height and width of at least 1, got {height} and {width}")
        objects = [_object(a, part) for a in part.annotations[number] if not _is_crowd(a)]
        image_id = f"{self.options.splits[role]}_{number}"
        digest = sha256(repr((image_id, height, width, objects_digest(objects))).encode())
        unsure = not objects and bool(part.annotations[number])
        return Declared(
            image_id, role, path, f"{folder}/{name}", (height, width), tuple(objects), where, digest, unsure
        )

    def _infer_classes(self, declared: Sequence[Declared]) -> tuple[str, ...]:
        part = next(iter(self._parts.values()), None)
        return () if part is None else tuple(part.categories.values())

    # -- masks, for evaluation alone ----------------------------------------------------------------------
    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.classes, start=1)}

    def _annotations(self, entry: Entry) -> tuple[list[dict[str, Any]], dict[int, str]]:
        part = self._parts[entry.declared.role]
        number = int(entry.declared.image_id.rsplit("_", 1)[1])
        return part.annotations[number], part.categories

    def _has_truth(self, entry: Entry) -> bool:
        return all("segmentation" in a for a in self._annotations(entry)[0])

    def _truth_bytes(self, entry: Entry) -> Iterator[bytes]:
        for annotation in self._annotations(entry)[0]:
            shown = {k: v for k, v in annotation.items() if k != "_place"}
            yield repr(sorted(shown.items())).encode()

    def _truth(self, entry: Entry) -> TruthRecord:
        annotations, categories = self._annotations(entry)
        masks: list[bytes] = []
        labels: list[int] = []
        void = np.zeros(entry.size, dtype=bool)
        for annotation in annotations:
            mask = segmentation_mask(
                annotation, entry.size, f"{annotation['_place']} (image {entry.declared.image_id})"
            )
            name = categories[annotation["category_id"]]
            if _is_crowd(annotation):
                void |= mask
            elif name in self._numbers and mask.any():  # a polygon thinner than a pixel covers none
                masks.append(rle.encode(mask))
                labels.append(self._numbers[name])
        return TruthRecord(
            image_id=entry.declared.image_id,
            split=entry.declared.role,
            height=entry.size[0],
            width=entry.size[1],
            masks=tuple(masks),
            labels=np.array(labels, dtype=np.int32),
            boxes=rle.bboxes(masks, entry.size),
            void=rle.encode(void),
        )


def objects_digest(objects: Sequence[DeclaredObject]) -> str:
    """sha256 of names and boxes in order."""
    return sha256(repr([(item.name, item.box) for item in objects]).encode())


def segmentation_mask(annotation: Mapping[str, Any], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """Mask bool [H, W] of a COCO `segmentation`: polygons, run lengths, or compressed run lengths.

    Raises:
        DataError: absent, of another kind, of another size than the image, or damaged.
    """
    place = f"{where}: field 'segmentation'"
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list) and segmentation:
        return _polygons(segmentation, size, place)
    if isinstance(segmentation, dict):
        return _run_lengths(segmentation, size, place)
    raise DataError(f"{place}: expected polygons or run lengths, got {segmentation!r}")


def _polygons(polygons: list[Any], size: tuple[int, int], place: str) -> NDArray[np.bool_]:
    checked = []
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise DataError(
                f"{place}: expected polygons [x, y, x, y, x, y, ...] of three points or more, got {polygon!r:.80}"
            )
        points = np.array([finite_number(v, place) for v in polygon]).reshape(-1, 2)
        over = max(float(-points.min()), float((points - size[::-1]).max()))
        if over > max(size):
            raise DataError(
                f"{place}: expected points near the image of {size[1]} x {size[0]}, got one {over:g} pixels outside"
            )
        checked.append(points.ravel().tolist())
    merged = coco_mask.merge(coco_mask.frPyObjects(checked, *size))
    return rle.decode(bytes(merged["counts"]), size)


def _run_lengths(segmentation: Mapping[str, Any], size: tuple[int, int], place: str) -> NDArray[np.bool_]:
    declared, counts = segmentation.get("size"), segmentation.get("counts")
    if declared != list(size):
        raise DataError(
            f"{place}: expected a mask of the image's size {list(size)} (height, width), got {declared!r}"
        )
    if isinstance(counts, str):
        try:
            return rle.decode(counts.encode(), size)
        except InputError as error:
            raise DataError(f"{place}: {error}") from error
    if not isinstance(counts, list) or not all(isinstance(c, int) and c >= 0 for c in counts):
        raise DataError(f"{place}: field 'counts': expected text or run lengths, got {counts!r:.80}")
    if sum(counts) != size[0] * size[1]:
        raise DataError(f"{place}: expected runs that cover {size[0] * size[1]} pixels, got {sum(counts)}")
    foreground = np.arange(len(counts)) % 2 == 1
    return np.repeat(foreground, counts).reshape(size[::-1]).T


def _kind(value: Any) -> str:
    return type(value).__name__


def _list_of_objects(tree: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    value = tree.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        got = "nothing" if value is None else _kind(value)
        raise DataError(f"{path}: field '{key}': expected a list of objects, got {got}")
    return value


def _integer(item: Mapping[str, Any], key: str, where: str) -> int:
    value = item.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise DataError(f"{where}: field '{key}': expected an integer, got {value!r}")
    return value


def _categories(items: list[dict[str, Any]], path: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for number, item in enumerate(items):
        place = f"{path}: categories[{number}]"
        key, name = _integer(item, "id", place), item.get("name")
        if not isinstance(name, str) or not name:
            raise DataError(f"{place}: field 'name': expected text, got {name!r}")
        if key in names or name in names.values():
            raise DataError(f"{place}: duplicate category {key} {name!r}")
        names[key] = name
    return dict(sorted(names.items()))


def _unique_ids(items: list[dict[str, Any]], key: str, path: Path, problems: Problems) -> set[int]:
    seen: set[int] = set()
    for number, item in enumerate(items):
        with problems.collect():
            value = _integer(item, "id", f"{path}: {key}[{number}]")
            if value in seen:
                raise DataError(f"{path}: {key}[{number}]: duplicate id {value}")
            seen.add(value)
    return seen


def _is_crowd(annotation: Mapping[str, Any]) -> bool:
    return bool(annotation.get("iscrowd", 0))


def _object(annotation: Mapping[str, Any], part: _Part) -> DeclaredObject:
    place = f"{annotation['_place']}: field 'bbox'"
    box, name = annotation.get("bbox"), part.categories[annotation["category_id"]]
    if box is None:
        return DeclaredObject(name, None, place)
    if not isinstance(box, list) or len(box) != 4:
        raise DataError(f"{place}: expected [x, y, width, height], got {box!r}")
    x, y, width, height = (finite_number(v, place) for v in box)
    return DeclaredObject(name, (x, y, x + width, y + height), place)
