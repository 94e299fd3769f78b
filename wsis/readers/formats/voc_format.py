"""The file formats of a VOC devkit: split lists, annotation XML, the two planes of segmentation labels.

Suffix: H W image.
"""

import os
import re
from collections.abc import Callable, Collection
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import (
    Problems,
    class_name,
    finite_number,
    flag,
    number,
    parse_xml,
    plain_name,
    read_text,
)
from wsis.readers.shared.annotations import DeclaredObject
from wsis.readers.shared.folder import Entry
from wsis.readers.shared.format import Given
from wsis.readers.shared.layout import split_names

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
VOID = 255
_PATHS = re.compile(
    r"(?:JPEGImages|images|Annotations)/(?P<image>[^/]+?)(?:\.\w{3,4})?(?:\s+(?:\./)?Annotations/(?P<xml>[^/]+)\.xml)?",
    re.IGNORECASE,
)


def read_split(
    path: Path, where: str, problems: Problems, known: Callable[[str], bool] = lambda name: False
) -> tuple[str, ...]:
    """Image ids of a split file, one a line; blank lines are skipped. Of `JPEGImages/a.jpg Annotations/a.xml`, as
    PaddlePaddle lists them, and of one of the two the id is `a`.

    Args:
        known: whether there is an image of a name: then spaces belong to it.

    Problems found: an id that is no plain name, an id twice.

    Raises:
        DataError: the file is missing, empty, or lists nothing.
    """
    ids: dict[str, None] = {}
    problems_before = len(problems.messages)
    for position, line in enumerate(read_text(path, where).splitlines(), start=1):
        if not (image_id := line.strip()):
            continue
        place = f"{path}: line {position}"
        with problems.collect():
            image_id = plain_name(_without_folders(image_id), place)
            if len(parts := image_id.split()) > 1 and not known(image_id):
                of_class = "; a list of one class (1, 0 or -1 behind each id) names no split"
                hint = of_class if parts[1] in ("-1", "0", "1") else ""
                raise DataError(f"{place}: expected one image id, got {image_id!r}{hint}")
            if image_id in ids:
                raise DataError(f"{place}: duplicate image id {image_id!r}")
            ids[image_id] = None
    if not ids and len(problems.messages) == problems_before:
        raise DataError(f"{path}: {where} is empty: expected image ids, one a line")
    return tuple(ids)


def _without_folders(line: str) -> str:
    """The id of a line that is the path of an image, of its XML, or both in the devkit's folders; else the line."""
    path = line.replace("\\", "/").removeprefix("./")
    if (found := _PATHS.fullmatch(path)) is None or found["xml"] not in (None, found["image"]):
        return line
    return found["image"]


def parse_annotation(root: Element, where: str) -> tuple[tuple[int, int] | None, tuple[DeclaredObject, ...]]:
    """Size (height, width), None where the tool wrote none or 0 x 0, and objects of a VOC annotation.

    Raises:
        DataError: a class is missing, or a field holds something else than it should. What is wrong with a box is
            its object's `fault`.
    """
    objects: list[DeclaredObject] = []
    difficult: list[DeclaredObject] = []
    for position, item in enumerate(root.findall("object"), start=1):
        place = f"{where}: object {position}"
        name = (item.findtext("name") or "").strip()
        if not name:
            raise DataError(f"{place}: field 'name': expected a class, got nothing")
        declared = _declared(class_name(name, f"{place}: field 'name'"), item, place)
        is_difficult = flag(item.findtext("difficult"), f"{place}: field 'difficult'")
        (difficult if is_difficult else objects).append(declared)
    return _size(root, where), tuple(objects or difficult)


def _size(root: Element, where: str) -> tuple[int, int] | None:
    texts = [(root.findtext(f"size/{side}") or "").strip() for side in ("height", "width")]
    if not any(texts):
        return None
    height, width = (
        finite_number(t, f"{where}: field 'size/{s}'")
        for t, s in zip(texts, ("height", "width"), strict=True)
    )
    if height == 0 and width == 0:
        return None
    if height < 1 or width < 1 or height % 1 or width % 1:
        raise DataError(
            f"{where}: field 'size': expected whole pixels of at least 1, got {width:g} x {height:g}"
        )
    return int(height), int(width)


def _declared(name: str, item: Element, where: str) -> DeclaredObject:
    """An object whose box goes from 1-based inclusive corners to 0-based xyxy with exclusive ends."""
    place = f"{where}: field 'bndbox' ({name})"
    if item.find("bndbox") is None:
        return DeclaredObject(name, None, place)
    try:
        x1, y1, x2, y2 = (
            number((item.findtext(f"bndbox/{side}") or "").strip() or None, f"{where}: field 'bndbox/{side}'")
            for side in ("xmin", "ymin", "xmax", "ymax")
        )
    except DataError as error:
        return DeclaredObject(name, None, place, str(error))
    return DeclaredObject(name, (x1 - 1, y1 - 1, x2, y2), place)


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


