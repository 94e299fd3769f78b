"""What the pipeline makes, as detections: network outputs, labelled proposals, pseudo-label samples.

Suffixes: N detections, P proposals, S superpixels, U unique samples, M labelled proposals of all samples, K
samples, G ground-truth instances, H W image, h w working size.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.evaluation.instances import Detections, GroundTruth
from wsis.method.masks import rle
from wsis.method.masks.paste import paste_to_rle
from wsis.method.masks.superpixels import iou_with_masks, proposal_masks

Size = tuple[int, int]
_CHUNK = 32  # dense masks held at once


class LabelledProposals(NamedTuple):
    """Proposals of one image with classes: proposal_ids int32 [N], labels int32 [N] (1..C), scores [N]."""

    proposal_ids: NDArray[np.int32]
    labels: NDArray[np.int32]
    scores: NDArray[np.float64]


def stored_truth(record: Mapping[str, np.ndarray]) -> GroundTruth:
    """The true instances of one stored record: size int [2], labels int [G], mask_offsets int [G+1] into the run
    lengths mask_bytes uint8, void uint8 (run lengths; empty: no void)."""
    data, offsets = record["mask_bytes"].tobytes(), record["mask_offsets"].tolist()
    counts = [data[start:stop] for start, stop in pairwise(offsets)]
    height, width = record["size"].tolist()
    return GroundTruth((height, width), counts, record["labels"], void=record["void"].tobytes() or None)


def network_detections(
    masks: NDArray[np.uint8],
    boxes: NDArray[np.floating],
    labels: NDArray[np.integer],
    scores: NDArray[np.floating],
    size: Size,
) -> Detections:
    """Detections of the prediction network: masks uint8 [N, 28, 28] pasted into boxes [N, 4] xyxy pixels."""
    return Detections(size, paste_to_rle(masks, boxes, size), labels, scores)


def proposal_detections(
    superpixels: NDArray[np.integer],
    membership: NDArray[np.bool_],
    labelled: LabelledProposals,
    size: Size,
) -> Detections:
    """Detections from labelled proposals. superpixels int [h, w]; membership bool [P, S].

    Raises InputError for a proposal id outside 0..P-1.
    """
    ids = labelled.proposal_ids
    if len(ids) and (ids.min() < 0 or ids.max() >= len(membership)):
        raise InputError(f"proposal_ids: expected 0..{len(membership) - 1}, got {ids.min()}..{ids.max()}")
    counts: list[bytes] = []
    for start in range(0, len(ids), _CHUNK):
        rows = membership[ids[start : start + _CHUNK]]
        counts += rle.encode_many(proposal_masks(superpixels, rows, size))
    return Detections(size, counts, labelled.labels, labelled.scores)


def pseudo_label_marginals(
    multiplicities: NDArray[np.integer],
    offsets: NDArray[np.integer],
    proposal_ids: NDArray[np.integer],
    classes: NDArray[np.integer],
    scores: NDArray[np.floating],
) -> LabelledProposals:
    """Each (proposal, class) that some sample contains, scored by the share of the K samples with it.

    The conditional distribution's marginal is what its samples say about an instance, so it ranks first.
    Among equal shares (there are only K of them) the mean score margin m over the samples with it decides,
    squashed monotonically into (0, 1):

        score = (count + (1 + m / (1 + |m|)) / 2) / (K + 1),   in (1 / (K + 1), 1).

    Args: the fields of one pseudo-label record: multiplicities [U], offsets [U+1], and [M] each.
    Returns proposals in ascending (proposal, class) order.
    """
    if len(offsets) != len(multiplicities) + 1 or offsets[-1] != len(proposal_ids):
        raise InputError(
            f"offsets: expected {len(multiplicities) + 1} entries that end at {len(proposal_ids)}, "
            f"got {offsets}"
        )
    if (multiplicities < 1).any():
        raise InputError(f"multiplicities: expected at least 1 each, got {multiplicities}")
    sample = np.repeat(np.arange(len(multiplicities)), np.diff(offsets))
    keys = np.stack([sample, proposal_ids, classes], axis=1)
    # Two boxes may choose one proposal: within a sample it counts once.
    once, first = np.unique(keys, axis=0, return_index=True)
    pairs, inverse = np.unique(once[:, 1:], axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    weights = multiplicities[once[:, 0]].astype(np.float64)
    count = np.bincount(inverse, weights=weights, minlength=len(pairs))
    total = np.bincount(inverse, weights=weights * scores[first], minlength=len(pairs))
    margin = total / count  # every pair stands in some sample, so the count is at least 1
    tie_break = (1 + margin / (1 + np.abs(margin))) / 2
    shares = (count + tie_break) / (multiplicities.sum() + 1)
    return LabelledProposals(pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.int32), shares)


def best_proposals(
    superpixels: NDArray[np.integer], membership: NDArray[np.bool_], truth: GroundTruth
) -> LabelledProposals:
    """The ceiling that proposals set: for each ground-truth instance its best proposal, scored by its IoU.

    Crowd regions get none. Void pixels count nowhere in the choice.
    """
    regular = np.flatnonzero(~truth.crowd) if truth.crowd is not None else np.arange(len(truth.counts))
    masks = rle.decode_many([truth.counts[i] for i in regular.tolist()], truth.size)
    void = None if truth.void is None else rle.decode(truth.void, truth.size)
    if len(membership) == 0 or len(masks) == 0:
        return LabelledProposals(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0))
    iou = iou_with_masks(superpixels, membership, masks, void)
    best = iou.argmax(axis=0)
    scores = iou[best, np.arange(len(masks))].astype(np.float64)
    return LabelledProposals(best.astype(np.int32), truth.labels[regular].astype(np.int32), scores)
