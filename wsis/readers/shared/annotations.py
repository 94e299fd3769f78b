"""From what a format declares of an image to labels and boxes: checks and the choice of a subset.

Nothing here touches a file, so that every rule of the readers is one small function. Suffix: N objects.
"""

from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from math import copysign
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from wsis.readers.shared.records import Role

BOX_TOLERANCE = 1.0  # pixels that a box may reach over the image's edge: rounding of annotation tools


class UnsoundBoxError(DataError):
    """Four numbers that are no box of the image: inverted, without area, outside or not finite."""


@dataclass(frozen=True, slots=True)
class DeclaredObject:
    """An object as the annotation declares it: class name and box xyxy, x2 y2 exclusive, still unchecked.

    `box` is None where the annotation gives none, or none that can be read (`fault` says why), which image-level
    supervision allows.
    """

    name: str
    box: tuple[float, float, float, float] | None
    where: str
    fault: str | None = None


class ObjectsOnDemand(Sequence[DeclaredObject]):
    """Objects of an image that are made when they are asked for. Names can be had without them."""

    __slots__ = ()

    @abstractmethod
    def names(self) -> set[str]:
        """Names of their classes."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What the annotations say of one image.

    Attributes:
        location: path of the image file, inside the data root; as text, which takes a quarter of a `Path`'s memory.
        file_name: the same relative to the root.
        size: (height, width) that the annotation claims, None if it claims none.
        where: the annotation file, for messages.
        digest: sha256 of the annotation.
        unsure: crowds alone are annotated: they give no label, but the image is no negative either.
    """

    image_id: str
    role: Role
    location: str
    file_name: str
    size: tuple[int, int] | None
    objects: Sequence[DeclaredObject]
    where: str
    digest: str
    unsure: bool = False

    @property
    def path(self) -> Path:
        """The image file."""
        return Path(self.location)

    @property
    def names(self) -> set[str]:
        """Names of the objects' classes."""
        own = self.objects
        return own.names() if isinstance(own, ObjectsOnDemand) else {item.name for item in own}


def checked_box(declared: DeclaredObject, size: tuple[int, int], image_id: str) -> NDArray[np.float32]:
    """The object's box, float32 [4], clipped to the image where it reaches over the edge by a pixel at most.

    Raises:
        UnsoundBoxError: inverted, without area, further outside, or not finite.
        DataError: absent, or no four numbers.
    """
    if declared.fault is not None:
        raise DataError(declared.fault)
    if declared.box is None:
        raise DataError(
            f"{declared.where}: expected a box because data.supervision is 'box', got none (image {image_id})"
        )
    x1, y1, x2, y2 = declared.box
    height, width = size
    shown = f"[{x1:g}, {y1:g}, {x2:g}, {y2:g}] (x1, y1, x2, y2 exclusive; image {image_id})"
    if not np.isfinite(declared.box).all():
        raise UnsoundBoxError(f"{declared.where}: expected a box of finite numbers, got {shown}")
    if x2 <= x1 or y2 <= y1:
        raise UnsoundBoxError(f"{declared.where}: expected a box with x1 < x2 and y1 < y2, got {shown}")
    over = max(-x1, -y1, x2 - width, y2 - height)
    if over > BOX_TOLERANCE:
        raise UnsoundBoxError(
            f"{declared.where}: expected a box inside the image of {width} x {height} pixels, got {shown}: "
            f"{over:g} pixels outside"
        )
    box = clipped_box(declared.box, size)
    if box is None:
        raise UnsoundBoxError(
            f"{declared.where}: expected a box that covers pixels of the image, got {shown}"
        )
    return box


def clipped_box(box: tuple[float, float, float, float], size: tuple[int, int]) -> NDArray[np.float32] | None:
    """The part of a box xyxy inside an image of size (H, W), float32 [4]; None where there is none."""
    if not np.isfinite(box).all():
        return None
    height, width = size
    clipped = np.clip(box, 0, [width, height, width, height]).astype(np.float32)
    return clipped if clipped[2] > clipped[0] and clipped[3] > clipped[1] else None


@dataclass(frozen=True)
class FittedBoxes:
    """Boxes of an image's objects that can be used, float32 [N, 4], the names of their classes; what was said of
    others."""

    boxes: NDArray[np.float32]
    names: tuple[str, ...]
    clipped: tuple[str, ...]
    dropped: tuple[str, ...]


