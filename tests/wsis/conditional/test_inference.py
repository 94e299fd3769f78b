import itertools

import numpy as np
import pytest
import torch
from conditional_cases import random_case
from hypothesis import given, settings
from hypothesis import strategies as st

from wsis.conditional.energy import labelling_score
from wsis.conditional.inference import Slots, infer
from wsis.errors import InputError, NonFiniteError


def plain_algorithm(scores, columns, suppress, box_iou=None, threshold=0.5, higher_order=True):
    """Algorithm 1 read line by line: one problem, float [P, J]; lists R_j of remaining candidates per slot."""
    proposals, slots = scores.shape[0], len(columns)
    gain = [[scores[u, columns[a]] - scores[u, 0] for a in range(slots)] for u in range(proposals)]
    if box_iou is not None and proposals and slots:
        low, high = min(min(row) for row in gain), max(max(row) for row in gain)
        floor = low - (high - low) - np.float32(1)
        for u in range(proposals):
            for a in range(slots):
                if box_iou[u, a] < threshold:
                    gain[u][a] = (floor + box_iou[u, a] - np.float32(1)) if higher_order else -np.inf
    candidates = [set(range(proposals)) for _ in range(slots)]
    labels, empty = [0] * proposals, set(range(slots))

    def best(wanted):
        ranked = [(-gain[u][a], u, a) for a in wanted for u in candidates[a]]
        return min(ranked, default=None)

    def most_urgent():
        """The empty slot that would lose most by its second best, with its best proposal."""
        found = []
        for a in sorted(empty):
            ranked = sorted((-gain[u][a], u) for u in candidates[a])
            ranked = [entry for entry in ranked if -entry[0] > (-np.inf if higher_order else 0)]
            if ranked:
                every = sorted(-gain[u][a] for u in candidates[a])
                second = max(-every[1], np.float32(-1e4)) if len(every) > 1 else np.float32(-1e4)
                regret = -every[0] - second
                found.append((-regret, a, ranked[0][1]))
        return min(found, default=None)

    def take(u, a):
        labels[u] = int(columns[a])
        for other in range(slots):
            candidates[other].discard(u)
        candidates[a] -= {v for v in candidates[a] if suppress[u, v]}
        empty.discard(a)

    while empty:
        found = most_urgent()
        if found is None:
            break
        take(found[2], found[1])
    while box_iou is None:
        found = best(range(slots))
        if found is None or found[0] >= 0:
            break
        take(found[1], found[2])
    return labels


@st.composite
def problems(draw):
    seed = draw(st.integers(0, 2**31 - 1))
    rng = np.random.default_rng(seed)
    proposals, slots, count = draw(st.integers(1, 9)), draw(st.integers(1, 4)), draw(st.integers(1, 12))
    columns = rng.integers(1, slots + 1, slots) if draw(st.booleans()) else np.arange(1, slots + 1)
    coarse = draw(st.booleans())  # coarse values make ties
    scores = rng.normal(size=(count, proposals, slots + 1)).astype(np.float32)
    scores = np.round(scores) if coarse else scores
    suppress = rng.random((proposals, proposals)) < draw(st.sampled_from([0.0, 0.3, 0.9]))
    boxes = rng.random((proposals, slots)).astype(np.float32) if draw(st.booleans()) else None
    return scores, columns, suppress, boxes, draw(st.booleans())


@settings(max_examples=400, deadline=None)
@given(st.lists(problems(), min_size=1, max_size=4))
def test_batched_inference_equals_algorithm_1(cases):
    higher_order = cases[0][4]
    slots = [
        Slots(torch.from_numpy(c), torch.from_numpy(s), None if b is None else torch.from_numpy(b))
        for _, c, s, b, _ in cases
    ]
    results = infer([torch.from_numpy(c[0]) for c in cases], slots, higher_order=higher_order)
    for result, (scores, columns, suppress, boxes, _) in zip(results, cases, strict=True):
        for row, score in zip(result.tolist(), scores, strict=True):
            assert row == plain_algorithm(score, columns, suppress, boxes, higher_order=higher_order)


def brute_force(scores, columns, suppress):
    """Best S over all labellings that fill every class and hold no pair of a class that suppresses either way."""
    proposals = len(scores)
    best = -np.inf
    for labels in itertools.product([0, *columns], repeat=proposals):
        if any(c not in labels for c in columns):
            continue
        pairs = itertools.permutations(range(proposals), 2)
        if any(labels[u] and labels[u] == labels[v] and suppress[u, v] for u, v in pairs):
            continue
        best = max(best, sum(scores[u, j] for u, j in enumerate(labels)))
    return best


def test_exact_where_proposals_do_not_overlap_and_no_two_classes_want_the_same():
    rng = np.random.default_rng(0)
    for _ in range(60):
        columns = np.array([1, 2])
        scores = rng.normal(size=(5, 3)).astype(np.float32)
        gain = scores[:, 1:] - scores[:, :1]
        if gain[:, 0].argmax() == gain[:, 1].argmax() or ((gain > 0).all(1)).any():
            continue
        suppress = np.zeros((5, 5), dtype=bool)
        slots = Slots(torch.from_numpy(columns), torch.from_numpy(suppress))
        labels = infer([torch.from_numpy(scores)[None]], [slots])[0]
        value = float(labelling_score(torch.from_numpy(scores), labels)[0])
        assert value == pytest.approx(brute_force(scores, columns, suppress), abs=1e-5)


