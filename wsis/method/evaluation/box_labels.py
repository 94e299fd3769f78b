"""Pseudo labels against the boxes that they were to explain. Reads no masks: boxes are labels.

Suffixes: B boxes of an image, D labels of a sample, G as B, P proposals, S superpixels.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from wsis.method.conditional.label_sets import SampleSet
from wsis.method.evaluation.true_masks import touching_masks
from wsis.method.masks.boxes import box_iou
from wsis.method.masks.proposal_set import ProposalSet
from wsis.method.masks.superpixels import mask_integrals

FITTING_IOU = 0.8
"""A proposal fits a box from this IoU of their boxes on."""


class BoxLabels(NamedTuple):
    """Means over the K samples of an image, each float64 [B].

    Attributes:
        labelled: share of the samples in which the box has a label.
        outside: share of its label's pixels that lie outside of it, NaN where it never has one.
        overlap: IoU of the box with its label's box, 0 in samples without.
    """

    labelled: NDArray[np.float64]
    outside: NDArray[np.float64]
    overlap: NDArray[np.float64]


def box_masks(boxes: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose centres lie in each box xyxy [B, 4], bool [B, H, W]."""
    rows, columns = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    inside_y = (rows >= boxes[:, 1, None]) & (rows < boxes[:, 3, None])
    inside_x = (columns >= boxes[:, 0, None]) & (columns < boxes[:, 2, None])
    return inside_y[:, :, None] & inside_x[:, None, :]


def box_places(
    boxes: NDArray[np.floating], labels: NDArray[np.integer], size: tuple[int, int]
) -> dict[str, NDArray[np.generic]]:
    """Class, size (share of the image) and company of each box [B], as true instances have theirs."""
    masks = box_masks(boxes, size)
    return {
        "label": labels,
        "area": masks.mean(axis=(1, 2)),
        "alone": (labels[:, None] == labels[None, :]).sum(axis=1) == 1,
        "touching": touching_masks(masks, labels),
    }


def fitted(boxes: NDArray[np.floating], proposal_boxes: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Boxes [B, 4] that some proposal's box [P, 4] fits, bool [B]."""
    return box_iou(proposal_boxes, boxes).max(axis=0, initial=0.0) >= FITTING_IOU


def labels_of_boxes(
    proposals: ProposalSet, samples: SampleSet, boxes: NDArray[np.floating], classes: NDArray[np.integer]
) -> BoxLabels:
    """Which label stands for which box in each sample, and how well it keeps to it.

    A sample does not say for which box a label stands: those of a class are given to its boxes one to one, so that the
    sum of their boxes' IoUs is largest. A box without a label, or whose label's box does not meet it, has none.

    Args: boxes float [B, 4] xyxy; classes int [B], 1..C.
    """
    ids = np.unique(samples.proposal_ids)
    overlaps = box_iou(proposals.boxes[ids], boxes)
    masks = box_masks(boxes, proposals.image_size)
    pixels, inside = mask_integrals(proposals.superpixels, masks, None, proposals.membership.shape[1])
    members = proposals.membership[ids].astype(np.float64)
    kept = (members @ inside.T) / np.maximum(members @ pixels, 1)[:, None]
    labelled, outside, overlap = np.zeros((3, len(boxes)))
    for sample, share in enumerate(samples.shares):
        own, labels, _ = samples.unique(sample)
        for box, row in _paired(np.searchsorted(ids, own), labels, overlaps, classes):
            labelled[box] += share
            outside[box] += share * (1 - kept[row, box])
            overlap[box] += share * overlaps[row, box]
    mean = np.divide(outside, labelled, out=np.full(len(boxes), np.nan), where=labelled > 0)
    return BoxLabels(labelled, mean, overlap)


def _paired(
    rows: NDArray[np.integer],
    labels: NDArray[np.integer],
    overlaps: NDArray[np.float64],
    classes: NDArray[np.integer],
) -> list[tuple[int, int]]:
    """Pairs of a box and its label's row in `overlaps` [U, B]; rows, labels [D] of one sample, classes [B]."""
    pairs = []
    for label in np.unique(classes).tolist():
        own, targets = rows[labels == label], np.flatnonzero(classes == label)
        for row, column in zip(
            *linear_sum_assignment(overlaps[own[:, None], targets[None, :]], maximize=True), strict=True
        ):
            if overlaps[own[row], targets[column]] > 0:
                pairs.append((int(targets[column]), int(own[row])))
    return pairs