def fit_boxes(
    objects: Sequence[DeclaredObject], size: tuple[int, int], image_id: str, required: bool, strict: bool
) -> FittedBoxes:
    """Boxes as they are where they are sound, else their part inside the image of size (H, W), else none.

    Args:
        required: whether each object must have a box.
        strict: whether each box must be sound.

    Raises:
        DataError: a box is absent, unreadable or unsound and must not be.
    """
    if (sound := _all_sound(objects, size)) is not None:
        return FittedBoxes(sound, tuple(item.name for item in objects), (), ())
    boxes: list[NDArray[np.float32]] = []
    names, clipped, dropped = list[str](), list[str](), list[str]()
    for item in objects:
        if item.box is None and not (required or (strict and item.fault is not None)):
            continue
        try:
            box: NDArray[np.float32] | None = checked_box(item, size, image_id)
        except UnsoundBoxError as error:
            if strict or item.box is None:
                raise
            box = clipped_box(item.box, size)
            (dropped if box is None else clipped).append(str(error))
        if box is not None:
            boxes.append(box)
            names.append(item.name)
    return FittedBoxes(
        np.array(boxes, np.float32).reshape(-1, 4), tuple(names), tuple(clipped), tuple(dropped)
    )


def _all_sound(objects: Sequence[DeclaredObject], size: tuple[int, int]) -> NDArray[np.float32] | None:
    """All boxes at once, float32 [N, 4], as `checked_box` gives each; None where one of them needs a look."""
    boxes = [item.box for item in objects if item.box is not None]
    if not boxes or len(boxes) < len(objects):
        return None
    if all(map(partial(_within, size), boxes)):
        plain = np.array(boxes, np.float32)
        return plain if (plain[:, 2:] > plain[:, :2]).all() else None
    found = np.array(boxes, np.float64)
    limits = np.array([size[1], size[0], size[1], size[0]], np.float64)
    inside = (found[:, :2] >= -BOX_TOLERANCE).all() and (found[:, 2:] <= limits[2:] + BOX_TOLERANCE).all()
    clipped = np.clip(found, 0, limits).astype(np.float32)
    if inside and (found[:, 2:] > found[:, :2]).all() and (clipped[:, 2:] > clipped[:, :2]).all():
        return clipped
    return None


def _within(size: tuple[int, int], box: tuple[float, float, float, float]) -> bool:
    """Whether clipping a box to an image of size (H, W) leaves it as it is, to the sign of a zero."""
    x1, y1, x2, y2 = box
    begins = (x1 or copysign(1.0, x1)) > 0 and (y1 or copysign(1.0, y1)) > 0
    return begins and x1 < x2 <= size[1] and y1 < y2 <= size[0]


def pick_spread(labels: Sequence[Collection[str]], limit: int) -> list[int]:
    """Positions of `limit` items spread evenly over a list, such that every class stays if that is possible.

    Item floor((2 i + 1) n / (2 limit)) is taken for i = 0 .. limit-1. Then, class by class in alphabetical
    order, a class that fell out brings in its middle item in exchange for the nearest taken one
    whose classes all have another item.

    Args:
        labels: class names of each item.
        limit: how many to take; all if there are fewer.

    Returns:
        Ascending positions.
    """
    n = len(labels)
    if limit >= n:
        return list(range(n))
    taken = {(2 * i + 1) * n // (2 * limit) for i in range(limit)}
    for name in sorted({c for classes in labels for c in classes}):
        holders = [i for i in range(n) if name in labels[i]]
        if taken.intersection(holders):
            continue
        newcomer = holders[len(holders) // 2]
        spare = [i for i in taken if all(_count(labels, taken, c) > 1 for c in labels[i])]
        if spare:
            taken.remove(min(spare, key=lambda i: (abs(i - newcomer), i)))
            taken.add(newcomer)
    return sorted(taken)


def _count(labels: Sequence[Collection[str]], taken: Collection[int], name: str) -> int:
    return sum(name in labels[i] for i in taken)


def role_limit(role: Role, limit: int) -> int:
    """Images of one part under `data.limit`: all of it for train, a quarter but at least 8 for val."""
    return limit if role == "train" else max(8, limit // 4)
