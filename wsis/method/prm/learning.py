"""Signs, without masks, that a classifier cannot tell a class's look from what is always there with it.

Suffix legend: A annotated classes, B images, C classes.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wsis.method.prm.multilabel import average_precisions

_WIDE = 0.8  # share of an image's cells above the threshold from which a response says nothing of where
_FEW_IMAGES = 10  # a share of fewer images says little
_FEW_HELD_BACK = 3  # images with, and without, a class that its precision can be judged by
_SHUFFLES = 200


def spread_responses(
    records: Iterable[Mapping[str, NDArray[np.generic]]], classes: Sequence[str]
) -> dict[str, float]:
    """Of the images of each class, the share in which the class answers nearly everywhere (over 0.8 of the cells).

    Where that is the rule, peaks lie wherever the background pleases: over 0.5 of a class's images is a sign. Measured:
    voc-animals 0 to .16; `crowds` .72 for person (85 % of the photographs show one), 0 for all others; a classifier of
    nuclei, which every image shows, 1.

    Args:
        records: `class_response_maps` uint8 [A, h, w] and `response_classes` [A] of each image's seeds.
        classes: names of the classes 1..C; only those of ten images or more are returned.
    """
    shares: dict[str, list[bool]] = {}
    for one in records:
        for label, response in zip(one["response_classes"], one["class_response_maps"], strict=True):
            shares.setdefault(classes[int(label) - 1], []).append(bool((response > 0).mean() > _WIDE))
    return {
        name: float(np.mean(shares[name])) for name in classes if len(shares.get(name, ())) >= _FEW_IMAGES
    }


def not_above_chance(scores: NDArray[np.floating], labels: NDArray[np.bool_]) -> list[int]:
    """Classes, 0..C-1, that held-back scores rank no better than the labels in another order would.

    A class counts from three images with it and three without, and is named where its average precision is at most the
    median over 200 orders (the same ones every time). With fewer images nothing can be said, and nothing is.

    Args:
        scores: [B, C], larger is more confident.
        labels: bool [B, C].
    """
    rng = np.random.default_rng(0)
    chance = [average_precisions(scores, labels[rng.permutation(len(labels))]) for _ in range(_SHUFFLES)]
    with_it = labels.sum(axis=0)
    judged = np.minimum(with_it, len(labels) - with_it) >= _FEW_HELD_BACK
    found = judged & (average_precisions(scores, labels) <= np.median(chance, axis=0))
    return np.flatnonzero(found).tolist()
