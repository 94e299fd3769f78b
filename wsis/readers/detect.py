"""Which format a data root has, by what lies in it (`data.format: auto`)."""

import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from data_contracts.errors import DataError
from data_contracts.printable import counted, first_few
from wsis.readers.files.image_files import files_below
from wsis.readers.files.images import FORMATS as IMAGES
from wsis.readers.files.json_files import annotation_files, refuse_broken
from wsis.readers.formats import FORMATS, LAST
from wsis.readers.shared.format import Given
from wsis.readers.shared.layout import annotation_file
from wsis.readers.shared.names import images_among, is_left_behind
from wsis.readers.shared.splits import known_splits

_ANNOTATES = (".json", ".txt", ".xml")
_MAY_LABEL = (
    *_ANNOTATES,
    ".jsonl",
    ".csv",
    ".tsv",
    ".xlsx",
    ".parquet",
    ".mat",
    ".npy",
    ".npz",
    ".h5",
    ".tfrecord",
)
_OF_MASKS = ("1", "L", "P", "I", "I;16")  # Pillow's modes of pixels that are no colours
_LOOKED_AT = 5  # pairs of images
_BEHIND = re.compile("[_-](mask|masks|gt|label|labels|seg|segmentation|instances)$")


@dataclass(frozen=True)
class Found:
    """A format, and what lies in the root that says it."""

    format: str
    what: str


def find_format(root: Path, given: Given) -> Found:
    """The format of a data root.

    Raises:
        DataError: no format fits, or several do; says what lies there and which keys decide, or which file is broken.
    """
    if given.table:
        return Found("csv", "data.labels_file")
    if "train" in given.annotations:
        return Found("coco", ", ".join(given.annotations.values()))
    found: dict[str, str] = {}
    for name in (*(name for name in FORMATS if name not in LAST), *LAST):
        if name in LAST and _has_boxes(found, root, given):
            continue  # beside boxes, folders of images may have any names
        if (what := FORMATS[name].look(root, given)) is not None:
            found[name] = what
    if "val" in given.annotations and not _has_boxes(found, root, given):
        found.pop("coco", None)  # a file that lies about is that of val's masks
    if len(found) > 1:
        shown = ", ".join(f"{name} ({what})" for name, what in found.items())
        of_val = "coco" in found and _train_file(root, given) is None
        masks = f"; where it is masks of val: --set data.val_annotations={found['coco']}" if of_val else ""
        raise DataError(
            f"{root}: expected one kind of labels, got {shown}; --set data.format={'|'.join(found)} decides{masks}"
        )
    if not found or "folders" in found:
        _refuse_wrapped(root, given)
    if list(found) == ["folders"] and not given.annotations:
        names = list(files_below(root))
        _refuse_unread(root, names, found["folders"])
        _refuse_masks(root, images_among(names), found["folders"], known_splits(given.names))
    if found:
        return Found(*next(iter(found.items())))
    raise _nothing_known(root, given)


def _nothing_known(root: Path, given: Given) -> DataError:
    """What to say of a root without labels of a known kind: what lies there, and which kinds there are.

    Raises:
        DataError: a file that may hold labels is broken.
    """
    files = annotation_files(root, ".json", known_splits(given.names))
    refuse_broken(files, f"{root}: expected labels of a known kind")
    layouts = ", ".join(row.layout for row in FORMATS.values())
    names = list(files_below(root))
    images = images_among(names)
    others = sorted(one for one in names if one.lower().endswith(_MAY_LABEL) and not is_left_behind(one))
    beside = f", {counted(len(others), 'other file')} ({first_few(others, 3)})" if others else ""
    return DataError(
        f"{root}: expected labels of a known kind, got {counted(len(images), 'image')}{beside} and none "
        f"of: {layouts}; data.format and data.train_annotations or data.labels_file name yours"
        f"{_if_a_class(root, images) if not others else ''}"
    )


def _if_a_class(root: Path, images: Sequence[str]) -> str:
    """What to do where all images lie in the root itself: it may be the folder of one class."""
    alone = images and not any("/" in one for one in images)
    return (
        f"; if {root.name} is one of your classes, give the folder above it: {root.parent}" if alone else ""
    )


