"""Which proposals of an image can be an annotated object (paper 6.2): by seeds, or by boxes.

Legend: H W original image, h w working size, P proposals, S superpixels, N seeds or boxes.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.masks.boxes import box_iou
from wsis.masks.superpixels import nearest_indices, resize_nearest


@dataclass(frozen=True)
class Filtered:
    """What a filter leaves.

    kept int64 [P'], ascending rows that stay, never empty; matches bool [P', N], whether a kept proposal
    belongs to a seed or box; fallback bool [N], seeds or boxes that no proposal met (see the filter);
    kept_all: the filter had nothing to go by and left every proposal.
    """

    kept: NDArray[np.int64]
    matches: NDArray[np.bool_]
    fallback: NDArray[np.bool_]
    kept_all: bool


def superpixels_at(
    superpixels: NDArray[np.int32], points: NDArray[np.integer], size: tuple[int, int]
) -> NDArray[np.int64]:
    """Superpixel under each point [N, 2] (row, column in original pixels of an image of ``size``), [N]."""
    if points.ndim != 2 or points.shape[1] != 2 or points.dtype.kind not in "iu":
        raise InputError(f"points: expected integers [N, 2] (row, column), got {points.dtype} {points.shape}")
    outside = (points < 0).any(axis=1) | (points[:, 0] >= size[0]) | (points[:, 1] >= size[1])
    if outside.any():
        raise InputError(f"points: expected (row, column) inside {size}, got {points[outside][0].tolist()}")
    rows = nearest_indices(size[0], superpixels.shape[0])[points[:, 0]]
    columns = nearest_indices(size[1], superpixels.shape[1])[points[:, 1]]
    return superpixels[rows, columns].astype(np.int64)


def touched_superpixels(
    superpixels: NDArray[np.int32], masks: NDArray[np.bool_], size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Superpixels with at least one original pixel in each seed mask, bool [N, S].

    Args: masks bool [N, h2, w2] on any grid over the whole image (nearest neighbour, as everywhere).
    """
    if masks.ndim != 3 or masks.dtype != np.bool_:
        raise InputError(f"seed masks: expected bool [N, h, w], got {masks.dtype} {masks.shape}")
    labels = resize_nearest(superpixels, size)
    touched = np.zeros((len(masks), int(superpixels.max()) + 1), np.bool_)
    for row, mask in zip(touched, masks, strict=True):
        row[labels[resize_nearest(mask, size)]] = True
    return touched


def filter_by_seeds(membership: NDArray[np.bool_], touched: NDArray[np.bool_]) -> Filtered:
    """Proposals that overlap a seed by at least one pixel.

    Without any such proposal (no seed, or seeds outside all proposals) every proposal stays and ``kept_all``
    says so.

    Args: membership bool [P, S]; touched bool [N, S] of :func:`touched_superpixels`, or one-hot rows of
    :func:`superpixels_at`.
    """
    if membership.ndim != 2 or touched.ndim != 2 or membership.shape[1] != touched.shape[1]:
        raise InputError(f"touched: expected [N, {membership.shape[1:]}], got {touched.shape}")
    common = membership.astype(np.float32) @ touched.T.astype(np.float32)  # counts below 2^24: exact
    return _filtered(common > 0)


def filter_by_boxes(
    proposal_boxes: NDArray[np.floating], boxes: NDArray[np.floating], threshold: float = 0.5
) -> Filtered:
    """Proposals whose box has IoU >= ``threshold`` with an annotated box; a box that keeps none gets its best.

    Such a box is marked in ``fallback``; it has its best proposal (the first of equals) whatever their IoU.
    Without boxes every proposal stays and ``kept_all`` says so.

    Args: proposal_boxes [P, 4], boxes [N, 4], both xyxy in original pixels; threshold in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise InputError(f"threshold: expected an IoU in (0, 1], got {threshold}")
    iou = box_iou(proposal_boxes, boxes)
    matches = iou >= threshold
    alone = np.logical_not(matches.any(axis=0))
    matches[iou.argmax(axis=0)[alone], np.flatnonzero(alone)] = True
    filtered = _filtered(matches)
    return replace(filtered, fallback=alone)


def _filtered(matches: NDArray[np.bool_]) -> Filtered:
    stays = matches.any(axis=1)
    kept_all = not bool(stays.any())
    kept = np.arange(len(matches)) if kept_all else np.flatnonzero(stays)
    return Filtered(kept, matches[kept], np.logical_not(matches.any(axis=0)), kept_all)
