"""Which proposals of an image take part: those that the weak annotation speaks of (paper 6.2).

Suffix legend: P proposals, S superpixels, N seeds, A annotated boxes, h w working size.
"""

import numpy as np

from wsis.errors import InputError
from wsis.method.masks.boxes import box_iou
from wsis.method.masks.superpixels import resize_nearest


def seed_superpixels(
    superpixels: np.ndarray,
    peaks: np.ndarray,
    peak_response_maps: np.ndarray,
    image_size: tuple[int, int],
    num_superpixels: int,
    threshold: float = 0.3,
) -> np.ndarray:
    """Superpixels that hold at least one pixel of a seed, bool [S].

    A seed is where its peak response map reaches `threshold` times its maximum, and the peak's own pixel.

    Args:
        superpixels: int [h, w].
        peaks: int [N, 3], class, row, column in original pixels.
        peak_response_maps: uint8 [N, h1, w1], maximum 255.
        image_size: (H, W) of the original image.
        num_superpixels: S.
        threshold: share of the maximum.
    """
    hit = np.zeros(num_superpixels, dtype=bool)
    if len(peaks) == 0:
        return hit
    height, width = superpixels.shape
    response = resize_nearest(peak_response_maps.max(0), (height, width))
    hit[superpixels[response >= max(1.0, threshold * 255)]] = True
    rows = (peaks[:, 1].astype(np.int64) * 2 + 1) * height // (2 * image_size[0])
    columns = (peaks[:, 2].astype(np.int64) * 2 + 1) * width // (2 * image_size[1])
    hit[superpixels[rows, columns]] = True
    return hit


def overlapping_rows(membership: np.ndarray, hit: np.ndarray, limit: int) -> np.ndarray:
    """First `limit` proposals with at least one pixel of a seed; all are eligible where none has one.

    Args:
        membership: bool [P, S], best proposal first.
        hit: bool [S] of `seed_superpixels`.
        limit: most proposals to keep.

    Returns:
        int64 [n], ascending.

    >>> membership = np.array([[1, 1, 0], [0, 0, 1], [0, 1, 0]], bool)
    >>> overlapping_rows(membership, np.array([False, True, False]), limit=300)
    array([0, 2])
    >>> overlapping_rows(membership, np.zeros(3, bool), limit=2)
    array([0, 1])
    """
    kept = np.flatnonzero((membership & hit).any(1))
    return (kept if len(kept) else np.arange(len(membership)))[:limit]


def boxed_rows(proposal_boxes: np.ndarray, boxes: np.ndarray, threshold: float, limit: int) -> np.ndarray:
    """Proposals whose box has IoU >= threshold with an annotated box; every box keeps a best proposal of its own.

    Over the limit, every box keeps its best-ranked candidates in turn.

    Args:
        proposal_boxes: float [P, 4] xyxy, best proposal first.
        boxes: float [A, 4] xyxy.
        threshold: least box IoU.
        limit: most proposals to keep (at least one a box is kept, if there are so many).

    Returns:
        int64 [n], ascending; empty where there is no proposal.

    Raises:
        InputError: no box.
    """
    if len(boxes) == 0:
        raise InputError("boxes: expected at least one annotated box, got none")
    if len(proposal_boxes) == 0:
        return np.zeros(0, dtype=np.int64)
    overlap = box_iou(proposal_boxes, boxes)
    fits = overlap >= threshold
    best = _a_best_one_each(overlap)
    fits[best, np.arange(len(boxes))] = True
    rank = np.where(
        fits, np.cumsum(fits, axis=0) - 1, len(proposal_boxes)
    )  # place among each box's candidates
    rank[best, np.arange(len(boxes))] = -1
    first = rank.min(1)
    order = np.argsort(first, kind="stable")
    limit = max(limit, len(np.unique(best)))
    return np.sort(order[: min(limit, int(fits.any(1).sum()))])


def _a_best_one_each(overlap: np.ndarray) -> np.ndarray:
    """The best proposal of each box that no box before it has, int64 [A]; where none is left, its best."""
    found: list[int] = []
    for column in overlap.T:
        left = column.copy()
        if len(found) < len(left):
            left[found] = -1.0
        found.append(int(left.argmax()))
    return np.array(found, np.int64)
