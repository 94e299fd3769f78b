"""Masks as the places where they change: cutting to another size and writing without a dense mask.

A mask is ``flips`` int64 [2 R], strictly ascending: going through its pixels column by column (as COCO's run
lengths do), at flips[0] the first run of foreground begins, at flips[1] it has ended, and so on. What is done
to a mask then costs its boundary and not its area. Suffixes: H W one size, h w another, R runs.
"""

import numpy as np
import pycocotools.mask as coco_mask
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.masks.rle import Size
from wsis.method.masks.superpixels import nearest_indices

Flips = NDArray[np.int64]


def flips_of_runs(runs: NDArray[np.int64], size: Size) -> Flips:
    """Flips of COCO's run lengths (column by column, background first; runs of length 0 are allowed).

    Raises:
        InputError: a negative run, or runs that do not cover H x W pixels.
    """
    height, width = size
    total = int(runs.sum())
    if not len(runs) or int(runs.min()) < 0 or total != height * width:
        shortest = int(runs.min()) if len(runs) else None
        raise InputError(
            f"counts: expected runs that cover {height} x {width} = {height * width} pixels, "
            f"got {total} pixels, shortest run {shortest}"
        )
    return _without_empty_runs(np.cumsum(runs)[: len(runs) // 2 * 2])


def flips_of_mask(mask: NDArray[np.bool_]) -> Flips:
    """Flips of a dense mask bool [H, W]."""
    padded = np.zeros(mask.size + 2, np.bool_)
    padded[1:-1] = mask.T.ravel()
    return np.flatnonzero(padded[1:] != padded[:-1])


def runs_of(flips: Flips, size: Size) -> NDArray[np.int64]:
    """COCO's run lengths int64 of a mask of ``size``: the inverse of :func:`flips_of_runs`."""
    runs = np.diff(flips, prepend=0, append=size[0] * size[1])
    return runs[:-1] if len(runs) > 1 and runs[-1] == 0 else runs


def compress(flips: Flips, size: Size) -> bytes:
    """COCO's compressed counts of a mask of ``size``, equal to :func:`wsis.method.masks.rle.encode` of it."""
    height, width = size
    runs = {"size": [height, width], "counts": runs_of(flips, size)}
    return bytes(coco_mask.frPyObjects(runs, height, width)["counts"])


def inside(flips: Flips, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the pixels at ``places`` (row + column * H) belong to the mask, bool of the same shape."""
    return np.searchsorted(flips, places, side="right") % 2 == 1


class Shrink:
    """Masks [H, W] at a size [h, w] not above theirs, by the rule of `superpixels.resize_nearest`.

    A mask that was enlarged from [h, w] by that rule comes back as it was.
    """

    def __init__(self, size: Size, target: Size) -> None:
        if target[0] > size[0] or target[1] > size[1]:
            raise InputError(f"target: expected at most the masks' size {size}, got {target}")
        rows, columns = nearest_indices(target[0], size[0]), nearest_indices(target[1], size[1])
        self._same = size == target
        self._height, self._target_height = size[0], target[0]
        self._rows_before = np.searchsorted(rows, np.arange(size[0]))
        self._columns_before = np.searchsorted(columns, np.arange(size[1] + 1))
        self._column_kept = np.diff(self._columns_before, append=self._columns_before[-1]) > 0

    def __call__(self, flips: Flips) -> Flips:
        """Flips of the mask at the target size. May be empty: a mask can lie between the pixels that are kept."""
        if self._same:
            return flips
        column, row = np.divmod(flips, self._height)
        rows = np.where(self._column_kept[column], self._rows_before[row], 0)
        return _without_empty_runs(self._columns_before[column] * self._target_height + rows)


class Enlarge:
    """Unions of superpixels at the image's size, by the rule of :func:`wsis.method.masks.superpixels.proposal_masks`.

    Args: superpixels [h, w], ids 0..S-1; size (H, W).
    """

    def __init__(self, superpixels: NDArray[np.integer], size: Size) -> None:
        height, width = superpixels.shape
        outside = int(superpixels.max()) + 1
        by_column = np.full((width, height + 2), outside, np.int64)
        by_column[:, 1:-1] = superpixels.T
        before, after = by_column[:, :-1], by_column[:, 1:]
        column, row = np.nonzero(before != after)  # a mask changes nowhere else within a column
        self._before, self._after, self._column = before[column, row], after[column, row], column
        self._row = np.searchsorted(nearest_indices(size[0], height), row)
        self._columns = nearest_indices(size[1], width)
        self._height, self._width = size[0], width

    def __call__(self, members: NDArray[np.bool_]) -> Flips:
        """Flips at (H, W) of the union of the superpixels of members bool [S]."""
        members = np.append(members, False)
        changes = np.flatnonzero(members[self._before] != members[self._after])
        counts = np.bincount(self._column[changes], minlength=self._width)
        first = np.cumsum(counts) - counts
        repeats = counts[self._columns]
        # the changes of working column c, once for every column of the image that takes its pixels from c
        start = np.repeat(first[self._columns] - (np.cumsum(repeats) - repeats), repeats)
        rows = self._row[changes[start + np.arange(len(start))]]
        return _without_empty_runs(np.repeat(np.arange(len(repeats)) * self._height, repeats) + rows)


def _without_empty_runs(places: NDArray[np.int64]) -> Flips:
    """Two flips at one place are none. Args: places ascending."""
    places, counts = np.unique(places, return_counts=True)
    return places[counts % 2 == 1]
