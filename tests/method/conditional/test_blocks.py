"""Large problems are worked on a block at a time; the blocks' sizes change nothing."""

import numpy as np
import pytest
import torch

from tests.method.conditional.conditional_cases import random_case
from tests.method.conditional.inference_references import plain_algorithm
from wsis.method.conditional import energy, graph, greedy
from wsis.method.conditional.energy import EnergyConfig, refine_scores
from wsis.method.conditional.inference import Slots, infer


def disjoint_and_nested(proposals: int = 30) -> np.ndarray:
    """Membership bool [P, 20]: single superpixels, pairs and equal proposals, so that few overlap and many tie."""
    membership = np.zeros((proposals, 20), dtype=bool)
    rng = np.random.default_rng(0)
    membership[np.arange(proposals), rng.integers(0, 20, proposals)] = True
    membership[::5, 3] = True
    return membership


@pytest.mark.parametrize("sparse", [True, False])
def test_graphs_built_row_by_row_are_equal(monkeypatch, sparse):
    superpixels, membership, boundary, _ = random_case(0, proposals=30)
    membership = disjoint_and_nested() if sparse else membership
    whole = graph.build_graph(superpixels, membership, *boundary, 6)
    contains = whole.contains(0.5)
    monkeypatch.setattr(graph, "_ENTRY_BUDGET", 1)
    parts = graph.build_graph(superpixels, membership, *boundary, 6)
    assert not parts.contained
    with_tables = graph.build_graph(superpixels, membership, *boundary, 6, thresholds=(0.3, 0.5))
    assert torch.equal(with_tables.neighbours, parts.neighbours)
    for threshold, table in with_tables.contained.items():
        assert table is with_tables.contains(threshold) and torch.equal(table, parts.contains(threshold))
    none_listed = graph.build_graph(superpixels, membership, *boundary, 0, thresholds=(0.5,))
    assert torch.equal(none_listed.contained[0.5], contains)
    for name in ("neighbours", "neighbour_mask", "separations"):
        assert torch.equal(getattr(whole, name), getattr(parts, name))
    assert torch.equal(contains, parts.contains(0.5)) and torch.equal(contains, whole.containment() > 0.5)
    rows = torch.tensor([7, 2, 29])
    assert torch.equal(whole.iou()[rows], whole.iou(rows))
    assert torch.equal(whole.containment()[rows], whole.containment(rows))


def test_neighbours_of_few_overlaps_equal_a_plain_sort():
    superpixels, _, (edges, contours, lengths), _ = random_case(0)
    membership = disjoint_and_nested()
    built = graph.build_graph(superpixels, membership, edges, contours, lengths, 6)
    adjacent = np.zeros((20, 20), dtype=bool)
    adjacent[edges[:, 0], edges[:, 1]] = adjacent[edges[:, 1], edges[:, 0]] = True
    touching = (membership.astype(int) @ adjacent @ membership.T) > 0
    iou, touched = built.iou().numpy(), 0
    for u in range(len(membership)):
        related = [v for v in range(len(membership)) if v != u and (iou[u, v] > 0 or touching[u, v])]
        best = sorted(related, key=lambda v: (-iou[u, v], v))[:6]
        touched += sum(iou[u, v] == 0 for v in best)
        assert built.neighbours[u][built.neighbour_mask[u]].tolist() == best
    assert touched > 20


@pytest.mark.parametrize("kind", ["literal", "diffuse"])
def test_refined_scores_and_gradients_do_not_depend_on_the_groups_of_neighbours(monkeypatch, kind):
    *_, case = random_case(2, proposals=20)
    scores = torch.randn(3, 20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def both():
        given = scores.clone().requires_grad_()
        refined = refine_scores(given, case, EnergyConfig(pairwise=kind))
        return refined.detach(), torch.autograd.grad(refined.square().sum(), given)[0]

    whole = both()
    monkeypatch.setattr(energy, "_CACHE_ENTRIES", 1)
    for one, other in zip(whole, both(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("window", [1, 3])
def test_many_picks_row_by_row_equal_algorithm_1(monkeypatch, window):
    monkeypatch.setattr(greedy, "_ENTRY_BUDGET", 1)
    monkeypatch.setattr(greedy, "_WINDOW", window)
    rng = np.random.default_rng(0)
    columns = np.arange(1, 4)
    for coarse in (False, True):  # coarse values make ties
        scores = rng.normal(size=(12, 40, 4)).astype(np.float32)
        scores = np.round(scores) if coarse else scores
        suppress = rng.random((40, 40)) < 0.1
        slots = Slots(torch.from_numpy(columns), torch.from_numpy(suppress))
        labels = infer([torch.from_numpy(scores)], [slots])[0].tolist()
        assert labels == [plain_algorithm(score, columns, suppress) for score in scores]
        assert np.count_nonzero(labels) > 12 * 10
