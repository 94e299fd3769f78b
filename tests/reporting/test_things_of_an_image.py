"""One pool of masks an image: what is stored once, and which instances are the same thing through all sets."""

import numpy as np
import pytest

from wsis.method.masks import rle
from wsis.reporting.gallery.measures import agreement, best_ious, company, loss, mean_states, states
from wsis.reporting.pictures.instances import InstanceSet, MaskPool, matches, tracks


def rectangle(left: int, right: int, top: int = 0, bottom: int = 10) -> np.ndarray:
    mask = np.zeros((10, 40), bool)
    mask[top:bottom, left:right] = True
    return mask


def said(pool: MaskPool, *masks: np.ndarray, labels: tuple[int, ...] | None = None) -> InstanceSet:
    named = labels or (1,) * len(masks)
    stack = np.array(masks, bool).reshape(-1, 10, 40)
    return InstanceSet(pool.add(stack), np.array(named, np.int32))


def test_equal_masks_are_stored_once():
    pool = MaskPool((10, 40))
    one, other = said(pool, rectangle(0, 10), rectangle(20, 30)), said(pool, rectangle(20, 30))
    assert one.masks.tolist() == [0, 1] and other.masks.tolist() == [1]
    assert pool.counts == rle.encode_many(np.array([rectangle(0, 10), rectangle(20, 30)]))
    np.testing.assert_array_equal(
        pool.masks(np.array([1, 1, 0])), [rectangle(20, 30)] * 2 + [rectangle(0, 10)]
    )
    assert pool.masks(np.zeros(0, int)).shape == (0, 10, 40)


def test_overlaps_leave_void_out():
    """[0, 10) and [5, 15): 5 of 15 columns; without the first five columns: 5 of 10."""
    for void, iou in ((None, 5 / 15), (rectangle(0, 5), 5 / 10)):
        pool = MaskPool((10, 40), void)
        said(pool, rectangle(0, 10), rectangle(5, 15))
        assert pool.overlaps.iou[0, 1] == pytest.approx(iou)
    assert pool.overlaps.inside[1, 0] == pytest.approx(0.5)
    said(pool, rectangle(30, 40))
    assert pool.overlaps.iou.shape == (3, 3)  # made anew when a mask has come


def test_matches_are_one_to_one_and_best_first():
    iou = np.array([[0.9, 0.8], [0.85, 0.1], [0.0, 0.0]])
    assert matches(iou, 0.3) == [(0, 0, 0.9)]
    assert matches(iou, 0.05) == [(0, 0, 0.9), (1, 1, 0.1)]
    assert matches(np.zeros((0, 3)), 0.3) == matches(np.zeros((3, 0)), 0.3) == []


def test_a_thing_is_followed_through_sets():
    """It grows from set to set; one of another class at its place, and a second one in the same set, are others."""
    pool = MaskPool((10, 40))
    sets = [
        said(pool, rectangle(0, 10), rectangle(20, 30)),
        said(pool, rectangle(20, 32), rectangle(0, 14)),
        said(pool, rectangle(0, 20)),
        said(pool, rectangle(0, 10), labels=(2,)),
        said(pool, rectangle(0, 20), rectangle(0, 19)),
        said(pool),
    ]
    assert [one.tolist() for one in tracks(pool, sets)] == [[0, 1], [1, 0], [0], [2], [0, 3], []]


def test_agreement():
    """Pairs of IoU 1 and 1/2 and one thing that only the first has: 1.5 of 3."""
    pool = MaskPool((10, 40))
    one = said(pool, rectangle(0, 10), rectangle(20, 30), rectangle(35, 40))
    other = said(pool, rectangle(20, 25), rectangle(0, 10))
    assert agreement(pool, one, other) == agreement(pool, other, one) == pytest.approx(0.5)
    assert agreement(pool, one, one) == agreement(pool, said(pool), said(pool)) == 1.0
    assert agreement(pool, one, said(pool)) == 0.0
    assert agreement(pool, said(pool, rectangle(0, 10), labels=(2,)), one) == 0.0
    assert loss(pool, [(0.75, one), (0.25, said(pool))], one) == pytest.approx(0.25)


def test_states_of_true_instances():
    """One found, two covered together, one split in two halves, one missed; another class finds nothing."""
    pool = MaskPool((10, 40))
    truth = said(
        pool, rectangle(0, 5), rectangle(10, 15), rectangle(15, 20), rectangle(25, 30), rectangle(35, 40)
    )
    found = said(
        pool,
        rectangle(0, 4), rectangle(10, 20), rectangle(25, 30, 0, 4), rectangle(25, 30, 4, 8), rectangle(35, 40),
        labels=(1, 1, 1, 1, 2),
    )  # fmt: skip
    assert best_ious(pool, found, truth)[:2].tolist() == pytest.approx([0.8, 0.5])
    assert mean_states(pool, [(0.6, found), (0.4, said(pool))], truth) == [
        "found", "found", "found", "split", "missed",
    ]  # fmt: skip
    wider = said(pool, rectangle(8, 22))
    assert mean_states(pool, [(1.0, wider)], truth)[1:3] == ["merged", "merged"]
    assert states(pool, said(pool), truth)[:, 3].tolist() == [1.0] * 5


def test_company():
    assert [company(np.array(labels, int)) for labels in ([], [1], [1, 2], [1, 2, 2])] == [
        None, "alone", "alone", "several",
    ]  # fmt: skip
