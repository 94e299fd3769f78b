"""Learning to rank: true regions, overlaps, the loss against its definition, and that it learns."""

import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from tests.method.proposals.mcg_cases import voronoi
from wsis.errors import InputError, NonFiniteError
from wsis.method.masks.superpixels import resize_nearest
from wsis.method.proposals.generator.candidate_features import FEATURES
from wsis.method.proposals.generator.ranker import Ranker
from wsis.method.proposals.generator.ranker_training import (
    RankerTraining,
    RankingExample,
    drawn_regions,
    expected_best_overlap,
    make_example,
    rank_correlation,
    region_overlaps,
    train_ranker,
    true_regions,
)

COUNT = len(FEATURES)


def test_regions_are_what_each_annotator_encloses() -> None:
    annotators = np.zeros((10, 20), np.uint8)
    annotators[:, 8] |= 1  # the first: two halves
    annotators[2, 2:7] |= 4  # the third: a square
    annotators[6, 2:7] |= 4
    annotators[2:7, 2] |= 4
    annotators[2:7, 6] |= 4
    first, second, third = drawn_regions(annotators, 0.04)
    np.testing.assert_array_equal(first.void, annotators == 1)
    assert first.shares.tolist() == [80 / 200, 110 / 200] and first.labels[:, 8].max() == 0
    assert first.labels[0, 0] == 1 and first.labels[0, 19] == 2
    assert second.shares.tolist() == [] and not second.labels.any()  # nothing drawn: the image is no region
    assert third.shares.tolist() == [175 / 200, 9 / 200] and third.labels[4, 4] == 2
    assert drawn_regions(annotators, 0.05)[2].shares.tolist() == [175 / 200]


def test_overlaps_equal_those_of_dense_masks() -> None:
    rng = np.random.default_rng(0)
    superpixels = voronoi(20, 30, 25, 1)
    count = int(superpixels.max()) + 1
    membership = rng.random((12, count)) < 0.4
    labels = ndimage.zoom(rng.integers(0, 5, (5, 6)), 10, order=0)
    void = rng.random(labels.shape) < 0.1
    regions = true_regions(labels, void, 0.01)
    dense = np.take(membership, resize_nearest(superpixels, labels.shape), axis=1)
    for row, column in itertools.product(range(12), range(len(regions.shares))):
        one, other = dense[row][~void], (regions.labels == column + 1)[~void]
        expected = (one & other).sum() / (one | other).sum()
        found = region_overlaps(membership, superpixels, regions)[row, column]
        assert found == pytest.approx(expected, rel=1e-6)
    features = np.zeros((12, COUNT), np.float32)
    example = make_example(features, membership, superpixels, [regions, regions], 3)
    overlap = region_overlaps(membership, superpixels, regions)
    assert example.rows.shape == (3, 2 * len(regions.shares)) == example.overlaps.shape
    np.testing.assert_array_equal(example.overlaps[:, 0], np.sort(overlap[:, 0])[::-1][:3])
    np.testing.assert_array_equal(overlap[example.rows[:, 1], 1], example.overlaps[:, 1])


@pytest.mark.parametrize("drawn", [1, 3])
def test_expected_best_overlap_equals_its_definition(drawn: int) -> None:
    """The mean over all subsets of the candidates, each with the chance that it is what was drawn."""
    rng = np.random.default_rng(drawn)
    scores, overlap = rng.normal(size=6), rng.random((6, 2))
    present = 1 - np.exp(-drawn * np.exp(scores) / np.exp(scores).sum())
    expected = np.zeros(2)
    for subset in itertools.product((False, True), repeat=6):
        chance = np.prod(np.where(subset, present, 1 - present))
        expected += chance * (overlap * np.array(subset)[:, None]).max(axis=0)
    rows = np.argsort(-overlap, axis=0)
    found = expected_best_overlap(
        torch.tensor(scores), torch.tensor(rows), torch.tensor(np.take_along_axis(overlap, rows, 0)), drawn
    )
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def examples(count: int, seed: int) -> list[RankingExample]:
    """Of 200 candidates, those with a high third and a low fifth feature are the regions."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        features = rng.normal(size=(200, COUNT)).astype(np.float32)
        fit = features[:, 2] - features[:, 4]
        rows = np.argsort(-fit, kind="stable")[:8].reshape(2, 4)
        overlaps = np.stack([np.full(4, 0.9), np.full(4, 0.6)]).astype(np.float32)
        found.append(RankingExample(features * 3 + 5, rows, overlaps, np.full(4, 0.1)))
    return found


def learn(found: list[RankingExample], **settings: float) -> Ranker:
    chosen = RankerTraining(**{"epochs": 25, "hidden": 8, "drawn": (5, 20), **settings})
    return Ranker(train_ranker(found, chosen, 0, "lab_gradient", "test"))


def test_it_learns_what_the_regions_have_in_common() -> None:
    ranker = learn(examples(24, 0))
    placed = []
    for one in examples(10, 1):
        order = np.argsort(-ranker(one.features))
        placed.append(np.isin(one.rows[0], order[:12]).mean())
    assert np.mean(placed) > 0.6  # by chance 0.06


def test_the_same_seed_gives_the_same_weights_and_empty_images_do_not_count() -> None:
    found = examples(5, 0)
    empty = RankingExample(
        found[0].features, np.zeros((3, 0), np.int64), np.zeros((3, 0), np.float32), np.zeros(0)
    )
    one, other = learn(found, epochs=2).weights, learn([empty, *found], epochs=2).weights
    np.testing.assert_array_equal(one.first, other.first)
    np.testing.assert_array_equal(one.centre, other.centre)
    values = np.concatenate([example.features for example in found])
    np.testing.assert_allclose(one.centre, values.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(one.spread, values.std(axis=0), rtol=1e-4)
    with pytest.raises(InputError, match="expected some in at least one of 1 images"):
        learn([empty])
    found[2].overlaps[0, 0] = np.nan
    with pytest.raises(NonFiniteError, match="expected a finite loss"):
        learn(found, epochs=1)


def test_rank_correlation_is_spearmans() -> None:
    rng = np.random.default_rng(3)
    one, other = rng.integers(0, 20, 50), rng.random(50)
    assert rank_correlation(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
    assert rank_correlation(np.arange(5), np.arange(5) ** 3) == pytest.approx(1)
    assert rank_correlation(np.ones(5), np.arange(5)) == 0
