"""Classes that a classifier has not learned to place, or to tell at all: planted ones are named, others are not."""

import numpy as np

from wsis.method.prm.learning import not_above_chance, spread_responses


def test_responses_over_whole_images_are_counted_by_class() -> None:
    everywhere, half = np.full((4, 5), 9, np.uint8), np.zeros((4, 5), np.uint8)
    half[:2] = 200
    records = [
        {"response_classes": np.array([1, 3]), "class_response_maps": np.stack([everywhere, half])}
        for _ in range(6)
    ] + [{"response_classes": np.array([1]), "class_response_maps": half[None]} for _ in range(4)]
    assert spread_responses(records, ["cat", "dog", "cow"]) == {"cat": 0.6}  # cow: six images alone
    assert spread_responses([], ["cat"]) == {}


def test_a_class_that_is_ranked_by_chance_is_named_and_one_that_is_learned_is_not() -> None:
    rng = np.random.default_rng(1)
    labels = np.zeros((16, 4), bool)
    labels[:6, 0] = labels[4:10, 1] = labels[::2, 2] = labels[:2, 3] = True
    scores = labels + rng.normal(size=labels.shape) * 0.4
    assert not_above_chance(scores, labels) == []
    scores[:, 1] = 0.1 * rng.normal(size=16) - labels[:, 1]  # worse than chance
    scores[:, 2] = 0.0  # one score for all
    scores[:, 3] = 0.0 - labels[:, 3]  # two images alone: not judged
    assert 1 in not_above_chance(scores, labels) and not {0, 3} & set(not_above_chance(scores, labels))


def test_a_class_of_every_image_is_not_judged_by_its_rank() -> None:
    labels = np.ones((8, 1), bool)
    assert not_above_chance(np.arange(8.0)[:, None], labels) == []
    labels[:3] = False
    assert not_above_chance(np.r_[8.0:0:-1][:, None], labels) == [0]
