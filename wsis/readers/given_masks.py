"""Masks of training images from files of their own, as `wsis export` and annotation tools write them.

All images that a file lists count, those without an annotation too: nothing is there. An image of a later file
replaces that of an earlier one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_contracts.errors import DataError
from data_contracts.paths import user_path
from data_contracts.printable import counted
from wsis.method.masks import rle
from wsis.method.masks.given_masks import GivenMasks
from wsis.readers.files.digests import named_content
from wsis.readers.files.folder_files import Problems
from wsis.readers.given_formats import SETTING, GivenImage, find_place, read_place
from wsis.readers.mask_targets import Target, TargetNames
from wsis.readers.shared.class_names import UnknownClasses


@dataclass(frozen=True)
class GivenFiles:
    """What the files hold.

    Attributes:
        masks: image id -> its instances.
        unknown: file names of images that are no training images of the data set.
        notes: what the readers decided where the files left it open, a line each.
    """

    masks: Mapping[str, GivenMasks]
    unknown: Sequence[str]
    notes: Sequence[str] = ()


def digest(files: Sequence[Path]) -> str:
    """sha256 of the contents of files, or of folders and what lies in them, in their order.

    Raises:
        DataError: one is missing, unreadable, empty or of no known kind.
    """
    whole = hashlib.sha256()
    for path in files:
        place = find_place(user_path(path, SETTING))
        for name in place.contents:
            shown = "" if place.named and name in place.files else name
            whole.update(_content(shown, place.root / name))
    return whole.hexdigest()


def _content(name: str, path: Path) -> bytes:
    """What stands for a file; that of an image without labels may be empty."""
    if name.endswith(".txt") and path.stat().st_size == 0:
        return f"{name}\0".encode() + hashlib.sha256().digest()
    return named_content(name, path, SETTING)


def read_given(
    files: Sequence[Path], targets: Sequence[Target], classes: Sequence[str], where: str = SETTING
) -> GivenFiles:
    """Read files and folders, see `wsis.readers.given_formats`.

    Args:
        targets: the training images.
        classes: names of the classes 1..C.
        where: what names the files, for messages.

    Raises:
        DataError: listing what is wrong: no masks of a known format, an unknown class, a mask of another size than its
            image, an object without mask, a name that fits several images; none of a file's images is a training image.
    """
    names, problems = TargetNames(targets), Problems()
    sizes = {target.file_name: target.size for target in targets}
    masks: dict[str, GivenMasks] = {}
    unknown, notes, strangers = list[str](), list[str](), UnknownClasses(classes)
    for path in files:
        others: list[str] = []
        listed, empty, place = 0, 0, find_place(user_path(path, where), where)
        with problems.collect():
            for image in read_place(place, sizes, classes, problems, notes.append, where):
                listed += 1
                with problems.collect():
                    target, name = names.find({"file_name": image.file_name}, image.where)
                    if target is None:
                        others.append(name)
                    else:
                        own = _masks_of(image, target, classes, strangers, problems)
                        masks[target.image_id] = own
                        empty += sum(one.name in classes for one in image.objects) - len(own.labels)
        if empty:
            notes.append(f"{path}: left out: {counted(empty, 'mask')} without a pixel")
        if listed and len(others) == listed:
            got = "another" if listed == 1 else f"{listed} others"
            problems.add(
                f"{path}: expected training images that show a class, got {got}: {', '.join(others[:3])}"
            )
        unknown += others
    for line in strangers.lines():
        problems.add(line)
    problems.raise_if_any(where)
    return GivenFiles(masks, unknown, notes)


def _masks_of(
    image: GivenImage,
    target: Target,
    classes: Sequence[str],
    unknown: UnknownClasses,
    problems: Problems,
) -> GivenMasks:
    """The instances of one image; masks without a pixel are left out, as are names that are no class.

    Raises:
        DataError: the image is of another size.
    """
    if image.size is not None and image.size != target.size:
        raise DataError(
            f"{image.where}: expected height and width {target.size} of the image, got {image.size}"
        )
    labels: list[int] = []
    masks: list[bytes] = []
    for one in image.objects:
        if one.name not in classes:
            unknown.add(one.name, target.image_id, one.where)
            continue
        with problems.collect():
            mask = one.mask(target.size)
            if mask.any():
                labels.append(classes.index(one.name) + 1)
                masks.append(rle.encode(mask))
    return GivenMasks(np.array(labels, np.int32), tuple(masks), target.size)
