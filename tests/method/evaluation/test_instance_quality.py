"""Instance quality on intervals: found, merged, split, missed, spurious."""

import math

import numpy as np
import pytest

from wsis.method.evaluation.instance_quality import (
    STATES,
    InstanceQuality,
    instance_quality,
    instance_states,
    shares_of_masks,
)
from wsis.method.evaluation.instances import Detections, GroundTruth
from wsis.method.masks import rle

SIZE = (1, 100)


def span(start: int, stop: int) -> bytes:
    mask = np.zeros(SIZE, dtype=bool)
    mask[0, start:stop] = True
    return rle.encode(mask)


def quality(predicted: list[tuple[int, int]], true: list[tuple[int, int]], void=None, crowd=None):
    return instance_quality(
        Detections(
            SIZE, [span(*p) for p in predicted], np.ones(len(predicted), int), np.zeros(len(predicted))
        ),
        GroundTruth(SIZE, [span(*t) for t in true], np.ones(len(true), int), crowd, void),
    )


def states(result: InstanceQuality) -> tuple[float, float, float, float, float]:
    return result.found, result.merged, result.split, result.missed, result.spurious


def test_found_and_missed():
    """[0,8) finds [0,10) with IoU .8; [90,100) is spurious; [50,60) is missed: mean best IoU .4."""
    result = quality([(0, 8), (90, 100)], [(0, 10), (50, 60)])
    assert states(result) == (1, 0, 0, 1, 1)
    assert result.mean_best_iou == pytest.approx(0.4)
    assert (result.images, result.instances, result.predicted) == (1, 2, 2)


def test_merged():
    """[0,30) covers [0,10) and [20,30) wholly, IoU 1/3 with each."""
    assert states(quality([(0, 30)], [(0, 10), (20, 30)])) == (0, 2, 0, 0, 1)


def test_found_comes_before_merged():
    """[0,24) finds [0,14) (IoU 14/24) and swallows [16,24) (IoU 8/24)."""
    assert states(quality([(0, 24)], [(0, 14), (16, 24)])) == (1, 1, 0, 0, 0)


def test_split():
    """[0,10) and [10,18) lie in [0,24): IoU 10/24 and 8/24, together 18/24. Alone the first is a miss."""
    assert states(quality([(0, 10), (10, 18)], [(0, 24)])) == (0, 0, 1, 0, 2)
    assert states(quality([(0, 10)], [(0, 24)])) == (0, 0, 0, 1, 1)


def test_classes_do_not_help_each_other():
    result = instance_quality(
        Detections(SIZE, [span(0, 10)], np.array([2]), np.zeros(1)),
        GroundTruth(SIZE, [span(0, 10)], np.array([1])),
    )
    assert states(result) == (0, 0, 0, 1, 1)


def test_void_and_crowd():
    """With [10,20) void, [0,20) and [0,10) agree; a crowd is no instance to find."""
    assert quality([(0, 20)], [(0, 10)], void=span(10, 20)).mean_best_iou == 1
    assert quality([], [(0, 10)], crowd=np.array([True])).instances == 0


def test_sums_and_weights():
    one, two = quality([(0, 8)], [(0, 10)]), quality([], [(0, 10)])
    total = one.weighted(0.25) + two.weighted(0.75)
    assert total.mean_best_iou == pytest.approx(0.2) and total.images == 1 and total.missed == 0.75
    assert math.isnan(quality([], []).mean_best_iou)


def test_duplicates():
    """Three find [0,10), so two are duplicates; [40,44) finds nothing and is spurious, not double."""
    result = quality([(0, 10), (0, 8), (2, 10), (20, 30), (40, 44)], [(0, 10), (20, 30), (40, 60)])
    assert (result.found, result.duplicates, result.spurious) == (2, 2, 1)


def test_states_of_each_instance():
    """Found with a duplicate; merged with its neighbour, twice; missed."""
    predicted, true = [(0, 10), (1, 10), (20, 50)], [(0, 10), (20, 30), (40, 50), (80, 90)]
    shares = shares_of_masks(
        Detections(SIZE, [span(*p) for p in predicted], np.ones(3, int), np.zeros(3)),
        GroundTruth(SIZE, [span(*t) for t in true], np.ones(4, int)),
    )
    states = instance_states(shares)
    assert [STATES[i] for i in states[:, :4].argmax(axis=1)] == ["found", "merged", "merged", "missed"]
    assert states[:, :4].sum(axis=1).tolist() == [1] * 4 and states[:, 4].tolist() == [1, 0, 0, 0]
    none = instance_states(shares.take(np.zeros(0, int), np.arange(4)))
    assert none[:, 3].tolist() == [1] * 4 and none.sum() == 4
