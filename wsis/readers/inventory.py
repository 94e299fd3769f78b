"""What a data set holds, image by image, whatever is wrong with some of it: for `wsis check`.

Suffixes: M annotated classes, N boxes.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsis.readers.files.folder_files import Problems, sha256
from wsis.readers.files.images import decode_again
from wsis.readers.shared.records import ROLES, DatasetSource, Role, Track, untracked

TINY = 16  # side of the grey copy by which pictures that look alike are found
_FLAT = 3.0  # grey levels of spread: below, a picture has nothing to tell it from others
_ALIKE = 6.0  # mean difference in grey levels of two copies of one picture, saved differently or resized


@dataclass(frozen=True, eq=False)
class InventoryImage:
    """One image that can be read.

    Attributes:
        pixels: Pillow's mode of the file, such as RGB, L, I;16.
        labels: int32 [M], 1..C. boxes: float32 [N, 4], xyxy. box_labels: int32 [N].
        tiny: uint8 [TINY, TINY], grey.
        has_masks: whether its instances have masks.
    """

    image_id: str
    part: Role
    file_name: str
    height: int
    width: int
    labels: NDArray[np.int32]
    boxes: NDArray[np.float32]
    box_labels: NDArray[np.int32]
    file_bytes: int
    sha256: str
    pixels: str
    tiny: NDArray[np.uint8]
    has_masks: bool

    @property
    def boxes_tell(self) -> bool:
        """Whether every annotated class has a box: then the number of objects is known."""
        return bool(len(self.labels)) and set(self.labels.tolist()) <= set(self.box_labels.tolist())


@dataclass(frozen=True)
class Inventory:
    """What a data set holds.

    Attributes:
        images: those that can be read.
        problems: all that keeps a run from starting or from being measured, a line each.
        notes: what the reader decided where the data left it open, a line each.
        clipped, dropped: boxes of train that reach outside of their image, and that have no area.
        empty: instances whose mask covers no pixel.
    """

    classes: tuple[str, ...]
    images: tuple[InventoryImage, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()
    clipped: int = 0
    dropped: int = 0
    empty: int = 0

    def of(self, part: Role) -> list[InventoryImage]:
        return [one for one in self.images if one.part == part]


def take_inventory(source: DatasetSource, track: Track = untracked) -> Inventory:
    """Read annotations, images and masks of a data set as the stages will; nothing stops at the first fault.

    Raises:
        DataError: nothing of it can be read.
    """
    problems = Problems()
    problems.messages = list(source.tolerate())
    masked = {image_id for part in ROLES for image_id in source.truth_ids(part)}
    pairs: list[tuple[Role, str]] = [(part, i) for part in ROLES for i in source.image_ids(part)]
    images: list[InventoryImage] = []
    empty = 0
    for part, image_id in track(pairs, len(pairs)):
        with problems.collect():
            images.append(_look_at(source, part, image_id, image_id in masked))
            if image_id in masked:
                empty += source.truth_of(image_id).empty
    changes = source.box_changes("train")
    return Inventory(
        classes=source.classes,
        images=tuple(images),
        problems=tuple(problems.messages),
        notes=source.notes(),
        clipped=len(changes.clipped),
        dropped=len(changes.dropped),
        empty=empty,
    )


def _look_at(source: DatasetSource, part: Role, image_id: str, has_masks: bool) -> InventoryImage:
    record = source.image(image_id)
    with Image.open(io.BytesIO(record.encoded)) as image:
        pixels = image.mode
    return InventoryImage(
        image_id=image_id,
        part=part,
        file_name=record.file_name,
        height=record.height,
        width=record.width,
        labels=record.labels,
        boxes=record.boxes,
        box_labels=record.box_labels,
        file_bytes=len(record.encoded),
        sha256=sha256(record.encoded),
        pixels=pixels,
        tiny=_tiny(record.encoded, record.file_name),
        has_masks=has_masks,
    )


def _tiny(data: bytes, where: str) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(decode_again(data, where), cv2.COLOR_BGR2GRAY)
    return cv2.resize(grey, (TINY, TINY), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


# -- the same picture twice -----------------------------------------------------------------------------------
def same_bytes(images: Sequence[InventoryImage]) -> list[list[InventoryImage]]:
    """Groups of images whose files are equal to the byte, in order."""
    groups: dict[str, list[InventoryImage]] = {}
    for one in images:
        groups.setdefault(one.sha256, []).append(one)
    return [group for group in groups.values() if len(group) > 1]


def alike(images: Sequence[InventoryImage]) -> list[list[InventoryImage]]:
    """Groups of images that look alike though their bytes differ: saved again, or at another size.

    Their difference hashes (8 x 8 signs of horizontal change) are equal, and their small copies nearly so; a picture
    without contrast is like no other.
    """
    groups: dict[bytes, list[InventoryImage]] = {}
    for one in images:
        if one.tiny.std() >= _FLAT:
            groups.setdefault(_difference_hash(one.tiny), []).append(one)
    found = [list(_near_first(group)) for group in groups.values()]
    return [group for group in found if len({one.sha256 for one in group}) > 1]


def _difference_hash(tiny: NDArray[np.uint8]) -> bytes:
    small = cv2.resize(tiny, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes()


def _near_first(group: Sequence[InventoryImage]) -> Iterator[InventoryImage]:
    first = group[0].tiny.astype(np.int16)
    return (one for one in group if np.abs(one.tiny.astype(np.int16) - first).mean() <= _ALIKE)
