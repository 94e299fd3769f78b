"""Which images are held back, how often they are looked at, and which weights are kept."""

import math
from itertools import chain

import pytest
import torch

from wsis.engine.weight_selection import BestWeights, HeldBackSettings, split, steps_between

IDS = [f"im{i}" for i in range(40)]


def held(turn, ids=IDS, seed=0, **settings):
    return split(ids, HeldBackSettings(**settings), (seed, 6), turn)[1]


def test_split_is_a_partition_in_the_given_order():
    train, back = split(IDS, HeldBackSettings(held_back=0.2), (0, 6), 3)
    assert len(back) == 8
    assert sorted(train + back, key=IDS.index) == IDS and not set(train) & set(back)
    assert train == [i for i in IDS if i in train] and back == [i for i in IDS if i in back]


def test_every_image_is_held_back_once_before_any_is_twice():
    turns = [held(t, held_back=0.1) for t in range(10)]
    assert sorted(chain(*turns), key=IDS.index) == IDS
    assert held(10, held_back=0.1) == turns[0]
    assert held(0, held_back=0.1) == turns[0] != held(0, seed=1, held_back=0.1)


@pytest.mark.parametrize(
    ("count", "settings", "expected"),
    [
        (12, {}, 0),  # four are a third of them
        (15, {}, 0),
        (16, {}, 4),
        (100, {}, 10),
        (1000, {}, 32),
        (1000, {"held_back": 0.0}, 0),
        (12, {"held_back": 0.34}, 4),  # asked for
        (12, {"held_back": 0.5}, 6),
        (0, {}, 0),
        (1, {"held_back": 0.5}, 0),
    ],
)
def test_how_many(count, settings, expected):
    train, back = split([str(i) for i in range(count)], HeldBackSettings(**settings), (0,), 1)
    assert (len(back), len(train)) == (expected, count - expected)


@pytest.mark.parametrize(
    ("total", "epoch", "cost", "every"),
    [
        (1000, 100.0, 0.01, 20),  # a fifth of an epoch, as asked
        (1000, 100.0, 5.0, 100),  # ten validations of five steps are 5 %
        (1000, 100.0, 49.0, 1000),
        (1000, 100.0, 51.0, 1000),  # too dear even once: the last step alone
        (3, 1.0, 0.5, 3),
        (1, 1.0, 0.1, 1),
    ],
)
def test_validations_stay_within_their_share(total, epoch, cost, every):
    assert steps_between(total, epoch, cost) == every
    made = sum(
        BestWeights(torch.nn.Identity(), lambda: [0.0], every, 1).due(s + 1, total) for s in range(total)
    )
    assert made * cost <= 0.05 * total or made == 1


def follow(values, patience=2):
    """BestWeights after validations with these values; the model's weight is the number of the validation."""
    model, at = torch.nn.Linear(1, 1, bias=False), [0]
    best = BestWeights(model, lambda: values[at[0]], every=1, patience=patience)
    exhausted = []
    for index, of_images in enumerate(values):
        at[0] = index
        model.weight.data.fill_(float(index))
        assert best.update(index + 1) == pytest.approx(sum(of_images) / len(of_images))
        exhausted.append(best.exhausted)
    return best, exhausted


def test_best_weights_follow_the_least_value_and_forget_nothing():
    best, exhausted = follow([[3.0], [2.0], [2.0], [2.5], [1.0]])
    assert exhausted == [False, False, False, True, False]  # equal is no improvement
    assert (best.value, best.step, best.waited) == (1.0, 5, 0)
    other = BestWeights(torch.nn.Linear(1, 1, bias=False), lambda: [math.nan], every=1, patience=2)
    other.load_state_dict(best.state_dict())
    best.model.weight.data.fill_(9.0)  # the kept ones are copies
    other.restore()
    assert other.model.weight.item() == 4.0


def test_later_weights_are_kept_unless_they_are_clearly_worse():
    first = [1.0, 2.0, 3.0, 4.0]
    # Worse by .25 on average, by 1 on one image of four: the standard error of the difference is .25.
    unclear, _ = follow([first, [1.0, 2.0, 3.0, 5.0]])
    assert (unclear.step, unclear.value, unclear.waited) == (2, 2.75, 1)
    clear, _ = follow([first, [1.25, 2.26, 3.24, 4.26]])  # by as much, but on every image
    assert (clear.step, clear.value) == (1, 2.5)


def test_what_is_compared_with_stays_the_best_so_that_nothing_creeps():
    steps = [[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 5.0], [1.0, 2.0, 4.0, 5.0], [1.5, 2.5, 4.0, 5.0]]
    best, exhausted = follow(steps, patience=3)
    assert best.step == 2 and best.least == steps[0]  # the third is worse by .5 with a standard error of .29
    assert exhausted == [False, False, False, True]


def test_of_one_value_any_worse_one_is_clear():
    assert follow([[1.0], [1.1]])[0].step == 1
