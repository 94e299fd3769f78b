"""What several stages read of the artefacts before them: class names, splits, images."""

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from data_contracts.records import RecordReader
from data_contracts.schemas import DATASET, array_to_text
from data_contracts.store import Artefact
from wsis.readers.files.images import decode_again, decode_image
from wsis.readers.mask_targets import Target

SOURCE_IDS = "source_ids.json"  # files of a dataset artefact
SOURCE_CATEGORIES = "source_categories.json"


def class_names(artefact: Artefact) -> tuple[str, ...]:
    """Names of the classes 1..C, from the manifest of a dataset or ground_truth artefact.

    Raises:
        DataError: the manifest names no classes.
    """
    names = artefact.manifest.counts.get("classes")
    if not isinstance(names, list) or not names:
        raise DataError(f"{artefact.path}: expected class names in the manifest's counts, got {names!r}")
    return tuple(str(name) for name in names)


def source_ids(artefact: Artefact) -> dict[str, int | str]:
    """Image id -> the id that the user's own annotations give the image (COCO's `id`), of a dataset artefact; empty
    where they give none."""
    if SOURCE_IDS not in artefact.manifest.files:
        return {}
    found: dict[str, int | str] = json.loads(artefact.file(SOURCE_IDS).read_bytes())
    return found


def source_categories(artefact: Artefact) -> dict[str, dict[str, int | str]]:
    """Split (train, val) -> class name -> the id that its annotations give the class (COCO's `category_id`), of a
    dataset artefact; empty where they give none."""
    if SOURCE_CATEGORIES not in artefact.manifest.files:
        return {}
    found: dict[str, dict[str, int | str]] = json.loads(artefact.file(SOURCE_CATEGORIES).read_bytes())
    return found


def splits(records: RecordReader) -> dict[str, str]:
    """Image id -> split, of records that have the field `split`; in the order of the records."""
    return {i: array_to_text(records.read(i, ("split",))["split"]) for i in records.ids}


def image_ids(records: RecordReader, split: str) -> list[str]:
    """The images of one split, in the order of the records."""
    return [image_id for image_id, its_split in splits(records).items() if its_split == split]


def is_negative(dataset: RecordReader, image_id: str, split: str) -> bool:
    """Whether an image of a `dataset` artefact is a training image that shows none of the classes.

    It teaches the classifier what the classes are not; nothing in it can be segmented, so seeds, proposals and all
    that is learned from them leave it out. (Photographs without labels are of the split val.)
    """
    return split == "train" and not len(dataset.read(image_id, ("labels",))["labels"])


def segmented_ids(dataset: RecordReader, split: str | None = None) -> list[str]:
    """The images, of one split or of all, that are no negatives; in the order of the records."""
    return [
        image_id
        for image_id, its_split in splits(dataset).items()
        if split in (None, its_split) and not is_negative(dataset, image_id, its_split)
    ]


def targets(artefact: Artefact, image_ids: Sequence[str]) -> list[Target]:
    """What entries of a file for many images can name, of images of a dataset artefact."""
    records, numbers, found = artefact.records(DATASET), source_ids(artefact), []
    for image_id in image_ids:
        one = records.read(image_id, ("file_name", "size"))
        height, width = one["size"].tolist()
        name = array_to_text(one["file_name"])
        found.append(Target(image_id, name, (height, width), numbers.get(image_id)))
    return found


def read_image(dataset: RecordReader, image_id: str) -> NDArray[np.uint8]:
    """An image of the dataset artefact, uint8 RGB [H, W, 3], EXIF applied.

    Raises:
        DataError: it does not decode.
    """
    return decode_image(dataset.read(image_id, ("encoded",))["encoded"].tobytes(), image_id)


def read_image_again(dataset: RecordReader, image_id: str) -> NDArray[np.uint8]:
    """BGR uint8 [H, W, 3] of an image that a stage before this one has read with :func:`read_image`.

    Raises:
        DataError: it does not decode.
    """
    return decode_again(dataset.read(image_id, ("encoded",))["encoded"].tobytes(), image_id)
