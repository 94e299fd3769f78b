"""The ids of images and classes in COCO results: no result may silently be taken for one of another image.

Ids come from a COCO file that the user names, else from the run's own data set where the photographs are images of it,
else they are file names: text, which no data set with numbers takes for its own.
"""

import json
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from data_contracts.atomic import write_atomic
from data_contracts.errors import DataError
from data_contracts.printable import first_few
from data_contracts.schemas import DATASET, array_to_text
from data_contracts.store import Artefact
from wsis.engine.per_image import read_failures
from wsis.readers.files.folder_files import parse_json, read_bytes
from wsis.views.dataset import source_categories, source_ids

Id = int | str


@dataclass(frozen=True)
class Image:
    """A photograph of the store: its id there, its path below the folder, (H, W)."""

    key: str
    file_name: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Identities:
    """Ids for COCO results.

    Attributes:
        images: key in the store -> `image_id`, in the order of the store.
        categories: `category_id` of each class 1..C.
        said: in one line, which ids these are.
    """

    images: Mapping[str, Id]
    categories: Sequence[Id]
    said: str


def images_of(photographs: Artefact) -> list[Image]:
    """The photographs of an artefact that could be read."""
    records, failed = photographs.records(DATASET), read_failures(photographs.path)
    found = []
    for key in records.ids:
        if key not in failed:
            one = records.read(key, ("file_name", "size"))
            height, width = one["size"].tolist()
            found.append(Image(key, array_to_text(one["file_name"]), (height, width)))
    return found


def identities(
    ids_file: Path | None, dataset: Artefact | None, photographs: Artefact, classes: Sequence[str]
) -> Identities:
    """Ids of a COCO file that was named, else of the run's data set where the photographs are of it, else file names.

    Raises:
        DataError: the named file does not fit the photographs or classes.
    """
    images = images_of(photographs)
    if ids_file is not None:
        return of_coco_file(ids_file, images, classes)
    own, why = (None, "") if dataset is None else of_data_set(dataset, photographs, images, classes)
    return own or by_file_name(images, classes, why)


def by_file_name(images: Iterable[Image], classes: Sequence[str], why: str = "") -> Identities:
    """File names as ids of the images, 1..C as those of the classes."""
    return Identities(
        {one.key: one.file_name for one in images},
        list(range(1, len(classes) + 1)),
        f"image_id: file names, as in images.json{why}; for the ids of a COCO file: --ids FILE.json",
    )


def of_coco_file(path: Path, images: Sequence[Image], classes: Sequence[str]) -> Identities:
    """The ids that a COCO file gives the images and classes, kept as they are.

    An image is found by its name: the path where one path is the end of the other, else the last part alone.
    Classes are found by name. Unicode forms and the kind of slash do not matter.

    Raises:
        DataError: the file is no COCO file, lacks an image or a class, has several that fit, or gives an image
            another size than the photograph has.
    """
    tree = parse_json(read_bytes(path, "--ids"), f"--ids {path}")
    entries = _entries(tree, "images", "file_name", path)
    named = _entries(tree, "categories", "name", path) if classes else []
    find = _finder(entries, path)
    found = {one.key: find(one) for one in images}
    missing = [one.file_name for one in images if found[one.key] is None]
    if missing:
        raise DataError(
            f"--ids {path}: expected an image entry of each of the {len(images)} photographs, got none of "
            f"{len(missing)}: {first_few(missing)}"
        )
    ids = {key: entry["id"] for key, entry in found.items() if entry is not None}
    twice = _twice((ids[one.key], one.file_name) for one in images)
    if twice:
        raise DataError(
            f"--ids {path}: expected an entry of its own for each photograph, got one for {twice}"
        )
    numbers = {_plain(entry["name"]): entry["id"] for entry in named}
    lacking = [name for name in classes if _plain(name) not in numbers]
    if lacking or len(numbers) < len(named):
        wrong = f"none of {first_few(lacking)}" if lacking else "several of one name"
        raise DataError(
            f"--ids {path}: expected one category of each class of the run, got {wrong}; it has "
            f"{first_few([entry['name'] for entry in named])}"
        )
    return Identities(
        ids, [numbers[_plain(name)] for name in classes], f"image_id and category_id: those of {path}"
    )