def test_exact_for_one_class_without_overlap_always():
    rng = np.random.default_rng(1)
    for _ in range(40):
        scores = rng.normal(size=(6, 2)).astype(np.float32)
        suppress = np.zeros((6, 6), dtype=bool)
        labels = infer(
            [torch.from_numpy(scores)[None]], [Slots(torch.tensor([1]), torch.from_numpy(suppress))]
        )[0]
        value = float(labelling_score(torch.from_numpy(scores), labels)[0])
        assert value == pytest.approx(brute_force(scores, [1], suppress), abs=1e-5)


def test_how_often_greedy_is_not_optimal_on_overlapping_proposals():
    # Five random overlapping proposals, two classes: measured exact in 45 of 60, 0.15 of S short on average.
    exact, lost, total = 0, 0.0, 0
    for seed in range(60):
        *_, graph = random_case(seed, proposals=5)
        suppress = (graph.containment() > 0.5).numpy()
        suppress = suppress | suppress.T  # brute force needs an order-free rule
        scores = np.random.default_rng(seed).normal(size=(5, 3)).astype(np.float32)
        best = brute_force(scores, [1, 2], suppress)
        labels = infer(
            [torch.from_numpy(scores)[None]], [Slots(torch.tensor([1, 2]), torch.from_numpy(suppress))]
        )[0]
        value = float(labelling_score(torch.from_numpy(scores), labels)[0])
        if best == -np.inf:
            continue
        assert value <= best + 1e-5
        total += 1
        exact += value > best - 1e-5
        lost += best - value
    assert exact / total > 0.6
    assert lost / total < 0.3


def test_every_class_gets_its_best_proposal_whatever_its_score():
    scores = torch.tensor([[[5.0, 1.0, 2.0], [5.0, 3.0, 0.0], [5.0, 2.0, 1.0]]])
    slots = Slots(torch.tensor([1, 2]), torch.zeros(3, 3, dtype=torch.bool))
    assert infer([scores], [slots])[0].tolist() == [[2, 1, 0]]
    assert infer([scores], [slots], higher_order=False)[0].tolist() == [[0, 0, 0]]


def test_a_taken_proposal_removes_what_it_contains_for_its_class_alone():
    scores = torch.tensor([[[0.0, 9.0, -1.0], [0.0, 8.0, 7.0], [0.0, 6.0, -1.0]]])
    suppress = torch.zeros(3, 3, dtype=torch.bool)
    suppress[0, 1] = True
    assert infer([scores], [Slots(torch.tensor([1, 2]), suppress)])[0].tolist() == [[1, 2, 1]]
    assert infer([scores[..., :2]], [Slots(torch.tensor([1]), suppress)])[0].tolist() == [[1, 0, 1]]


def test_boxes_get_one_proposal_each_among_those_that_fit():
    scores = torch.tensor([[[0.0, 1.0], [0.0, 9.0], [0.0, 5.0]]])
    box_iou = torch.tensor([[0.9, 0.1], [0.2, 0.3], [0.6, 0.7]])
    slots = Slots(torch.tensor([1, 1]), torch.zeros(3, 3, dtype=torch.bool), box_iou)
    # Proposal 1 has the best score but fits no box; both boxes fit proposal 2, the first falls back on proposal 0.
    assert infer([scores], [slots])[0].tolist() == [[1, 0, 1]]
    starved = Slots(
        torch.tensor([1, 1]), torch.zeros(3, 3, dtype=torch.bool), box_iou * torch.tensor([[0.1], [1], [1]])
    )
    assert infer([scores], [starved])[0].tolist() == [[0, 1, 1]]


def test_one_proposal_for_two_classes_goes_to_the_one_that_gains_more():
    scores = torch.tensor([[[0.0, 1.0, 2.0]]])
    slots = Slots(torch.tensor([1, 2]), torch.zeros(1, 1, dtype=torch.bool))
    assert infer([scores], [slots])[0].tolist() == [[2]]


def test_all_scores_equal_takes_the_first():
    scores = torch.zeros(2, 4, 2)
    labels = infer([scores], [Slots(torch.tensor([1]), torch.ones(4, 4, dtype=torch.bool))])[0]
    assert labels.tolist() == [[1, 0, 0, 0]] * 2


def test_no_proposal_gives_an_empty_labelling():
    slots = Slots(torch.tensor([1]), torch.zeros(0, 0, dtype=torch.bool))
    assert infer([torch.zeros(3, 0, 2)], [slots])[0].shape == (3, 0)


def test_bad_inputs():
    slots = Slots(torch.tensor([1]), torch.zeros(2, 2, dtype=torch.bool))
    with pytest.raises(NonFiniteError, match=r"scores\[0\]"):
        infer([torch.tensor([[[0.0, float("nan")], [0.0, 1.0]]])], [slots])
    with pytest.raises(InputError, match=r"expected \[Q, 2, J\]"):
        infer([torch.zeros(1, 3, 2)], [slots])
    with pytest.raises(InputError, match="box_iou"):
        Slots(torch.tensor([1]), torch.zeros(2, 2, dtype=torch.bool), torch.zeros(3, 1))
