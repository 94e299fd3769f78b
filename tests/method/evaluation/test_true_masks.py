"""Company of true instances against distances between all pairs of pixels."""

import numpy as np
import pytest

from wsis.method.evaluation.instances import GroundTruth
from wsis.method.evaluation.true_masks import TrueMasks, touching_masks
from wsis.method.masks import rle

SIZE = (30, 40)


def square(y1: int, x1: int, y2: int, x2: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y1:y2, x1:x2] = True
    return mask


def near(one: np.ndarray, other: np.ndarray) -> bool:
    """Some pixels of the two are at most two rows and two columns apart."""
    a, b = np.argwhere(one), np.argwhere(other)
    return bool((np.abs(a[:, None] - b[None]).max(axis=2) <= 2).any())


@pytest.mark.parametrize("seed", range(20))
def test_touching_against_all_pairs_of_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(6):
        y, x = rng.integers(0, 24), rng.integers(0, 34)
        masks.append(square(y, x, y + rng.integers(1, 6), x + rng.integers(1, 6)) & (rng.random(SIZE) < 0.5))
    masks.append(np.zeros(SIZE, bool))  # all of it void, say
    labels = np.array([1, 1, 2, 2, 1, 2, 1])
    expected = [
        any(
            j != i and labels[i] == labels[j] and masks[i].any() and near(masks[i], masks[j])
            for j in range(7)
        )
        for i in range(7)
    ]
    assert touching_masks(np.stack(masks), labels).tolist() == expected


@pytest.mark.parametrize(("gap", "void", "expected"), [
    (2, False, False), (1, False, True), (5, True, True), (6, True, False), (5, False, False),
])  # fmt: skip
def test_void_between_two_masks_hardly_counts(gap: int, void: bool, expected: bool) -> None:
    """Two squares with `gap` pixels between them: void, as around the objects of VOC, or ground."""
    masks = np.stack([square(5, 5, 15, 15), square(5, 15 + gap, 15, 25 + gap)])
    band = square(5, 15, 15, 15 + gap) if void else None
    assert touching_masks(masks, np.array([1, 1]), band).tolist() == [expected] * 2


def test_true_masks_say_who_touches() -> None:
    """The third is of another class; the fourth is far away."""
    masks = [square(0, 0, 9, 9), square(0, 10, 9, 19), square(10, 0, 19, 9), square(20, 30, 30, 40)]
    labels = np.array([1, 1, 2, 1], np.int32)
    truth = TrueMasks(GroundTruth(SIZE, rle.encode_many(np.stack(masks)), labels))
    assert truth.touching.tolist() == [True, True, False, False]
    none = TrueMasks(GroundTruth(SIZE, [], labels[:0]))
    assert none.touching.shape == (0,)
