"""Joint inference over the marks of an image: against every choice, and what excludes what."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsis.method.conditional.exclusion import EMPTY, Exclusion, SeedSlots, joint_picks
from wsis.method.conditional.inference import Slots, infer


def random_problem(seed, slots, proposals, problems=1):
    """Values, columns, and two random symmetric relations with a True diagonal."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(problems, slots, proposals, generator=generator, dtype=torch.float64) + 0.5
    values[torch.rand(values.shape, generator=generator) < 0.2] = float("-inf")
    columns = torch.randint(1, 3, (slots,), generator=generator)
    relations = []
    for share in (0.3, 0.1):
        apart = torch.rand(proposals, proposals, generator=generator) < share
        relations.append(apart | apart.T | torch.eye(proposals, dtype=torch.bool))
    return values, columns, *relations


def largest_sum(values, columns, same, other):
    """Over every choice, one problem [A, P]."""
    slots, proposals = values.shape
    best = 0.0
    for choice in itertools.product([EMPTY, *range(proposals)], repeat=slots):
        if allowed(choice, columns, same, other):
            taken = (float(values[slot, u]) for slot, u in enumerate(choice) if u != EMPTY)
            best = max(best, sum(taken))
    return best


def allowed(picks, columns, same, other):
    return not any(
        (same if columns[a] == columns[b] else other)[picks[a], picks[b]]
        for a, b in itertools.combinations(range(len(picks)), 2)
        if EMPTY not in (picks[a], picks[b])
    )


def picks_of(values, columns, same, other):
    holds = torch.ones(values.shape[:0:-1], dtype=torch.bool)
    return joint_picks([values], [columns], Exclusion([len(values)], [SeedSlots(holds, same, other)]))


def worth(values, picks):
    return sum(float(values[slot, u]) for slot, u in enumerate(picks) if u != EMPTY)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(1, 3), st.integers(1, 5))
def test_up_to_three_slots_are_exact(seed, slots, proposals):
    values, columns, same, other = random_problem(seed, slots, proposals)
    (picks,) = picks_of(values, columns, same, other).tolist()
    assert allowed(picks, columns, same, other)
    assert worth(values[0], picks) == pytest.approx(largest_sum(values[0], columns, same, other))


def test_more_slots_are_near_the_best_and_rows_do_not_depend_on_one_another():
    found, best = 0.0, 0.0
    for seed in range(12):
        values, columns, same, other = random_problem(seed, slots=4, proposals=5, problems=3)
        together = picks_of(values, columns, same, other)
        for row in range(3):
            (picks,) = picks_of(values[row : row + 1], columns, same, other).tolist()
            assert together[row].tolist() == picks and allowed(picks, columns, same, other)
            found += worth(values[row], picks)
            best += largest_sum(values[row], columns, same, other)
    assert 0.96 * best <= found <= best + 1e-9


def marked(holds, same, columns):
    """Slots whose marks the given proposals hold, bool [A][P]."""
    same = torch.tensor(same, dtype=torch.bool)
    own = torch.eye(len(same), dtype=torch.bool)
    seeds = SeedSlots(torch.tensor(holds, dtype=torch.bool).T, same | own, own)
    return Slots(torch.tensor(columns), own, seeds=seeds)


HERD = [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]  # 0 holds 1 and 2; 3 lies elsewhere


def test_each_mark_gets_an_instance_beside_the_others_whatever_the_scores():
    slots = marked([[1, 1, 0, 0], [1, 0, 1, 0]], HERD, [1, 1])
    scores = torch.tensor([[[0.0, 9.0], [0.0, -5.0], [0.0, -6.0], [0.0, -1.0]]])
    assert infer([scores], [slots])[0].tolist() == [[0, 1, 1, 0]]
    # without the higher-order term the best sum is the herd as one
    assert infer([scores], [slots], higher_order=False)[0].tolist() == [[1, 0, 0, 0]]


def test_what_beats_the_background_joins_where_nothing_excludes_it():
    slots = marked([[1, 1, 0, 0], [1, 0, 1, 0]], HERD, [1, 1])
    scores = torch.tensor([[[0.0, 9.0], [0.0, 1.0], [0.0, 1.0], [0.0, 2.0]]])
    assert infer([scores], [slots])[0].tolist() == [[0, 1, 1, 1]]


def plain_picks(scores, same, other):
    """Terms U and U+P: what beats the background, best first, nothing that an earlier pick excludes; scores [P, J]."""
    entries = [
        (float(scores[u, j] - scores[u, 0]), j, u)
        for u in range(len(scores))
        for j in range(1, scores.shape[1])
    ]
    labels = [0] * len(scores)
    for gain, j, u in sorted(entries, key=lambda entry: -entry[0]):
        taken = [(v, label) for v, label in enumerate(labels) if label]
        if gain > 0 and not any((same if label == j else other)[v, u] for v, label in taken):
            labels[u] = j
    return labels


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(1, 3), st.integers(1, 6))
def test_without_the_higher_order_term_the_marks_say_nothing(seed, marks, proposals):
    _, columns, same, other = random_problem(seed, marks, proposals)
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, proposals, 3, generator=generator)
    holds = torch.rand(proposals, marks, generator=generator) < 0.5
    slots = Slots(columns, same, seeds=SeedSlots(holds, same, other))
    (found,) = infer([scores], [slots], higher_order=False)
    assert found.tolist() == [plain_picks(one, same, other) for one in scores]


def test_marks_of_two_classes_never_share_a_proposal_and_images_are_apart():
    slots = marked([[1, 0], [1, 1]], torch.zeros(2, 2).tolist(), [1, 2])
    scores = torch.tensor([[[0.0, 1.0, 5.0], [0.0, 0.0, -3.0]]])
    other = Slots(torch.tensor([1]), torch.zeros(2, 2, dtype=torch.bool))
    found = infer([scores, scores[..., :2], scores], [slots, other, slots])
    assert [labels.tolist() for labels in found] == [[[1, 2]], [[1, 0]], [[1, 2]]]
