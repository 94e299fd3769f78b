"""The file formats of a VOC devkit: split lists, annotation XML, the two planes of segmentation labels.

Suffix: H W image.
"""

from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from stages.readers.annotations import DeclaredObject
from stages.readers.files import Problems, finite_number, plain_name, read_text

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
VOID = 255


def read_split(path: Path, where: str, problems: Problems) -> tuple[str, ...]:
    """Image ids of a split file, one a line; blank lines are skipped.

    Problems found: an id that is no plain name, an id twice.

    Raises:
        DataError: the file is missing, empty, or lists nothing.
    """
    ids: dict[str, None] = {}
    problems_before = len(problems.messages)
    for number, line in enumerate(read_text(path, where).splitlines(), start=1):
        if not (image_id := line.strip()):
            continue
        place = f"{path}: line {number}"
        with problems.collect():
            plain_name(image_id, place)
            if len(image_id.split()) > 1:
                raise DataError(f"{place}: expected one image id, got {image_id!r}")
            if image_id in ids:
                raise DataError(f"{place}: duplicate image id {image_id!r}")
            ids[image_id] = None
    if not ids and len(problems.messages) == problems_before:
        raise DataError(f"{path}: {where} is empty: expected image ids, one a line")
    return tuple(ids)


def parse_annotation(root: Element, where: str) -> tuple[tuple[int, int], tuple[DeclaredObject, ...]]:
    """Size (height, width) and objects of a VOC annotation.

    Raises:
        DataError: a field is missing or no number.
    """
    height, width = (_number(root, f"size/{side}", where) for side in ("height", "width"))
    if height < 1 or width < 1 or height % 1 or width % 1:
        raise DataError(
            f"{where}: field 'size': expected whole pixels of at least 1, got {width:g} x {height:g}"
        )
    objects: list[DeclaredObject] = []
    difficult: list[DeclaredObject] = []
    for number, item in enumerate(root.findall("object"), start=1):
        place = f"{where}: object {number}"
        name = (item.findtext("name") or "").strip()
        if not name:
            raise DataError(f"{place}: field 'name': expected a class, got nothing")
        declared = DeclaredObject(name, _box(item, place), f"{place}: field 'bndbox' ({name})")
        is_difficult = (item.findtext("difficult") or "0").strip() == "1"
        (difficult if is_difficult else objects).append(declared)
    return (int(height), int(width)), tuple(objects or difficult)


def _box(item: Element, where: str) -> tuple[float, float, float, float] | None:
    """1-based inclusive corners to 0-based xyxy with exclusive ends; None without <bndbox>."""
    if item.find("bndbox") is None:
        return None
    x1, y1, x2, y2 = (_number(item, f"bndbox/{side}", where) for side in ("xmin", "ymin", "xmax", "ymax"))
    return x1 - 1, y1 - 1, x2, y2


def _number(element: Element, field: str, where: str) -> float:
    text = element.findtext(field)
    if text is None or not text.strip():
        raise DataError(f"{where}: field '{field}': expected a number, got nothing")
    return finite_number(text.strip(), f"{where}: field '{field}'")


def instance_classes(
    instances: NDArray[np.uint8], categories: NDArray[np.uint8], where: str
) -> dict[int, int]:
    """Class index of each instance: the most frequent one under its pixels, background and void not counted.

    Args:
        instances: uint8 [H, W], 0 background, 255 void, the rest instance numbers.
        categories: uint8 [H, W], 0 background, 255 void, the rest class indices.

    Raises:
        DataError: an instance has no pixel with a class.
    """
    joint = instances.astype(np.int64) * 256 + categories
    votes = np.bincount(joint.ravel(), minlength=1 << 16).reshape(256, 256)
    present = [int(i) for i in np.flatnonzero(votes.sum(axis=1)) if i not in (0, VOID)]
    votes[:, [0, VOID]] = 0
    for instance in present:
        if not votes[instance].any():
            raise DataError(
                f"{where}: expected a class under instance {instance}, got background or void alone"
            )
    return {instance: int(votes[instance].argmax()) for instance in present}