def _refuse_unread(root: Path, names: Sequence[str], folders: str) -> None:
    """Names of folders are no classes where most images have a file of their own that may annotate them, as
    Supervisely and KITTI write: the names would be learned in silence.

    Raises:
        DataError: so it is.
    """
    texts = [one for one in names if one.lower().endswith(_ANNOTATES)]
    of_image = {PurePosixPath(one).stem: one for one in sorted(texts, reverse=True)}
    images = [PurePosixPath(one) for one in images_among(names)]
    own = [one for path in images if (one := of_image.get(path.name) or of_image.get(path.stem))]
    if 2 * len(own) > len(images):
        raise DataError(
            f"{root}: expected labels of a known kind, got a file for each of {counted(len(own), 'image')} that no "
            f"format here reads, {own[0]}; write them as COCO, or --set data.format=folders takes folders as classes: "
            f"{folders}"
        )


def _refuse_masks(root: Path, images: Sequence[str], folders: str, splits: Collection[str]) -> None:
    """Names of folders are no classes where one holds masks of the other's photographs, as in PNGImages/, PedMasks/ and
    images/training/, annotations/training/: same names and sizes, and no colours.

    Raises:
        DataError: so it is.
    """
    groups: dict[str, dict[str, str]] = {}
    for path in images:
        below = [part for part in PurePosixPath(path).parts[:-1] if part.casefold() not in splits]
        if below:
            stem = _BEHIND.sub("", PurePosixPath(path).stem.casefold())
            groups.setdefault(below[0], {})[stem] = path
    for masks, of_masks in groups.items():
        for photographs, of_photographs in groups.items():
            both = sorted(of_masks.keys() & of_photographs.keys()) if masks != photographs else []
            if 2 * len(both) <= len(of_masks):
                continue
            some = [(root / of_masks[one], root / of_photographs[one]) for one in both[:_LOOKED_AT]]
            if all(_is_mask_of(mask, photograph) for mask, photograph in some):
                raise DataError(
                    f"{root}: expected labels of a known kind, got what seems to be masks of the images of "
                    f"{photographs}/ in {masks}/ ({of_masks[both[0]]}); instance masks lie in images/ and masks/, "
                    f"of the same names; --set data.format=folders takes folders as classes: {folders}"
                )


def _is_mask_of(mask: Path, photograph: Path) -> bool:
    """Whether of two images of one size the first alone has no colours."""
    if not (mask.is_file() and photograph.is_file()):
        return False
    try:
        with Image.open(mask, formats=IMAGES) as first, Image.open(photograph, formats=IMAGES) as second:
            return first.size == second.size and first.mode in _OF_MASKS and second.mode not in _OF_MASKS
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False  # whoever decodes it says what is wrong


def _refuse_wrapped(root: Path, given: Given) -> None:
    """Name the folder that is meant, where nothing but one folder lies in the root and the labels lie there: an archive
    was unpacked into a folder of its name.

    Raises:
        DataError: so it is.
    """
    inner = [one for one in sorted(root.iterdir()) if not is_left_behind(one.name)]
    splits = known_splits(given.names)
    if len(inner) != 1 or not os.path.isdir(inner[0]) or inner[0].name.casefold() in splits:
        return
    top = inner[0]
    for name, row in FORMATS.items():
        what = row.look(top, given)
        if what and (name != "folders" or any(one.name.casefold() in splits for one in top.iterdir())):
            raise DataError(
                f"{root}: expected labels of a known kind, got nothing but the folder {top.name}/, where {name} lies "
                f"({what}): give {top}"
            )


def _has_boxes(found: Iterable[str], root: Path, given: Given) -> bool:
    """Whether one of these formats has boxes of train; of COCO the place of its file must say so."""
    return any(FORMATS[name].boxes and (name != "coco" or _train_file(root, given)) for name in found)


def _train_file(root: Path, given: Given) -> str | None:
    return annotation_file(root, "train", given.names["train"]) if "train" in given.names else None
