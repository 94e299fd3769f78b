"""Labels against their boxes, by hand: who stands for which box, what lies outside."""

import numpy as np
import pytest

from wsis.method.conditional.label_sets import SampleSet
from wsis.method.evaluation.box_labels import box_masks, box_places, fitted, labels_of_boxes
from wsis.method.masks.proposal_set import make_proposal_set

SIZE = (10, 40)


def proposals():
    """Ten superpixels of 10 x 4 pixels side by side, so that proposals are spans of columns."""
    superpixels = np.repeat(np.arange(10), 4)[None].repeat(10, axis=0).astype(np.int32)
    members = np.zeros((4, 10), bool)
    members[0, 0:2] = members[1, 0:3] = members[2, 5:7] = members[3, 9:] = True
    edges = np.stack([np.arange(9), np.arange(1, 10)], axis=1).astype(np.int32)
    ones = np.ones(9, np.float32)
    return make_proposal_set(superpixels, members, np.array([1, 0.9, 0.8, 0.7]), (edges, ones, ones), SIZE)


BOXES = np.array([[0, 0, 8, 10], [20, 0, 28, 10], [30, 0, 34, 10]], np.float32)


def test_a_box_is_fitted_by_a_proposal_of_its_box() -> None:
    assert fitted(BOXES, proposals().boxes).tolist() == [True, True, False]
    assert fitted(BOXES, proposals().boxes[:0]).tolist() == [False] * 3


def test_pixels_of_boxes_are_those_whose_centres_lie_inside() -> None:
    masks = box_masks(np.array([[0.4, 0, 2.6, 1], [-3, 8, 1, 99]]), SIZE)
    assert np.argwhere(masks[0]).tolist() == [[0, 0], [0, 1], [0, 2]]
    assert np.argwhere(masks[1]).tolist() == [[8, 0], [9, 0]]
    places = box_places(BOXES, np.array([1, 1, 2]), SIZE)
    assert places["area"].tolist() == pytest.approx([0.2, 0.2, 0.1])
    assert places["alone"].tolist() == [False, False, True] and not places["touching"].any()


def test_labels_stand_for_boxes_one_to_one() -> None:
    """Seven samples: proposal 1 (4 of its 12 columns outside) for box 0 and 2 for box 1; box 2 is of class 2, and the
    label of its class does not meet it. Three samples: box 1 alone, by two equal labels, of which one has no box."""
    samples = SampleSet(
        np.array([7, 3], np.int32),
        np.array([0, 3, 5], np.int32),
        np.array([1, 2, 3, 2, 2], np.int32),
        np.array([1, 1, 2, 1, 1], np.int32),
        np.ones(5, np.float32),
    )
    found = labels_of_boxes(proposals(), samples, BOXES, np.array([1, 1, 2]))
    assert found.labelled.tolist() == pytest.approx([0.7, 1.0, 0.0])
    assert found.outside[:2].tolist() == pytest.approx([1 / 3, 0.0]) and np.isnan(found.outside[2])
    assert found.overlap.tolist() == pytest.approx([0.7 * 2 / 3, 1.0, 0.0])


def test_the_sum_of_overlaps_decides() -> None:
    """One label that fits box 0 well, and one that meets both boxes: each box gets one."""
    boxes = np.array([[0, 0, 8, 10], [4, 0, 14, 10]], np.float32)
    samples = SampleSet(
        np.array([1], np.int32), np.array([0, 2], np.int32), np.array([1, 0], np.int32),
        np.ones(2, np.int32), np.ones(2, np.float32),
    )  # fmt: skip
    found = labels_of_boxes(proposals(), samples, boxes, np.array([1, 1]))
    assert found.overlap.tolist() == pytest.approx([1.0, 8 / 14])
