"""Where the objects are said to be: marks of seeds and of detections, and the slots they become."""

import numpy as np
import torch

from tests.method.conditional.conditional_cases import random_case
from wsis.method.dissimilarity.object_marks import (
    ObjectMark,
    marks_of_detections,
    marks_of_groups,
    slots_of_marks,
)
from wsis.method.dissimilarity.seed_groups import SeedGroup


def test_a_group_marks_the_superpixels_of_its_seeds():
    groups = [SeedGroup(2, (0, 2), 5, 1.0), SeedGroup(1, (1,), 3, 0.5)]
    assert marks_of_groups(groups, torch.tensor([7, 4, 7])) == [ObjectMark(2, (7,)), ObjectMark(1, (4,))]


def test_sure_detections_mark_where_most_of_them_lies():
    areas = torch.tensor([4.0, 2.0, 4.0, 4.0])
    masks = torch.tensor(
        [
            [0.4, 1.0, 0.0, 0.0],  # 1.6, 2
            [0.0, 0.9, 0.1, 0.0],  # inside the first
            [0.0, 0.0, 0.8, 0.6],
            [0.0, 0.0, 0.0, 1.0],  # unsure
            [0.0, 0.0, 0.5, 0.0],  # unsure, the surest of its class
        ]
    )
    scores = np.array([0.9, 0.8, 0.15, 0.14, 0.1], np.float32)
    found = marks_of_detections(np.array([1, 1, 1, 1, 2]), scores, masks, areas)
    assert found == [ObjectMark(1, (1,)), ObjectMark(1, (2,)), ObjectMark(2, (2,))]
    assert marks_of_detections(np.zeros(0, int), scores[:0], masks[:0], areas) == []


def test_slots_are_filled_by_what_holds_the_mark_and_every_class_has_one():
    _, membership, _, graph = random_case(4, proposals=12)
    classes = torch.tensor([3, 5])
    slots = slots_of_marks([ObjectMark(5, (2, 6)), ObjectMark(5, (9,))], graph, classes, graph.contains(0.5))
    assert slots.columns.tolist() == [2, 2, 1]
    np.testing.assert_array_equal(slots.seeds.holds[:, 0], membership[:, 2] | membership[:, 6])
    np.testing.assert_array_equal(slots.seeds.holds[:, 1], membership[:, 9])
    assert slots.seeds.holds[:, 2].all()
    shares = graph.containment()
    larger, smaller = torch.maximum(shares, shares.T), torch.minimum(shares, shares.T)
    torch.testing.assert_close(slots.seeds.same, larger > 0.3)
    torch.testing.assert_close(slots.seeds.other, smaller > 0.5)
