"""Inference against the argmax over all labelings: exact where greedy is, and how far off where it is not."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.method.conditional.conditional_cases import random_case
from tests.method.conditional.inference_references import brute_force, brute_force_boxes, feasible
from wsis.method.conditional.energy import labelling_score
from wsis.method.conditional.inference import Slots, infer


def inferred(scores, columns, suppress, boxes=None, higher_order=True):
    """Labels int [P] of one problem float [P, J], and their S."""
    slots = Slots(
        torch.as_tensor(columns),
        torch.from_numpy(suppress),
        None if boxes is None else torch.from_numpy(boxes),
        0.5,
    )
    labels = infer([torch.from_numpy(scores)[None]], [slots], higher_order=higher_order)[0]
    return labels[0].numpy(), float(labelling_score(torch.from_numpy(scores).double(), labels)[0])


def random_scores(seed, proposals, columns, coarse):
    scores = np.random.default_rng(seed).normal(size=(proposals, columns)).astype(np.float32)
    return np.round(2 * scores) / 2 if coarse else scores


seeds = st.integers(0, 2**31 - 1)


@settings(max_examples=300, deadline=None)
@given(seeds, st.integers(1, 8), st.integers(1, 4), st.booleans(), st.booleans())
def test_exact_for_one_class_whose_overlaps_are_groups(seed, proposals, groups, coarse, higher_order):
    # Overlap as an equivalence (one group = one object; one proposal a group = no overlap): best of each group.
    scores = random_scores(seed, proposals, 2, coarse)
    group = np.random.default_rng(seed + 1).integers(0, groups, proposals)
    suppress = group[:, None] == group[None]
    _, value = inferred(scores, [1], suppress, higher_order=higher_order)
    assert value == pytest.approx(brute_force(scores, [1], suppress, higher_order), abs=1e-5)


@settings(max_examples=150, deadline=None)
@given(seeds, st.integers(2, 6), st.integers(1, 3), st.booleans())
def test_exact_for_several_classes_that_want_different_proposals(seed, proposals, groups, coarse):
    scores = random_scores(seed, proposals, 3, coarse)
    generator = np.random.default_rng(seed + 1)
    owner = generator.permutation(np.arange(proposals) % 2) + 1
    scores[np.arange(proposals), 3 - owner] = scores[:, 0] - 50
    group = generator.integers(0, groups, proposals)
    suppress = group[:, None] == group[None]
    _, value = inferred(scores, [1, 2], suppress)
    assert value == pytest.approx(brute_force(scores, [1, 2], suppress), abs=1e-4)


@settings(max_examples=100, deadline=None)
@given(seeds, st.integers(1, 5), st.integers(1, 3), st.booleans())
def test_exact_without_higher_order_term_and_overlap(seed, proposals, classes, coarse):
    scores = random_scores(seed, proposals, classes + 1, coarse)
    columns, suppress = list(range(1, classes + 1)), np.zeros((proposals, proposals), dtype=bool)
    _, value = inferred(scores, columns, suppress, higher_order=False)
    assert value == pytest.approx(brute_force(scores, columns, suppress, higher_order=False), abs=1e-5)


@settings(max_examples=200, deadline=None)
@given(seeds, st.integers(2, 7), st.booleans(), st.booleans())
def test_exact_for_one_and_two_boxes(seed, proposals, coarse, one):
    generator = np.random.default_rng(seed)
    columns = [int(generator.integers(1, 3))] if one else generator.integers(1, 3, 2).tolist()
    scores = random_scores(seed, proposals, 3, coarse)
    boxes = generator.random((proposals, len(columns))).astype(np.float32)
    best = brute_force_boxes(scores, columns, boxes)
    if best == -np.inf:
        return
    labels, value = inferred(scores, columns, np.ones((proposals, proposals), dtype=bool), boxes)
    assert (labels > 0).sum() == len(columns)
    assert value == pytest.approx(best, abs=1e-5)


class Gap(NamedTuple):
    """How far the greedy argmax is from the best labelling."""

    problems: int
    exact: int
    starved: int
    """Problems in which some box got a proposal that does not fit, though every box could have had one."""
    mean_loss: float
    largest_loss: float
    mean_share: float
    """Mean of loss / (best S - worst S): 0 is optimal."""


def classes_gap(count, classes, proposals=6, symmetric=False):
    """Random overlapping proposals, normal scores."""
    columns = list(range(1, classes + 1))
    losses, shares = [], []
    for seed in range(count):
        *_, graph = random_case(seed, proposals=proposals)
        suppress = (graph.containment() > 0.5).numpy()
        suppress = suppress | suppress.T if symmetric else suppress
        scores = random_scores(seed, proposals, classes + 1, coarse=False)
        best = brute_force(scores, columns, suppress)
        if best == -np.inf:
            continue
        labels, value = inferred(scores, columns, suppress)
        assert feasible(labels[None], scores, columns, suppress).all()
        assert value <= best + 1e-5
        losses.append(max(best - value, 0.0))
        shares.append(losses[-1] / (best - -brute_force(-scores, columns, np.zeros_like(suppress))))
    return _gap(losses, shares)


def boxes_gap(count, boxes=3, proposals=6):
    """Random candidates of several boxes that compete for them."""
    losses, shares, starved = [], [], 0
    for seed in range(count):
        generator = np.random.default_rng(seed)
        scores = random_scores(seed, proposals, 3, coarse=False)
        columns = generator.integers(1, 3, boxes).tolist()
        overlap = generator.random((proposals, boxes)).astype(np.float32)
        best = brute_force_boxes(scores, columns, overlap)
        if best == -np.inf:
            continue
        labels, value = inferred(scores, columns, np.zeros((proposals, proposals), dtype=bool), overlap)
        if fits_every_box(labels, columns, overlap):
            losses.append(best - value)
            span = best + brute_force_boxes(-scores, columns, overlap)
            shares.append(losses[-1] / span if span > 0 else 0.0)
        else:
            starved += 1
    return _gap(losses, shares, starved)


def fits_every_box(labels, columns, overlap, threshold=0.5):
    """Whether the chosen proposals can be dealt out so that every box gets one of its class that fits it."""
    ids = np.flatnonzero(labels)
    fits = [[labels[u] == j and overlap[u, a] >= threshold for u in ids] for a, j in enumerate(columns)]
    return any(
        all(fits[a][i] for a, i in enumerate(order)) for order in itertools.permutations(range(len(ids)))
    )


def _gap(losses, shares, starved=0):
    loss = np.array(losses)
    exact = int((loss < 1e-5).sum())
    return Gap(
        len(loss) + starved, exact, starved, float(loss.mean()), float(loss.max()), float(np.mean(shares))
    )


@pytest.mark.parametrize(
    ("gap", "least_exact", "largest_share"),
    [
        (lambda: classes_gap(200, 1), 0.5, 0.1),
        (lambda: classes_gap(200, 2), 0.5, 0.1),
        (lambda: boxes_gap(200), 0.5, 0.1),
    ],
    ids=["one class", "two classes", "three boxes"],
)
def test_how_often_and_by_how_much_greedy_is_not_optimal(gap, least_exact, largest_share):
    found = gap()
    print(found)
    assert found.problems > 100
    assert found.exact / found.problems > least_exact
    assert found.mean_share < largest_share
