import pytest
import torch

from wsis.method.dissimilarity.diversity import diversity_statistics

MEMBERSHIP = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]], dtype=torch.bool)
AREAS = torch.tensor([10.0, 20.0, 30.0, 40.0])


def test_hand_worked_diversity():
    labels = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    # label maps {0,1}, {1,2}, {3}: IoU 20/60, 0, 0
    statistics = diversity_statistics(labels, MEMBERSHIP, AREAS)
    assert statistics.mean_distance == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert statistics.distinct == 3


def test_classes_are_told_apart_and_equal_samples_are_not_diverse():
    other_class = diversity_statistics(torch.tensor([[1, 0, 0], [2, 0, 0]]), MEMBERSHIP, AREAS)
    assert (other_class.mean_distance, other_class.distinct) == (1.0, 2)
    equal = diversity_statistics(torch.tensor([[1, 0, 2]] * 4), MEMBERSHIP, AREAS)
    assert (equal.mean_distance, equal.distinct) == (0.0, 1)
    empty = diversity_statistics(torch.zeros(3, 3, dtype=torch.int64), MEMBERSHIP, AREAS)
    assert (empty.mean_distance, empty.distinct) == (0.0, 1)
    single = diversity_statistics(torch.tensor([[1, 0, 0]]), MEMBERSHIP, AREAS)
    assert (single.mean_distance, single.distinct) == (0.0, 1)
