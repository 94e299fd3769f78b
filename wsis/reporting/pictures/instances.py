"""The instances of one image, whoever says them, over one pool of masks: equal masks are stored and measured once.

One matrix of overlaps gives what a picture needs: which instances of several sets are one thing and share a colour.

Suffixes: M masks of the pool, n instances of a set, h w size of the pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wsis.method.masks import rle

SAME_IOU = 0.3
"""Least IoU of two instances of a class, in two sets, that are drawn as the same thing."""

Pairs = list[tuple[int, int, float]]


@dataclass
class MaskPool:
    """Distinct masks of one image.

    Attributes:
        size: (h, w) of all of them.
        void: pixels that measure nothing, bool [h, w], or None.
        counts: COCO run lengths of each.
    """

    size: tuple[int, int]
    void: NDArray[np.bool_] | None = None
    counts: list[bytes] = field(default_factory=list)
    _ids: dict[bytes, int] = field(default_factory=dict)
    _packed: list[NDArray[np.uint8]] = field(default_factory=list)

    def add(self, masks: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Numbers of masks bool [n, h, w] in the pool, int64 [n]; those it has keep theirs."""
        found = []
        for counts, mask in zip(rle.encode_many(masks), masks, strict=True):
            if counts not in self._ids:
                self._ids[counts] = len(self.counts)
                self.counts.append(counts)
                self._packed.append(np.packbits(mask))
                self.__dict__.pop("overlaps", None)
            found.append(self._ids[counts])
        return np.array(found, np.int64)

    def masks(self, ids: NDArray[np.integer]) -> NDArray[np.bool_]:
        """The masks of some numbers, bool [n, h, w]."""
        pixels = self.size[0] * self.size[1]
        rows = [np.unpackbits(self._packed[i], count=pixels).reshape(self.size) for i in ids.tolist()]
        return np.array(rows, dtype=bool).reshape(-1, *self.size)

    @cached_property
    def overlaps(self) -> "Overlaps":
        """Of every mask of the pool with every other."""
        masks = self.masks(np.arange(len(self.counts)))
        if self.void is not None:
            masks = masks & ~self.void
        flat = masks.reshape(len(masks), -1).astype(np.float32)
        common = (flat @ flat.T).astype(np.float64)
        areas = np.diagonal(common)
        union = areas[:, None] + areas[None, :] - common
        return Overlaps(_share(common, union), _share(common, areas[:, None]))


@dataclass(frozen=True)
class Overlaps:
    """Attributes: iou, float64 [M, M]; inside, float64 [M, M], the share of mask a that lies in mask b."""

    iou: NDArray[np.float64]
    inside: NDArray[np.float64]


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    whole = np.broadcast_to(whole, part.shape)
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


@dataclass(frozen=True, eq=False)
class InstanceSet:
    """What one source says of an image. Two that say the same are still two.

    Attributes:
        masks: int64 [n], numbers in the pool. labels: int [n], classes 1..C.
        scores: float [n], of the source's own scale; None: it gives none.
    """

    masks: NDArray[np.int64]
    labels: NDArray[np.integer]
    scores: NDArray[np.floating] | None = None

    def __len__(self) -> int:
        return len(self.masks)


def matches(iou: NDArray[np.float64], least: float) -> Pairs:
    """One-to-one pairs (row, column, IoU), best first, of IoU `least` and more; iou: [a, b], equal ones in order."""
    pairs: Pairs = []
    rows, columns = set(), set()
    for place in np.argsort(-iou, axis=None, kind="stable").tolist():
        row, column = divmod(place, iou.shape[1])
        if iou[row, column] < least:
            break
        if row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
            pairs.append((row, column, float(iou[row, column])))
    return pairs


def iou_of_sets(pool: MaskPool, one: InstanceSet, other: InstanceSet) -> NDArray[np.float64]:
    """IoU of each pair of instances, float64 [n, n']; 0 where their classes differ."""
    same = one.labels[:, None] == other.labels[None, :]
    return np.where(same, pool.overlaps.iou[np.ix_(one.masks, other.masks)], 0.0)


def tracks(pool: MaskPool, sets: Sequence[InstanceSet]) -> list[NDArray[np.int64]]:
    """Which thing each instance is, int64 [n] a set: one number for a thing through all sets, from 0 as they come.

    Each set is matched one-to-one with the things before it, best IoU first (with any mask that a thing had); an
    instance without IoU `SAME_IOU` with a thing of its class is a new one.
    """
    label_of: list[int] = []
    masks_of: list[set[int]] = []
    numbers = []
    for one in sets:
        iou = np.zeros((len(one), len(label_of)))
        for number, (label, masks) in enumerate(zip(label_of, masks_of, strict=True)):
            rows = np.flatnonzero(one.labels == label)
            if len(rows):
                iou[rows, number] = pool.overlaps.iou[np.ix_(one.masks[rows], np.array(sorted(masks)))].max(
                    axis=1
                )
        found = np.full(len(one), -1, np.int64)
        for row, number, _ in matches(iou, SAME_IOU):
            found[row] = number
            masks_of[number].add(int(one.masks[row]))
        for row in np.flatnonzero(found < 0).tolist():
            found[row] = len(label_of)
            label_of.append(int(one.labels[row]))
            masks_of.append({int(one.masks[row])})
        numbers.append(found)
    return numbers
