"""What becomes detections: marginals of pseudo labels, labelled proposals."""

from dataclasses import replace

import numpy as np
import pytest

from wsis.errors import InputError
from wsis.method.conditional.label_sets import SampleSet
from wsis.method.evaluation.sources import (
    LabelledProposals,
    network_detections,
    proposal_detections,
    pseudo_label_marginals,
)
from wsis.method.masks import rle
from wsis.method.masks.network_detections import NetworkDetections
from wsis.method.masks.paste import paste_masks
from wsis.method.masks.proposal_set import Regions

SUPERPIXELS = np.array([[0, 0, 1, 1], [2, 2, 3, 3]], dtype=np.int32)
MEMBERSHIP = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]], dtype=bool)
REGIONS = Regions(SUPERPIXELS, MEMBERSHIP, (2, 4))


def marginals(*sets, **named):
    return pseudo_label_marginals(SampleSet(*sets, **named))


def test_marginals_by_hand():
    """K = 10: sample {(3, cat), (5, dog)} seven times, {(3, cat)} twice, {(4, cat), (5, dog)} once.

    (3, cat): 9 of 10, margins 1 (seven) and 4 (two): mean 15/9; (5, dog): 8 of 10, margins -1 (seven) and
    0 (once): mean -7/8; (4, cat): 1 of 10, margin 2. Score (count + (1 + m / (1 + |m|)) / 2) / 11.
    """
    result = marginals(
        multiplicities=np.array([7, 2, 1]),
        offsets=np.array([0, 2, 3, 5]),
        proposal_ids=np.array([3, 5, 3, 4, 5]),
        classes=np.array([1, 2, 1, 1, 2]),
        scores=np.array([1.0, -1.0, 4.0, 2.0, 0.0], dtype=np.float32),
    )
    assert result.proposal_ids.tolist() == [3, 4, 5] and result.labels.tolist() == [1, 1, 2]
    expected = [(9 + (1 + 15 / 24) / 2) / 11, (1 + (1 + 2 / 3) / 2) / 11, (8 + (1 - 7 / 15) / 2) / 11]
    np.testing.assert_allclose(result.scores, expected, rtol=1e-6)


def test_marginals_rank_by_share_then_margin():
    """Shares 2, 1, 1 of 2 with margins -1000, 1000, 999: the share decides, the margin breaks the tie."""
    result = marginals(
        np.array([1, 1]),
        np.array([0, 2, 4]),
        np.array([0, 1, 0, 2]),
        np.array([1, 1, 1, 1]),
        np.array([-1000, 1000, -1000, 999], dtype=np.float32),
    )
    assert np.argsort(-result.scores).tolist() == [0, 1, 2]
    assert result.scores[1] > result.scores[2] > 1 / 3 and result.scores.max() < 1


def test_a_proposal_taken_twice_in_a_sample_counts_once():
    result = marginals(
        np.array([2]), np.array([0, 2]), np.array([4, 4]), np.array([1, 1]), np.array([0.0, 0.0])
    )
    np.testing.assert_allclose(result.scores, [2.5 / 3])


def test_marginals_of_empty_samples():
    none = marginals(
        np.array([10]), np.array([0, 0]), np.zeros(0, int), np.zeros(0, int), np.zeros(0, np.float32)
    )
    assert len(none.scores) == len(none.proposal_ids) == 0


def test_proposals_become_masks_of_the_image():
    labelled = LabelledProposals(np.array([2, 0], np.int32), np.array([1, 2], np.int32), np.array([0.3, 0.9]))
    result = proposal_detections(replace(REGIONS, image_size=(4, 8)), labelled)
    masks = rle.decode_many(result.counts, (4, 8))
    np.testing.assert_array_equal(masks[0], np.repeat([[0], [0], [1], [1]], 8, axis=1))
    expected = np.zeros((4, 8), bool)
    expected[:2, :4] = True
    np.testing.assert_array_equal(masks[1], expected)
    assert result.labels.tolist() == [1, 2] and result.scores.tolist() == [0.3, 0.9]


def test_many_proposals_cross_the_chunk_border():
    ids = np.arange(70) % 4
    labelled = LabelledProposals(ids.astype(np.int32), np.ones(70, np.int32), np.ones(70))
    result = proposal_detections(REGIONS, labelled)
    assert [rle.area(one, (2, 4)) for one in result.counts] == [[2, 4, 4, 8][i] for i in ids]


def test_unknown_proposal_is_named():
    labelled = LabelledProposals(np.array([4], np.int32), np.array([1], np.int32), np.ones(1))
    with pytest.raises(InputError, match=r"proposal_ids: expected 0\.\.3, got 4"):
        proposal_detections(REGIONS, labelled)


def test_network_detections_are_pasted():
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 256, (3, 28, 28), dtype=np.uint8)
    boxes = np.array([[0, 0, 10, 10], [5, 2, 30, 18], [-4, -4, 40, 25]], np.float32)
    labels, scores = np.array([1, 2, 1]), np.array([0.9, 0.8, 0.7])
    result = network_detections(NetworkDetections(np.zeros((3, 3)), boxes, masks, labels, scores, (20, 35)))
    np.testing.assert_array_equal(
        rle.decode_many(result.counts, (20, 35)), paste_masks(masks, boxes, (20, 35))
    )
