import numpy as np
import pytest

from tests.method.conditional.conditional_cases import random_case
from wsis.errors import InputError
from wsis.method.conditional.filtering import boxed_rows, overlapping_rows, seed_superpixels


def test_seed_superpixels_hold_a_pixel_of_a_seed():
    superpixels, _, _, _ = random_case(0)
    height, width = superpixels.shape
    response = np.zeros((2, height, width), dtype=np.uint8)
    response[0, 2:4, 3:9] = 255
    response[1, 10, 10] = 76  # below 0.3 of the maximum
    peaks = np.array([[1, 30, 35], [2, 0, 0]])  # in an image of twice the size: pixels (15, 17) and (0, 0)
    hit = seed_superpixels(superpixels, peaks, response, (2 * height, 2 * width), 20)
    expected = {*superpixels[2:4, 3:9].ravel().tolist(), int(superpixels[15, 17]), int(superpixels[0, 0])}
    assert set(np.flatnonzero(hit).tolist()) == expected
    assert not seed_superpixels(superpixels, peaks[:0], response[:0], (height, width), 20).any()


def test_proposals_that_overlap_a_seed_stay_best_first():
    membership = np.eye(4, dtype=bool) | np.eye(4, k=1, dtype=bool)
    hit = np.array([False, False, True, False])
    assert overlapping_rows(membership, hit, 10).tolist() == [1, 2]
    assert overlapping_rows(membership, hit, 1).tolist() == [1]
    assert overlapping_rows(membership, np.zeros(4, dtype=bool), 3).tolist() == [0, 1, 2]


def test_boxes_keep_what_fits_and_each_its_best():
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], dtype=np.float32)
    proposals = np.array(
        [[0, 0, 9, 10], [0, 0, 10, 10], [20, 20, 30, 30], [48, 48, 80, 80], [0, 0, 10, 9]], dtype=np.float32
    )
    assert boxed_rows(proposals, boxes, 0.5, 10).tolist() == [
        0,
        1,
        3,
        4,
    ]  # 3 is below 0.5, but the box's best
    assert boxed_rows(proposals, boxes, 0.5, 1).tolist() == [1, 3]  # never less than one a box
    assert boxed_rows(proposals, boxes, 0.5, 3).tolist() == [0, 1, 3]
    with pytest.raises(InputError, match="at least one annotated box"):
        boxed_rows(proposals, boxes[:0], 0.5, 3)
