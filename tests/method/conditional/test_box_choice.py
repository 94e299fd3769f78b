"""The joint choice of one proposal a box against every choice there is."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.method.conditional.conditional_cases import random_case
from wsis.method.conditional.box_choice import (
    SAME,
    BoxCandidates,
    JointChoice,
    box_candidates,
    choose_jointly,
    pairs_that_share,
)
from wsis.method.conditional.graph import build_graph
from wsis.method.conditional.inference import Slots, infer


def a_case(seed, boxes, width=4, proposals=12):
    """Random proposals of 30 pixels; each box draws on some of them, and boxes may share some."""
    rng = np.random.default_rng(seed)
    masks = rng.random((proposals, 30)) < 0.4
    masks[:, 0] |= ~masks.any(1)
    sizes = masks.sum(1)
    overlap = (masks.astype(float) @ masks.T) / np.minimum(sizes[:, None], sizes)
    np.fill_diagonal(overlap, SAME)
    ids = np.stack([rng.choice(proposals, width, replace=False) for _ in range(boxes)])
    ids, overlap = torch.from_numpy(ids), torch.from_numpy(overlap).float()
    listed = torch.ones(boxes, width, dtype=torch.bool)
    candidates = BoxCandidates(ids, listed, overlap, pairs_that_share(ids, overlap))
    return torch.from_numpy(rng.random((1, boxes, proposals))), candidates


def value(gains, candidates, weight, picks):
    """The score of a choice as the module's text says it, in plain loops."""
    own = [[float(gains[a, u]) for u in row] for a, row in enumerate(candidates.ids.tolist())]
    cost = weight * np.mean([max(row) - min(row) for row in own])
    total = sum(float(gains[a, u]) for a, u in enumerate(picks))
    return total - cost * sum(float(candidates.overlap[u, v]) for u, v in itertools.combinations(picks, 2))


def chosen(*arguments):
    choice = JointChoice(*arguments)
    choose_jointly([choice])
    return choice.picks


def loss(seed, boxes):
    gains, candidates = a_case(seed, boxes)
    start = candidates.ids[:, 0][None]
    picks = chosen(gains, start, candidates, 0.7)[0].tolist()
    assert all(u in row for u, row in zip(picks, candidates.ids.tolist(), strict=True))
    best = max(value(gains[0], candidates, 0.7, p) for p in itertools.product(*candidates.ids.tolist()))
    return best - value(gains[0], candidates, 0.7, picks)


def test_two_boxes_get_the_best_of_all_choices():
    assert max(loss(seed, 2) for seed in range(40)) < 1e-6


def test_four_boxes_get_the_best_choice_nearly_always():
    losses = np.array([loss(seed, 4) for seed in range(40)])
    assert (losses < 1e-6).mean() >= 0.9 and losses.max() < 0.3


def test_rows_do_not_depend_on_one_another_and_the_start_only_breaks_ties():
    cases = [a_case(seed, 3) for seed in range(6)]
    candidates = cases[0][1]
    gains, start = torch.cat([gains for gains, _ in cases]), candidates.ids[:, 1].repeat(6, 1)
    together = chosen(gains, start, candidates)
    apart = [JointChoice(gains[i : i + 1], start[i : i + 1], candidates) for i in range(6)]
    choose_jointly(apart)
    torch.testing.assert_close(together, torch.cat([choice.picks for choice in apart]))
    equal = torch.ones_like(gains[:1])
    none = BoxCandidates(candidates.ids, candidates.listed, torch.zeros_like(candidates.overlap))
    torch.testing.assert_close(chosen(equal, start[:1], none), start[:1])


@pytest.fixture
def graph():
    superpixels, membership, (edges, contours, lengths), _ = random_case(3)
    return build_graph(superpixels, membership, edges, contours, lengths, 0)


def test_candidates_are_what_fits_and_else_the_best(graph):
    fits = torch.rand(graph.num_proposals, 3, generator=torch.Generator().manual_seed(0)) * 0.7
    fits[[1, 4], 0] = torch.tensor([0.9, 0.95])
    fits[2, 1] = 0.8
    found = box_candidates(graph, fits, 0.8)
    assert found.ids[0].tolist() == [4, 1] and found.listed[0].all()
    assert found.ids[1].tolist() == [2, 2] and found.listed[1].tolist() == [True, False]
    assert found.ids[2, 0] == fits[:, 2].argmax() and found.listed[2].tolist() == [True, False]
    common = (graph.membership.float() * graph.superpixel_areas) @ graph.membership.float().T
    expected = common / torch.minimum(graph.areas[:, None], graph.areas)
    off = ~torch.eye(graph.num_proposals, dtype=torch.bool)
    torch.testing.assert_close(found.overlap[off], expected[off])
    assert (found.overlap.diagonal() == SAME).all()


def test_no_problem_and_no_box(graph):
    fits = torch.rand(graph.num_proposals, 2)
    found = box_candidates(graph, fits, 0.5)
    start = torch.zeros(0, 2, dtype=torch.int64)
    assert chosen(torch.zeros(0, 2, graph.num_proposals), start, found).shape == (0, 2)


def test_inference_shares_pixels_out_among_boxes():
    """Two boxes side by side whose best proposals reach into one another: one of them yields."""
    superpixels = np.repeat(np.arange(4)[None], 6, 0).repeat(3, 1)  # four columns of 3 x 6 pixels
    membership = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 1, 1]], bool)
    edges = np.array([[0, 1], [1, 2], [2, 3]])
    graph = build_graph(superpixels, membership, edges, np.ones(3), np.full(3, 6.0), 0)
    fits = torch.tensor([[0.9, 0.0], [0.9, 0.0], [0.0, 0.9], [0.0, 0.9]])
    scores = torch.tensor([[[0.0, 3.0], [0.0, 2.95], [0.0, 3.0], [0.0, 2.0]]])
    alone = Slots(torch.tensor([1, 1]), torch.eye(4, dtype=torch.bool), fits)
    together = replace(alone, candidates=box_candidates(graph, fits, 0.8))
    assert infer([scores], [alone])[0].tolist() == [[1, 0, 1, 0]]
    assert infer([scores], [together])[0].tolist() == [[0, 1, 1, 0]]


def test_boxes_that_have_one_candidate_between_them_keep_two_proposals():
    superpixels = np.repeat(np.arange(3)[None], 4, 0).repeat(3, 1)
    graph = build_graph(
        superpixels, np.eye(3, dtype=bool), np.array([[0, 1], [1, 2]]), np.ones(2), np.full(2, 4.0), 0
    )
    fits = torch.tensor([[1.0, 1.0], [0.1, 0.2], [0.0, 0.0]])
    slots = Slots(
        torch.tensor([1, 1]),
        torch.eye(3, dtype=torch.bool),
        fits,
        candidates=box_candidates(graph, fits, 0.8),
    )
    labels = infer([torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0))], [slots])[0]
    assert (labels.sum(1) == 2).all() and (labels[:, 0] == 1).all()
