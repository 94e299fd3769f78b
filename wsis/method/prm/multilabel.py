"""Multi-label average precision: how well a classifier ranks images, class by class.

Suffix legend: B images, C classes.
"""

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError


def average_precisions(scores: NDArray[np.floating], labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Average precision of each class, float64 [C]; NaN for a class without a positive image.

    Args:
        scores: [B, C], larger is more confident.
        labels: bool [B, C].
    """
    if scores.shape != labels.shape or scores.ndim != 2:
        raise InputError(f"labels: expected [B, C] like scores {scores.shape}, got {labels.shape}")
    order = np.argsort(-scores, axis=0, kind="stable")
    hits = np.take_along_axis(labels, order, axis=0).astype(np.float64)
    precision = hits.cumsum(axis=0) / np.arange(1, len(hits) + 1)[:, None]
    positives = hits.sum(axis=0)
    total = (precision * hits).sum(axis=0)
    return np.divide(total, positives, out=np.full(hits.shape[1], np.nan), where=positives > 0)