def of_data_set(
    dataset: Artefact, photographs: Artefact, images: Sequence[Image], classes: Sequence[str]
) -> tuple[Identities | None, str]:
    """The ids that the annotations of a run's data set give the photographs, where each of them is one of its images:
    of its name and with its bytes.

    Returns:
        The ids, or None and why not, to go on with in a sentence; the reason is empty where the data set has no ids.
    """
    numbers, categories = source_ids(dataset), source_categories(dataset)
    if not numbers or not categories or not images:
        return None, ""
    data, given = dataset.records(DATASET), photographs.records(DATASET)
    by_last: dict[str, list[str]] = defaultdict(list)
    for key in numbers:
        by_last[path_parts(key)[-1]].append(key)
    found: dict[str, str] = {}
    for one in images:
        last = path_parts(one.file_name)[-1]
        named = dict.fromkeys([*by_last[last], *by_last[last.rpartition(".")[0]]])
        content = given.read(one.key, ("encoded",))["encoded"]
        same = [k for k in named if np.array_equal(data.read(k, ("encoded",))["encoded"], content)]
        if len(same) != 1:
            return None, f" ({one.file_name} is {'twice' if same else 'no image'} in the run's data set)"
        found[one.key] = same[0]
    ids = {key: numbers[own] for key, own in found.items()}
    if twice := _twice((ids[one.key], one.file_name) for one in images):
        return None, f" (the run's data set has one id for {twice})"
    parts = {array_to_text(data.read(own, ("split",))["split"]) for own in found.values()}
    named_by = [[categories[part].get(name) for name in classes] for part in sorted(parts)]
    if any(one != named_by[0] or None in one for one in named_by):
        return None, " (the parts of the run's data set number the classes differently)"
    of_classes = [number for number in named_by[0] if number is not None]
    return Identities(ids, of_classes, "image_id and category_id: those of the run's own data set"), ""


def write_images(path: Path, images: Iterable[Image], classes: Sequence[str], ids: Identities) -> None:
    """Write the images and classes as a COCO file without annotations, which `loadRes` takes the results to.

    Raises:
        StoreError: it cannot be written.
    """
    tree = {
        "info": {"description": f"images of wsis predict; {ids.said}"},
        "images": [
            {
                "id": ids.images[one.key],
                "file_name": one.file_name,
                "height": one.size[0],
                "width": one.size[1],
            }
            for one in images
        ],
        "annotations": [],
        "categories": [{"id": i, "name": name} for i, name in zip(ids.categories, classes, strict=True)],
    }
    write_atomic(path, json.dumps(tree, indent=1).encode())


def _entries(tree: Any, key: str, name: str, path: Path) -> list[dict[str, Any]]:
    """The objects of a list, each with an `id` of its own (whole floats as integers) and a name.

    Raises:
        DataError: naming file, field, expected and got.
    """
    items = tree.get(key) if isinstance(tree, dict) else None
    if not isinstance(items, list) or not items:
        raise DataError(f"--ids {path}: field '{key}': expected a list of objects, got {_kind(items)}")
    found: dict[Id, dict[str, Any]] = {}
    for number, item in enumerate(items):
        place = f"--ids {path}: {key}[{number}]"
        if not isinstance(item, dict):
            raise DataError(f"{place}: expected an object, got {_kind(item)}")
        one, text = item.get("id"), item.get(name)
        if isinstance(one, float) and one.is_integer():
            one = int(one)
        if isinstance(one, bool) or not isinstance(one, int | str):
            raise DataError(f"{place}: field 'id': expected a whole number or text, got {one!r:.80}")
        if not isinstance(text, str) or not text:
            raise DataError(f"{place}: field '{name}': expected text, got {text!r:.80}")
        if one in found:
            raise DataError(f"{place}: duplicate id {one!r}")
        found[one] = {**item, "id": one}
    return list(found.values())


def _finder(entries: Sequence[dict[str, Any]], path: Path) -> Callable[[Image], dict[str, Any] | None]:
    by_last: dict[str, list[tuple[tuple[str, ...], dict[str, Any]]]] = defaultdict(list)
    for entry in entries:
        parts = path_parts(entry["file_name"])
        by_last[parts[-1] if parts else ""].append((parts, entry))

    def find(image: Image) -> dict[str, Any] | None:
        wanted = path_parts(image.file_name)
        same = by_last.get(wanted[-1], [])
        exact = [entry for parts, entry in same if parts == wanted]
        tails = [entry for parts, entry in same if is_tail(parts, wanted)]
        fitting = exact or tails or [entry for _, entry in same]
        if len(fitting) > 1:
            raise DataError(
                f"--ids {path}: photograph {image.file_name}: expected one image entry, got "
                f"{len(fitting)}: {first_few([entry['file_name'] for entry in fitting])}"
            )
        if fitting:
            _check_size(fitting[0], image, path)
        return fitting[0] if fitting else None

    return find


def _check_size(entry: Mapping[str, Any], image: Image, path: Path) -> None:
    height, width = entry.get("height"), entry.get("width")
    if height is not None and width is not None and (height, width) != image.size:
        raise DataError(
            f"--ids {path}: image {entry['file_name']}: expected the photograph's width x height, {image.size[1]} x "
            f"{image.size[0]} (after its EXIF rotation), got {width!r:.20} x {height!r:.20}"
        )


def _twice(pairs: Iterable[tuple[Id, str]]) -> str:
    """The names that share an id, if any do."""
    by_id: dict[Id, list[str]] = defaultdict(list)
    for one, name in pairs:
        by_id[one].append(name)
    return next((first_few(names) for names in by_id.values() if len(names) > 1), "")


def path_parts(name: str) -> tuple[str, ...]:
    """The parts of a path, whatever its slashes and Unicode form."""
    return tuple(part for part in PurePosixPath(_plain(name).replace("\\", "/")).parts if part != "/")


def is_tail(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the shorter path is the end of the longer."""
    length = min(len(one), len(other))
    return one[-length:] == other[-length:]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__
