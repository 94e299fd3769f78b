"""Matching decisions on IoU tables written by hand."""

import numpy as np
import pytest

from wsis.errors import InputError
from wsis.method.evaluation.matching import IGNORED, RIGHT, WRONG, match

HALF = np.array([0.5])


def test_threshold_itself():
    iou = np.array([[0.5]])
    assert match(iou, HALF, "voc")[0, 0] == RIGHT
    assert match(iou, HALF, "sds")[0, 0] == WRONG


def test_taken_separately_per_threshold():
    """First detection .6, second .9 on the same instance: at .5 the first takes it, at .75 the second."""
    decisions = match(np.array([[0.6], [0.9]]), np.array([0.5, 0.75]), "voc")
    np.testing.assert_array_equal(decisions, [[RIGHT, WRONG], [WRONG, RIGHT]])


def test_second_choice():
    iou = np.array([[0.9, 0.0], [0.8, 0.7]])
    np.testing.assert_array_equal(match(iou, HALF, "voc")[:, 0], [RIGHT, WRONG])
    np.testing.assert_array_equal(match(iou, HALF, "sds")[:, 0], [RIGHT, RIGHT])


def test_equal_ious_take_the_first_instance():
    iou = np.array([[0.8, 0.8], [0.9, 0.1]])
    np.testing.assert_array_equal(match(iou, HALF, "voc")[:, 0], [RIGHT, WRONG])


def test_crowd_takes_any_number_and_a_match_comes_before_it():
    iou = np.array([[0.6, 1.0], [0.0, 0.9], [0.0, 0.8], [0.0, 0.2]])
    decisions = match(iou, HALF, "voc", np.array([False, True]))
    np.testing.assert_array_equal(decisions[:, 0], [RIGHT, IGNORED, IGNORED, WRONG])


def test_empty():
    assert match(np.zeros((0, 3)), HALF).shape == (0, 1)
    np.testing.assert_array_equal(match(np.zeros((2, 0)), HALF), [[WRONG], [WRONG]])
    with pytest.raises(InputError, match="matching"):
        match(np.zeros((1, 1)), HALF, "best")
