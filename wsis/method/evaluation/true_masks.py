"""The true instances of an image as masks, and their company. For measuring only.

Suffixes: G true instances, H W image.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from wsis.method.evaluation.instances import GroundTruth
from wsis.method.masks import rle

_NEAR = 2  # rows or columns from one mask to another, at most, where they touch
_VOID_BAND = 3  # times as far where no pixel between them has a label: VOC leaves 5 between objects


@dataclass(frozen=True)
class TrueMasks:
    """The true instances of one image, decoded once.

    Attributes:
        truth: as stored.
    """

    truth: GroundTruth

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        """bool [G, H, W], without void."""
        masks = rle.decode_many(list(self.truth.counts), self.truth.size)
        return masks if self.void is None else masks & ~self.void

    @cached_property
    def void(self) -> NDArray[np.bool_] | None:
        """bool [H, W], or None."""
        return None if self.truth.void is None else rle.decode(self.truth.void, self.truth.size)

    @property
    def labels(self) -> NDArray[np.integer]:
        """int [G], classes 1..C."""
        return self.truth.labels

    @cached_property
    def areas(self) -> NDArray[np.float64]:
        """Share of the image, float64 [G] in [0, 1]."""
        height, width = self.truth.size
        return self.masks.sum(axis=(1, 2)) / (height * width)

    @cached_property
    def alone(self) -> NDArray[np.bool_]:
        """Whether an instance is the only one of its class in the image, bool [G]."""
        return (self.labels[:, None] == self.labels[None, :]).sum(axis=1) == 1

    @cached_property
    def touching(self) -> NDArray[np.bool_]:
        """Whether an instance lies within two pixels of another of its class, void between them hardly counting,
        bool [G]."""
        return touching_masks(self.masks, self.labels, self.void)


def touching_masks(
    masks: NDArray[np.bool_], labels: NDArray[np.integer], void: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Which masks come within two pixels (rows or columns) of another of their class, bool [G].

    Where pixels without a label lie between two of them, six: the masks of VOC end before the border of their object.

    Args: masks bool [G, H, W]; labels int [G]; void bool [H, W] or None.
    """
    touching = np.zeros(len(masks), bool)
    for label in np.unique(labels).tolist():
        rows = np.flatnonzero(labels == label)
        for row in rows.tolist() if len(rows) > 1 else ():
            if (place := _window(masks[row], _NEAR * _VOID_BAND)) is None:
                continue
            grown = _grown(masks[row][place], None if void is None else void[place])
            others = rows[rows != row]
            touching[row] = bool((masks[(others, *place)] & grown).any())
    return touching


def _window(mask: NDArray[np.bool_], margin: int) -> tuple[slice, slice] | None:
    """Rows and columns of a mask [H, W] with some around it; None of an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
    )


def _grown(mask: NDArray[np.bool_], void: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    square = np.ones((2 * _NEAR + 1, 2 * _NEAR + 1), np.uint8)

    def dilated(one: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return cv2.dilate(one.astype(np.uint8), square).astype(np.bool_)

    grown = dilated(mask)
    if void is not None and (void & grown).any():
        through = grown & void
        for _ in range(_VOID_BAND - 1):
            through = dilated(through)
            grown |= through
            through &= void
    return grown
