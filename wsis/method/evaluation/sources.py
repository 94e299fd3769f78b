"""What the pipeline makes, as detections: network outputs, labelled proposals, pseudo-label samples.

Suffixes: N detections, P proposals, S superpixels, U unique samples, M labelled proposals of all samples, K
samples, H W image, h w working size.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsis.method.conditional.label_sets import SampleSet
from wsis.method.evaluation.instances import Detections
from wsis.method.masks import rle
from wsis.method.masks.network_detections import NetworkDetections
from wsis.method.masks.paste import paste_to_rle
from wsis.method.masks.proposal_set import Regions

_CHUNK = 32  # dense masks held at once


class LabelledProposals(NamedTuple):
    """Proposals of one image with classes: proposal_ids int32 [N], labels int32 [N] (1..C), scores [N]."""

    proposal_ids: NDArray[np.int32]
    labels: NDArray[np.int32]
    scores: NDArray[np.float64]


def network_detections(found: NetworkDetections) -> Detections:
    """Detections of the prediction network, its masks pasted into their boxes."""
    counts = paste_to_rle(found.masks, found.boxes, found.size)
    return Detections(found.size, counts, found.labels, found.scores)


def proposal_detections(regions: Regions, labelled: LabelledProposals) -> Detections:
    """Detections from labelled proposals of an image.

    Raises InputError for a proposal id outside 0..P-1.
    """
    counts: list[bytes] = []
    for start in range(0, len(labelled.proposal_ids), _CHUNK):
        counts += rle.encode_many(regions.masks(labelled.proposal_ids[start : start + _CHUNK]))
    return Detections(regions.image_size, counts, labelled.labels, labelled.scores)


def pseudo_label_marginals(samples: SampleSet) -> LabelledProposals:
    """Each (proposal, class) that some sample contains, scored by the share of the K samples with it.

    The conditional distribution's marginal is what its samples say about an instance, so it ranks first.
    Among equal shares (there are only K of them) the mean score margin m over the samples with it decides,
    squashed monotonically into (0, 1):

        score = (count + (1 + m / (1 + |m|)) / 2) / (K + 1),   in (1 / (K + 1), 1).

    Returns proposals in ascending (proposal, class) order.
    """
    multiplicities = samples.multiplicities
    sample = np.repeat(np.arange(len(multiplicities)), np.diff(samples.offsets))
    keys = np.stack([sample, samples.proposal_ids, samples.classes], axis=1)
    # Two boxes may choose one proposal: within a sample it counts once.
    once, first = np.unique(keys, axis=0, return_index=True)
    pairs, inverse = np.unique(once[:, 1:], axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    weights = multiplicities[once[:, 0]].astype(np.float64)
    count = np.bincount(inverse, weights=weights, minlength=len(pairs))
    total = np.bincount(inverse, weights=weights * samples.scores[first], minlength=len(pairs))
    margin = total / count  # every pair stands in some sample, so the count is at least 1
    tie_break = (1 + margin / (1 + np.abs(margin))) / 2
    shares = (count + tie_break) / (samples.num_samples + 1)
    return LabelledProposals(pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.int32), shares)
