import numpy as np
import pytest
import torch

from tests.method.conditional.conditional_cases import random_case
from wsis.errors import InputError
from wsis.method.conditional.label_sets import deduplicate
from wsis.method.masks.proposal_set import Regions


def test_equal_samples_are_stored_once():
    labels = torch.tensor([[0, 2, 0], [1, 0, 2], [0, 2, 0], [0, 0, 0]])
    scores = torch.zeros(4, 3, 3)
    scores[0, 1], scores[2, 1] = torch.tensor([1.0, 0.0, 4.0]), torch.tensor([0.0, 0.0, 5.0])
    samples = deduplicate(labels, scores, torch.tensor([3, 7]), np.array([10, 20, 30]))
    assert samples.multiplicities.tolist() == [2, 1, 1] and samples.num_samples == 4
    assert samples.offsets.tolist() == [0, 1, 3, 3]
    assert [part.tolist() for part in samples.unique(0)] == [[20], [7], [4.0]]
    assert [part.tolist() for part in samples.unique(1)[:2]] == [[10, 30], [3, 7]]
    assert len(samples.unique(2)[0]) == 0


@pytest.mark.parametrize("size", [(16, 20), (33, 61), (5, 7)])
def test_samples_become_masks(size):
    superpixels, membership, _, _ = random_case(0)
    labels = torch.tensor([[0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0], [0] * 12])
    samples = deduplicate(labels, torch.zeros(2, 12, 3), torch.tensor([1, 4]), np.arange(12)[::-1])
    regions = Regions(superpixels, membership, size)
    expected = []
    for proposal in (7, 4):  # rows of the unfiltered proposals, pixel by pixel at the image's size
        mask = [
            [
                membership[
                    proposal,
                    superpixels[(2 * y + 1) * 16 // (2 * size[0]), (2 * x + 1) * 20 // (2 * size[1])],
                ]
                for x in range(size[1])
            ]
            for y in range(size[0])
        ]
        expected.append(mask)
    np.testing.assert_array_equal(samples.masks(0, regions), expected)
    assert samples.masks(1, regions).shape == (0, *size)
    np.testing.assert_array_equal(regions.masks(np.array([4, 4])), [expected[1]] * 2)


@pytest.mark.parametrize("ids", [[0, 3], [-1]])
def test_ids_of_no_proposal_are_named(ids):
    superpixels, membership, _, _ = random_case(0)
    with pytest.raises(InputError, match=r"proposal_ids: expected 0\.\.2, got"):
        Regions(superpixels, membership[:3], (16, 20)).masks(np.array(ids))


@pytest.mark.parametrize("count", [0, 1])
def test_no_and_one_proposal_give_one_distinct_sample(count):
    samples = deduplicate(
        torch.ones(5, count, dtype=torch.int64), torch.rand(5, count, 2), torch.tensor([3]), np.arange(count)
    )
    assert samples.multiplicities.tolist() == [5] and samples.offsets.tolist() == [0, count]
    assert samples.classes.tolist() == [3] * count
