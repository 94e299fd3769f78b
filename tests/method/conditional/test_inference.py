import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.method.conditional.inference_references import plain_algorithm, printed_algorithm
from wsis.errors import InputError, NonFiniteError
from wsis.method.conditional.inference import Slots, infer


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
        Slots(torch.from_numpy(c), torch.from_numpy(s), None if b is None else torch.from_numpy(b), 0.5)
        for _, c, s, b, _ in cases
    ]
    results = infer([torch.from_numpy(c[0]) for c in cases], slots, higher_order=higher_order)
    for result, (scores, columns, suppress, boxes, _) in zip(results, cases, strict=True):
        for row, score in zip(result.tolist(), scores, strict=True):
            assert row == plain_algorithm(score, columns, suppress, boxes, higher_order=higher_order)


def nested_intervals(rng, proposals, cells=24):
    """Containment of random intervals of a line, and of chains in which each one holds the next: bool [P, P]."""
    start = rng.integers(0, cells - 1, proposals)
    stop = start + 1 + rng.integers(0, cells - start)
    chain = rng.random() < 0.5
    if chain:  # every second one is the first interval shrunk step by step
        links = np.arange(0, proposals, 2)
        start[links] = start[0]
        stop[links] = np.maximum(start[0] + 1, stop[0] - np.arange(len(links)))
    line = (start[:, None] <= np.arange(cells)) & (np.arange(cells) < stop[:, None])
    common = line.astype(float) @ line.T
    return common / line.sum(1)[None] > rng.choice([0.3, 0.5, 0.9])


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(1, 30), st.integers(1, 6), st.integers(1, 10), st.booleans())
def test_containment_chains_many_classes_and_ties_equal_algorithm_1(seed, proposals, slots, samples, equal):
    rng = np.random.default_rng(seed)
    columns, suppress = np.arange(1, slots + 1), nested_intervals(rng, proposals)
    scores = rng.normal(size=(samples, proposals, slots + 1)).astype(np.float32)
    if equal:  # a handful of values: ties between proposals, between classes and with the background
        scores = np.round(scores)
    boxes = rng.random((proposals, slots)).astype(np.float32) if rng.random() < 0.3 else None
    case = Slots(
        torch.from_numpy(columns),
        torch.from_numpy(suppress),
        None if boxes is None else torch.from_numpy(boxes),
        0.5,
    )
    result = infer([torch.from_numpy(scores)], [case])[0]
    for row, score in zip(result.tolist(), scores, strict=True):
        assert row == plain_algorithm(score, columns, suppress, boxes)


def test_equals_algorithm_1_as_printed_where_no_two_classes_want_one_proposal():
    """The printed loop treats each class by itself; where its lists are disjoint, nothing of ours may differ."""
    compared = 0
    for seed in range(1500):
        rng = np.random.default_rng(seed)
        proposals, slots = int(rng.integers(1, 16)), int(rng.integers(1, 5))
        columns, suppress = np.arange(1, slots + 1), nested_intervals(rng, proposals)
        scores = rng.normal(size=(proposals, slots + 1)).astype(np.float32)
        scores = np.round(scores) if seed % 3 == 0 else scores
        scores[:, 1:] -= rng.choice([0.0, 1.5])  # few beat the background: lists of one
        chosen = printed_algorithm(scores, columns, suppress)
        flat = [u for ids in chosen for u in ids]
        if len(flat) != len(set(flat)):
            continue
        compared += 1
        expected = np.zeros(proposals, dtype=int)
        for j, ids in zip(columns, chosen, strict=True):
            expected[ids] = j
        case = Slots(torch.from_numpy(columns), torch.from_numpy(suppress))
        result = infer([torch.from_numpy(scores)[None]], [case])[0][0]
        assert result.tolist() == expected.tolist(), seed
    assert compared > 500


def test_a_chain_of_nested_proposals_by_hand():
    # r0 holds r1 holds r2: areas 4, 3, 1. Taking r0 removes both; taking r1 removes r2 and r0 (3/4 > 0.5); taking
    # r2 removes neither (1/3 and 1/4).
    containment = torch.tensor([[1, 1, 1], [0.75, 1, 1], [0.25, 1 / 3, 1]])
    slots = Slots(torch.tensor([1]), containment > 0.5)
    for gains, expected in (
        ((3.0, 2.0, 1.0), [1, 0, 0]),
        ((2.0, 3.0, 1.0), [0, 1, 0]),
        ((1.0, 2.0, 3.0), [0, 1, 1]),
    ):
        scores = torch.stack([torch.zeros(3), torch.tensor(gains)], 1)[None]
        assert infer([scores], [slots])[0].tolist() == [expected]


def test_an_annotated_class_without_candidates_stays_empty_and_nothing_else_changes():
    # Two classes, one proposal: one class has no candidate left (impossible labelling, eq. 4); no error, no copy.
    scores = torch.tensor([[[0.0, 3.0, 2.0]], [[0.0, -3.0, -2.0]]])
    slots = Slots(torch.tensor([1, 2]), torch.ones(1, 1, dtype=torch.bool))
    assert infer([scores], [slots])[0].tolist() == [[1], [2]]
    # A box that no proposal overlaps gets the best of them all the same: "every box gets one".
    boxes = Slots(torch.tensor([1]), torch.zeros(2, 2, dtype=torch.bool), torch.tensor([[0.0], [0.0]]))
    assert infer([torch.tensor([[[0.0, 1.0], [0.0, 2.0]]])], [boxes])[0].tolist() == [[1, 0]]
    assert infer([torch.tensor([[[0.0, 1.0], [0.0, 2.0]]])], [boxes], higher_order=False)[0].tolist() == [
        [0, 0]
    ]


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
    slots = Slots(torch.tensor([1, 1]), torch.zeros(3, 3, dtype=torch.bool), box_iou, 0.5)
    # Proposal 1 has the best score but fits no box; both boxes fit proposal 2, the first falls back on proposal 0.
    assert infer([scores], [slots])[0].tolist() == [[1, 0, 1]]
    starved = Slots(
        torch.tensor([1, 1]),
        torch.zeros(3, 3, dtype=torch.bool),
        box_iou * torch.tensor([[0.1], [1], [1]]),
        0.5,
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
