"""What a reader gives: one `ImageRecord` an image, one `TruthRecord` an image for evaluation alone.

Suffixes: M annotated classes, N instances, C classes, H W image.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from data_contracts.schemas import text_to_array
from wsis.method.masks import rle

Role = Literal["train", "val"]
Track = Callable[[Iterable[Any], int], Iterable[Any]]  # items and their number -> the items, progress shown
ROLES: tuple[Role, ...] = ("train", "val")


def untracked(items: Iterable[Any], total: int) -> Iterable[Any]:
    """The items, no progress shown."""
    return items


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """An image and its weak labels.

    | field      | type           | meaning                                                              |
    | ---------- | -------------- | -------------------------------------------------------------------- |
    | image_id   | str            | unique in the whole data set                                         |
    | split      | str            | the part it plays: train or val                                      |
    | file_name  | str            | path below the data root                                             |
    | encoded    | bytes          | the image file as the user gave it; of 16 bits: as 8-bit PNG         |
    | height     | int            | pixels, after EXIF rotation                                          |
    | width      | int            | pixels, after EXIF rotation                                          |
    | labels     | int32 [M]      | classes annotated in the image, 1..C, sorted; none: a negative       |
    | boxes      | float32 [N, 4] | xyxy pixels, x2 y2 exclusive, inside the image                       |
    | box_labels | int32 [N]      | class of each box, 1..C                                              |
    """

    image_id: str
    split: str
    file_name: str
    encoded: bytes
    height: int
    width: int
    labels: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    boxes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    box_labels: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))

    def to_record(self) -> dict[str, np.ndarray]:
        """The arrays of a stored record, see `data_contracts.schemas.DATASET`: no boxes."""
        return {
            "split": text_to_array(self.split),
            "file_name": text_to_array(self.file_name),
            "encoded": np.frombuffer(self.encoded, dtype=np.uint8),
            "size": np.array([self.height, self.width], dtype=np.int32),
            "labels": self.labels,
        }


@dataclass(frozen=True, eq=False)
class TruthRecord:
    """The instances of an image. For evaluation alone: no training stage may read one.

    | field    | type           | meaning                                              |
    | -------- | -------------- | ---------------------------------------------------- |
    | image_id | str            | as in `ImageRecord`                                  |
    | split    | str            | train or val                                         |
    | height   | int            | pixels                                               |
    | width    | int            | pixels                                               |
    | masks    | tuple of bytes | N masks, COCO compressed run lengths                 |
    | labels   | int32 [N]      | class of each instance, 1..C                         |
    | boxes    | float32 [N, 4] | tight boxes of the masks, xyxy, x2 y2 exclusive      |
    | void     | bytes          | run lengths of the pixels without label, maybe none  |
    | empty    | int            | instances without a pixel, left out; not stored      |
    """

    image_id: str
    split: str
    height: int
    width: int
    masks: tuple[bytes, ...]
    labels: NDArray[np.int32]
    boxes: NDArray[np.float32]
    void: bytes = b""
    empty: int = 0

    @classmethod
    def of(
        cls,
        image_id: str,
        split: str,
        masks: Sequence[bytes],
        labels: Sequence[int] | NDArray[np.int32],
        void: NDArray[np.bool_],
        empty: int = 0,
    ) -> "TruthRecord":
        """From masks, compressed, of the size of void, bool [H, W]; with their boxes."""
        height, width = void.shape
        return cls(
            image_id=image_id,
            split=split,
            height=height,
            width=width,
            masks=tuple(masks),
            labels=np.asarray(labels, dtype=np.int32),
            boxes=rle.bboxes(masks, (height, width)),
            void=rle.encode(void),
            empty=empty,
        )

    def to_record(self) -> dict[str, np.ndarray]:
        """The arrays of a stored record, see `data_contracts.schemas.GROUND_TRUTH`."""
        return {
            "split": text_to_array(self.split),
            "size": np.array([self.height, self.width], dtype=np.int32),
            "labels": self.labels,
            "boxes": self.boxes,
            "mask_offsets": np.cumsum([0, *map(len, self.masks)]).astype(np.int64),
            "mask_bytes": np.frombuffer(b"".join(self.masks), dtype=np.uint8),
            "void": np.frombuffer(self.void, dtype=np.uint8),
        }


@dataclass(frozen=True)
class Outline:
    """What is known of an image before it is read: `size` (H, W) as annotated, `file_bytes` on disk."""

    image_id: str
    role: Role
    file_name: str
    size: tuple[int, int]
    file_bytes: int


@dataclass(frozen=True)
class BoxChanges:
    """What was said of each box that was clipped to its image, and of each that was dropped: no area was left."""

    clipped: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


class DatasetSource(Protocol):
    """A data set with a train part, a val part, or both. Every method may raise DataError."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; the class of index j is number j + 1."""
        ...

    def digest(self) -> str:
        """sha256 over all images: ids, annotations, image bytes; not where the root lies."""
        ...

    def truth_digest(self, roles: Sequence[Role] = ROLES) -> str:
        """sha256 over the masks of all images of these parts (evaluation only)."""
        ...

    def validate(self, track: Track = untracked) -> None:
        """Read and check every image and its annotations; one DataError lists all that is wrong."""
        ...

    def notes(self) -> tuple[str, ...]:
        """What the reader decided where the data left it open, a line each."""
        ...

    def source_categories(self) -> Mapping[Role, Mapping[str, int | str]]:
        """Part -> class name -> the id that its annotations give the class; empty where they give none."""
        ...

    def source_ids(self) -> Mapping[str, int | str]:
        """Image id -> the id that the annotations themselves give the image; empty where they give none."""
        ...

    def tolerate(self) -> tuple[str, ...]:
        """From now on give the images that can be read, whatever is wrong with others; all that is wrong with the
        annotations, a line each."""
        ...

    def image_ids(self, split: Role) -> tuple[str, ...]:
        """Ids of one part, in order; empty if the source has no such part."""
        ...

    def outlines(self) -> Iterator[Outline]:
        """All images in order, none of them read."""
        ...

    def labels_of(self, image_id: str) -> NDArray[np.int32]:
        """`ImageRecord.labels` of one image; its file is not decoded. KeyError if the id is not in the data set."""
        ...

    def image(self, image_id: str) -> ImageRecord:
        """One image. KeyError if the id is not in the data set."""
        ...

    def box_changes(self, split: Role) -> BoxChanges:
        """Boxes of one part that are not as they were annotated."""
        ...

    def truth_ids(self, split: Role) -> tuple[str, ...]:
        """Ids of the images of one part that have masks; none where the part has no masks (evaluation only)."""
        ...

    def truth_of(self, image_id: str) -> TruthRecord:
        """Instances of one image (evaluation only)."""
        ...
