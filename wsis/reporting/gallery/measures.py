"""Figures of one image, by which the gallery sorts and filters, from the sets of instances over its pool of masks.

Suffixes: n instances of a set, G true instances.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsis.method.evaluation.instance_quality import STATES, Shares, instance_states
from wsis.reporting.pictures.instances import InstanceSet, MaskPool, iou_of_sets, matches

Company = Literal["alone", "several"]
Weighted = Sequence[tuple[float, InstanceSet]]
"""Distinct samples with their shares, which sum to 1."""


def agreement(pool: MaskPool, one: InstanceSet, other: InstanceSet) -> float:
    """How much two sets say the same, in [0, 1]: IoUs of pairs of one class, matched one-to-one, over all things there.

    That is sum of IoU / (n + n' - pairs): 1 for equal sets, also two empty ones; what only one of them has counts 0.
    """
    pairs = matches(iou_of_sets(pool, one, other), least=1e-9)
    things = len(one) + len(other) - len(pairs)
    return sum(iou for *_, iou in pairs) / things if things else 1.0


def loss(pool: MaskPool, samples: Weighted, prediction: InstanceSet) -> float:
    """1 - the mean over the K samples of their agreement with the prediction, in [0, 1]."""
    return 1.0 - sum(share * agreement(pool, one, prediction) for share, one in samples)


def best_ious(pool: MaskPool, found: InstanceSet, truth: InstanceSet) -> NDArray[np.float64]:
    """IoU of each true instance with the best of its class, float64 [G]; 0 without any."""
    return iou_of_sets(pool, found, truth).max(axis=0, initial=0.0)


def states(pool: MaskPool, found: InstanceSet, truth: InstanceSet) -> NDArray[np.float64]:
    """How each true instance ends, as `wsis.method.evaluation.instance_quality.instance_states`, float64 [G, 5]."""
    ended = np.zeros((len(truth), len(STATES)))
    overlaps = pool.overlaps
    for label in np.unique(truth.labels).tolist():
        columns = np.flatnonzero(truth.labels == label)
        rows, there = found.masks[found.labels == label], truth.masks[columns]
        place = np.ix_(rows, there)
        shares = Shares(overlaps.iou[place], overlaps.inside[place], overlaps.inside.T[place])
        ended[columns] = instance_states(shares)
    return ended


def mean_states(pool: MaskPool, found: Weighted, truth: InstanceSet) -> list[str]:
    """What most of the samples make of each true instance: found, merged, split or missed."""
    ended = sum(
        (share * states(pool, one, truth)[:, :4] for share, one in found), start=np.zeros((len(truth), 4))
    )
    return [STATES[i] for i in ended.argmax(axis=1).tolist()]


def company(labels: NDArray[np.integer]) -> Company | None:
    """Whether some class is there several times; None without any."""
    counts = Counter(labels.tolist())
    return None if not counts else "several" if max(counts.values()) > 1 else "alone"
