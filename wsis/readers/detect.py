"""Which format a data root has, by what lies in it (`data.format: auto`)."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_contracts.errors import DataError
from data_contracts.printable import counted
from wsis.readers.files.image_files import files_below
from wsis.readers.files.json_files import annotation_files, refuse_broken
from wsis.readers.formats import FORMATS, LAST
from wsis.readers.shared.format import Given
from wsis.readers.shared.layout import annotation_file
from wsis.readers.shared.names import images_among, images_below, is_left_behind
from wsis.readers.shared.splits import known_splits

_ANNOTATES = (".json", ".txt", ".xml")


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
        _refuse_unread(root, found["folders"])
    if found:
        return Found(*next(iter(found.items())))
    files = annotation_files(root, ".json", known_splits(given.names))
    refuse_broken(files, f"{root}: expected labels of a known kind")
    layouts = ", ".join(row.layout for row in FORMATS.values())
    raise DataError(
        f"{root}: expected labels of a known kind, got {counted(len(images_below(root)), 'image')} and none of: "
        f"{layouts}; data.format and data.train_annotations or data.labels_file name yours"
    )


def _refuse_unread(root: Path, folders: str) -> None:
    """Names of folders are no classes where most images have a file of their own that may annotate them, as
    Supervisely and KITTI write: the names would be learned in silence.

    Raises:
        DataError: so it is.
    """
    names = list(files_below(root))
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
