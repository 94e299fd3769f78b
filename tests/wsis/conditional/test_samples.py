import numpy as np
import pytest
import torch
from conditional_cases import random_case

from wsis.conditional.samples import SampleSet, deduplicate
from wsis.errors import InputError


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


def test_samples_become_masks():
    superpixels, membership, _, _ = random_case(0)
    labels = torch.zeros(1, 12, dtype=torch.int64)
    labels[0, 4] = 1
    samples = deduplicate(labels, torch.zeros(1, 12, 2), torch.tensor([1]), np.arange(12))
    np.testing.assert_array_equal(samples.masks(0, superpixels, membership), membership[4][superpixels][None])
    with pytest.raises(InputError, match="proposal_ids: 4 of 3"):
        samples.masks(0, superpixels, membership[:3])


def test_broken_sets_are_refused():
    empty = np.zeros(0, dtype=np.int32)
    with pytest.raises(InputError, match="offsets: expected 2"):
        SampleSet(np.ones(1, dtype=np.int32), np.array([0, 3], dtype=np.int32), empty, empty, empty)
