"""Instances of one image as the evaluation sees them: run lengths, classes, scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.masks.rle import Size


@dataclass(frozen=True)
class Detections:
    """Scored instances of one image.

    Attributes:
        size: (H, W) of the image.
        counts: N COCO RLE byte strings of that size.
        labels: int [N], classes 1..C.
        scores: float [N], any monotone scale that is comparable across images.
    """

    size: Size
    counts: Sequence[bytes]
    labels: NDArray[np.integer]
    scores: NDArray[np.floating]

    def __post_init__(self) -> None:
        _check_lengths("detections", len(self.counts), labels=self.labels, scores=self.scores)
        if not np.isfinite(self.scores).all():
            raise InputError(f"detections: expected finite scores, got {self.scores}")

    def of_class(self, label: int) -> "Detections":
        """The detections of one class, in the order they stand."""
        keep = np.flatnonzero(self.labels == label)
        return Detections(
            self.size, [self.counts[i] for i in keep.tolist()], self.labels[keep], self.scores[keep]
        )

    def between(self, start: int, stop: int) -> "Detections":
        """The detections at positions start..stop-1."""
        part = slice(int(start), int(stop))
        return Detections(self.size, list(self.counts[part]), self.labels[part], self.scores[part])


@dataclass(frozen=True)
class GroundTruth:
    """True instances of one image.

    Attributes:
        size: (H, W) of the image.
        counts: G COCO RLE byte strings of that size.
        labels: int [G], classes 1..C.
        crowd: bool [G] or None; a crowd region stands for many instances: it is never missed, and a
            detection that lies in it counts neither as right nor as wrong.
        void: RLE of the pixels without a label (255 in VOC), or None.
    """

    size: Size
    counts: Sequence[bytes]
    labels: NDArray[np.integer]
    crowd: NDArray[np.bool_] | None = field(default=None)
    void: bytes | None = field(default=None)

    def __post_init__(self) -> None:
        _check_lengths("ground truth", len(self.counts), labels=self.labels)
        if self.crowd is not None:
            _check_lengths("ground truth", len(self.counts), crowd=self.crowd)

    @classmethod
    def from_record(cls, record: Mapping[str, np.ndarray]) -> Self:
        """The true instances of a stored record (`data_contracts.schemas.GROUND_TRUTH`; other fields are ignored)."""
        data, offsets = record["mask_bytes"].tobytes(), record["mask_offsets"].tolist()
        counts = [data[start:stop] for start, stop in pairwise(offsets)]
        height, width = record["size"].tolist()
        return cls((height, width), counts, record["labels"], void=record["void"].tobytes() or None)

    def of_class(self, label: int) -> "GroundTruth":
        """The instances of one class, in the order they stand, with the image's void."""
        keep = np.flatnonzero(self.labels == label)
        crowd = None if self.crowd is None else self.crowd[keep]
        return GroundTruth(
            self.size, [self.counts[i] for i in keep.tolist()], self.labels[keep], crowd, self.void
        )


def _check_lengths(what: str, count: int, **arrays: NDArray[np.generic]) -> None:
    for name, array in arrays.items():
        if array.shape != (count,):
            raise InputError(f"{what}: expected {name} [{count}] beside {count} masks, got {array.shape}")
    labels = arrays.get("labels")
    if labels is not None and count and labels.min() < 1:
        raise InputError(f"{what}: expected labels of 1 and more (0 is background), got {labels.min()}")
