"""Masks of training images from files of their own: COCO instances, as `wsis export` and annotation tools write them.

All images that a file lists count, those without an annotation too: nothing is there. An image of a later file
replaces that of an earlier one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_contracts.errors import DataError
from wsis.method.masks import rle
from wsis.method.masks.given_masks import GivenMasks
from wsis.readers.files.digests import named_content
from wsis.readers.files.folder_files import Problems
from wsis.readers.formats.coco_file import CocoFile, read_coco
from wsis.readers.formats.coco_format import CocoImage
from wsis.readers.formats.coco_masks import segmentation_mask
from wsis.readers.proposal_results import Target, TargetNames
from wsis.readers.shared.class_names import UnknownClasses

_SETTING = "data.masks"


@dataclass(frozen=True)
class GivenFiles:
    """What the files hold.

    Attributes:
        masks: image id -> its instances.
        unknown: file names of images that are no training images of the data set.
    """

    masks: Mapping[str, GivenMasks]
    unknown: Sequence[str]


def digest(files: Sequence[Path]) -> str:
    """sha256 of the files' contents in their order.

    Raises:
        DataError: one is missing, unreadable or empty.
    """
    whole = hashlib.sha256()
    for path in files:
        whole.update(named_content("", path.expanduser(), _SETTING))
    return whole.hexdigest()


def read_given(
    files: Sequence[Path], targets: Sequence[Target], classes: Sequence[str], where: str = _SETTING
) -> GivenFiles:
    """Read the files.

    Args:
        targets: the training images.
        classes: names of the classes 1..C.
        where: what names the files, for messages.

    Raises:
        DataError: listing what is wrong: no COCO instances, an unknown class, a mask of another size than its image, a
            name that fits several images; none of a file's images is a training image.
    """
    names, problems = TargetNames(targets), Problems()
    masks: dict[str, GivenMasks] = {}
    unknown, strangers = list[str](), UnknownClasses(classes)
    for path in files:
        file = read_coco(path.expanduser(), where, problems)
        others: list[str] = []
        for image in file.images:
            with problems.collect():
                target, name = names.find({"file_name": image.file_name}, image.where)
                if target is None:
                    others.append(name)
                else:
                    masks[target.image_id] = _masks_of(file, image, target, classes, strangers, problems)
        if len(others) == len(file.images):
            problems.add(
                f"{path}: expected training images that show a class, got {len(others)} others: {', '.join(others[:3])}"
            )
        unknown += others
    for line in strangers.lines():
        problems.add(line)
    problems.raise_if_any(where)
    return GivenFiles(masks, unknown)


def _masks_of(
    file: CocoFile,
    image: CocoImage,
    target: Target,
    classes: Sequence[str],
    unknown: UnknownClasses,
    problems: Problems,
) -> GivenMasks:
    """The instances of one image; crowds and masks without a pixel are left out, as are names that are no class.

    Raises:
        DataError: the image is of another size.
    """
    if image.size is not None and image.size != target.size:
        raise DataError(
            f"{image.where} ({image.file_name}): expected height and width {target.size} of the image, got {image.size}"
        )
    labels: list[int] = []
    masks: list[bytes] = []
    for one in file.of(image.number):
        if one.crowd:
            continue
        if one.category not in classes:
            unknown.add(one.category, target.image_id, one.where)
            continue
        with problems.collect():
            mask = segmentation_mask(one.fields(), target.size, one.where)
            if mask.any():
                labels.append(classes.index(one.category) + 1)
                masks.append(rle.encode(mask))
    return GivenMasks(np.array(labels, np.int32), tuple(masks), target.size)
