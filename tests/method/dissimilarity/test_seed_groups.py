"""Which seeds are one object: against every partition of them, and on maps as coarse as a classifier's."""

import itertools

import numpy as np
import pytest
import torch

from tests.method.conditional.conditional_cases import random_case, superpixel_edges
from wsis.method.conditional.graph import build_graph
from wsis.method.conditional.pooling import pool_matrix
from wsis.method.dissimilarity.seed_groups import group_seeds, proposals_on_grid, superpixel_at


def partitions(items):
    """Every partition of a list."""
    if not items:
        yield []
        return
    for rest in partitions(items[1:]):
        yield [[items[0]], *rest]
        for k, group in enumerate(rest):
            yield [*rest[:k], [items[0], *group], *rest[k + 1 :]]


def worth_of(graph, superpixels, response, peaks, group, at_peak):
    """A group's worth by plain loops: cells belong to the nearest seed."""
    grid, size = response.shape, superpixels.shape
    seen = proposals_on_grid(graph, superpixels, grid).numpy().reshape(-1, *grid)
    part = np.zeros(grid)
    for y, x in np.ndindex(grid):
        distances = [
            ((r + 0.5) * grid[0] / size[0] - y - 0.5) ** 2 + ((c + 0.5) * grid[1] / size[1] - x - 0.5) ** 2
            for _, r, c in peaks
        ]
        if int(np.argmin(distances)) in group:
            part[y, x] = response[y, x] / 255
    best = -np.inf
    for u in np.flatnonzero(graph.membership[:, at_peak[group]].any(1)):
        overlap = np.minimum(seen[u], part).sum() / max(np.maximum(seen[u], part).sum(), 1e-6)
        best = max(best, overlap * float(graph.perimeter_strengths[u]) ** 3)
    return best * part.sum()


@pytest.mark.parametrize("seed", range(12))
def test_two_seeds_are_parted_as_the_best_partition_says(seed):
    superpixels, _, _, graph = random_case(seed, proposals=20)
    rng = np.random.default_rng(seed)
    peaks = np.array([[1, 2, 3], [1, 12, 15]], np.int32)
    response = rng.integers(1, 256, (1, 4, 5)).astype(np.uint8)
    at_peak = superpixel_at(superpixels, peaks, superpixels.shape)
    groups = group_seeds(graph, superpixels, peaks, at_peak, response, np.array([1]), superpixels.shape)
    weights, agrees = {}, {}
    for partition in partitions([0, 1]):
        worths = [worth_of(graph, superpixels, response[0], peaks, group, at_peak) for group in partition]
        weights[len(partition)] = sum(worths) * (1.35 if len(partition) == 2 else 1)
        found = sum(group.worth for group in groups)
        agrees[len(partition)] = found == pytest.approx(sum(worths), rel=1e-4)
    parted = weights[2] > weights[1]
    if len(groups) == 2:
        assert parted and agrees[2]
    else:  # one object, or two whose proposals overlap
        assert parted or agrees[1]


def row_of_objects(count, contour=0.5):
    """`count` objects side by side, each a superpixel 32 x 32; every row of neighbours is proposed."""
    superpixels = np.zeros((96, 32 * (count + 2)), np.int32)
    for k in range(count):
        superpixels[32:64, 32 * (k + 1) : 32 * (k + 2)] = k + 1
    edges, lengths = superpixel_edges(superpixels)
    contours = (contour * lengths).astype(np.float32)
    spans = itertools.combinations(range(1, count + 2), 2)
    membership = np.array([[first <= s < last for s in range(count + 1)] for first, last in spans])
    membership = np.concatenate([membership, np.ones((1, count + 1), bool)])
    graph = build_graph(superpixels, membership, edges, contours, lengths)
    response = np.zeros((1, 3, count + 2), np.uint8)
    response[0, 1, 1:-1] = 255
    peaks = np.array([[1, 48, 32 * (k + 1) + 16] for k in range(count)], np.int32)
    return graph, superpixels, peaks, response


def test_a_herd_on_a_coarse_map_is_its_animals():
    graph, superpixels, peaks, response = row_of_objects(4)
    at_peak = superpixel_at(superpixels, peaks, superpixels.shape)
    groups = group_seeds(graph, superpixels, peaks, at_peak, response, np.array([1]), superpixels.shape)
    masks = graph.membership[[group.proposal for group in groups]].int()
    assert sorted(group.seeds for group in groups) == [(0,), (1,), (2,), (3,)]
    assert sorted(masks.argmax(1).tolist()) == [1, 2, 3, 4] and masks.sum(1).tolist() == [1] * 4


def test_seeds_of_one_object_are_one_group():
    graph, superpixels, _, response = row_of_objects(2)
    two = np.array([[1, 40, 40], [1, 56, 56], [1, 48, 80]], np.int32)
    at_peak = superpixel_at(superpixels, two, superpixels.shape)
    groups = group_seeds(graph, superpixels, two, at_peak, response, np.array([1]), superpixels.shape)
    assert sorted(group.seeds for group in groups) == [(0, 1), (2,)]


def test_groups_lie_beside_each_other_and_the_most_worth_comes_first():
    for seed in range(5):
        superpixels, _, _, graph = random_case(seed, proposals=25)
        rng = np.random.default_rng(seed)
        peaks = np.stack([np.ones(5), rng.integers(0, 16, 5), rng.integers(0, 20, 5)], 1).astype(np.int32)
        response = rng.integers(0, 256, (1, 4, 5)).astype(np.uint8)
        at_peak = superpixel_at(superpixels, peaks, superpixels.shape)
        groups = group_seeds(graph, superpixels, peaks, at_peak, response, np.array([1]), superpixels.shape)
        worths = [group.worth for group in groups]
        assert worths == sorted(worths, reverse=True)
        seeds = sum((group.seeds for group in groups), ())
        assert len(set(seeds)) == len(seeds) and set(seeds) <= set(range(5))
        shares = graph.containment()
        for one, two in itertools.permutations([group.proposal for group in groups], 2):
            assert shares[one, two] <= 0.5


def test_a_proposal_on_the_grid_is_the_mean_that_upsampling_weighs():
    superpixels, _, _, graph = random_case(3)
    seen = proposals_on_grid(graph, superpixels, (4, 5))
    weights = pool_matrix(superpixels, (4, 5), graph.membership.shape[1]).to_dense()
    mean = torch.stack([weights[row].sum(0) / weights.sum(0) for row in graph.membership])
    torch.testing.assert_close(seen, mean / mean.amax(1, keepdim=True))
    assert float(seen.max()) == 1 and float(seen.min()) >= 0