def devkit(root: Path) -> Path:
    """The devkit at or below a root: itself, or the only one among VOC*/ and VOCdevkit/VOC*/; else the root."""
    if (root / "ImageSets").is_dir():
        return root
    below = _devkits_below(root)
    return below[0] if len(below) == 1 else root


def _devkits_below(root: Path) -> list[Path]:
    years = sorted(path for pattern in ("VOC*", "VOCdevkit/VOC*") for path in root.glob(pattern))
    return [path for path in years if (path / "ImageSets").is_dir()]


def missing_list(root: Path, split: str, path: Path) -> str:
    """What to say where a split has no list: which lists there are."""
    places = [root / "ImageSets" / task for task in ("Segmentation", "Main", "")]
    lists = {one.stem for place in places for one in place.glob("*.txt") if "_" not in one.stem}
    hint = (
        f"; lists there: {', '.join(sorted(lists))}; data.train_split and data.val_split name them"
        if lists
        else ""
    )
    return f"split {split!r}: the file {path} is missing{hint}"


def look(root: Path, given: Given) -> str | None:
    """What says that a root is a devkit, or a folder of VOC's XML files.

    Raises:
        DataError: there are several devkits below the root.
    """
    found = devkit(root)
    if found == root and len(several := _devkits_below(root)) > 1:
        years = ", ".join(str(one.relative_to(root)) for one in several)
        raise DataError(f"{root}: expected one VOC devkit, got {years}: give one of them")
    if not (found / "ImageSets").is_dir() or not (found / "Annotations").is_dir():
        names = [name for split in given.names.values() for name in split_names(split)]
        there = [name for name in (*names, "Annotations", ".") if _has_annotations(root / name)]
        return f"{there[0]}/*.xml" if there else None
    return "ImageSets/, Annotations/" if found == root else str(found.relative_to(root))


def _has_annotations(folder: Path) -> bool:
    named = names_by_stem(folder, (".xml",))
    return any(_may_be(folder / name) for names in named.values() for name in names)


def _may_be(path: Path) -> bool:
    """Whether an XML file may be of VOC: Label Studio's interface, which lies beside tasks, is none."""
    if not path.is_file():
        return True  # whoever opens it says what it is
    with path.open("rb") as stream:
        return not stream.read(100).lstrip().startswith(b"<View")


def annotation_root(data: bytes, where: str) -> Element:
    """The root of an annotation, its tags in small letters and without namespaces.

    Raises:
        DataError: malformed XML, a DOCTYPE, or another root than VOC's, in which no object would be found.
    """
    root = parse_xml(data, where)
    for one in root.iter():
        one.tag = one.tag.rpartition("}")[2].casefold()
    if root.tag != "annotation":
        other = "; of CVAT export COCO or Pascal VOC" if root.tag == "annotations" else ""
        raise DataError(f"{where}: expected <annotation> as VOC writes it, got <{root.tag:.80}>{other}")
    return root


def names_by_stem(folder: Path, endings: Collection[str]) -> dict[str, list[str]]:
    """Name without ending -> files of these endings in a folder, in any case; hidden ones left out.

    Raises:
        DataError: the folder may not be looked into.
    """
    found: dict[str, list[str]] = {}
    try:
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be read: {error.strerror}") from error
    for name in names:
        stem, ending = os.path.splitext(name)
        if ending.lower() in endings and not name.startswith("."):
            found.setdefault(stem, []).append(name)
    return found


def xml_ids(folder: Path, problems: Problems) -> tuple[str, ...]:
    """Ids of the XML files in a folder, in the order of the names; none where there is no such folder."""
    ids = []
    for stem in names_by_stem(folder, (".xml",)):
        with problems.collect():
            ids.append(plain_name(stem, f"{str(folder)!a}: name of an XML file"))
    return tuple(ids)


def check_mask_size(plane: NDArray[np.uint8], entry: Entry, path: Path) -> None:
    """DataError if a plane uint8 [H, W] of masks has not the image's size."""
    if plane.shape != entry.size:
        raise DataError(size_message(str(path), plane.shape, entry))


def size_message(where: str, got: tuple[int, ...], entry: Entry) -> str:
    """What is wrong with masks of another size."""
    return (
        f"{where}: expected a mask of the image's size {entry.size[1]} x {entry.size[0]} (width x height), "
        f"got {got[1]} x {got[0]} (image {entry.declared.image_id})"
    )
