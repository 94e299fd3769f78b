"""Boxes of two images, by hand."""

import numpy as np
import pytest

from wsis.method.conditional.label_sets import SampleSet
from wsis.method.masks.proposal_set import ProposalSet, make_proposal_set
from wsis.method.prm.seeds import Seeds
from wsis.reporting.diagnosis.boxes import BoxMeasures


def spans(*columns: tuple[int, int]) -> ProposalSet:
    """Proposals of an image of 10 x 40 pixels, each the superpixels (4 columns) from one to another."""
    superpixels = np.repeat(np.arange(10), 4)[None].repeat(10, axis=0).astype(np.int32)
    members = np.stack([(np.arange(10) >= a) & (np.arange(10) < b) for a, b in columns])
    edges = np.stack([np.arange(9), np.arange(1, 10)], axis=1).astype(np.int32)
    ones = np.ones(9, np.float32)
    scores = np.linspace(1, 0.5, len(columns))
    return make_proposal_set(superpixels, members, scores, (edges, ones, ones), (10, 40))


def boxed(*boxes: tuple[int, int]) -> Seeds:
    """A seed a box of class 1, over all rows from one column to another."""
    array = np.array([[a, 0, b, 10] for a, b in boxes], np.float32)
    count = len(boxes)
    maps = np.zeros((count, 5, 5), np.uint8)
    peaks = np.ones((count, 3), np.int32)
    return Seeds(peaks, np.ones(count, np.float32), maps, maps[:1], np.array([1], np.int32), array)


def one_sample(*ids: int) -> SampleSet:
    count = len(ids)
    return SampleSet(
        np.array([2], np.int32), np.array([0, count], np.int32), np.array(ids, np.int32), np.ones(count, np.int32),
        np.ones(count, np.float32),
    )  # fmt: skip


def test_boxes_of_two_images() -> None:
    """Image one: a box that proposal 0 fits, beyond the limit, and one beside it that nothing fits and that gets the
    piece next to it, three quarters outside. Image two: one box alone without a label."""
    found = BoxMeasures()
    proposals = spans((0, 2), (2, 6))
    found.measure(proposals, np.array([1]), boxed((0, 8), (8, 12)), {1: one_sample(0, 1)})
    found.measure(spans((0, 1)), np.array([0]), boxed((36, 40)), {1: one_sample(0)})
    result = found.result()
    assert result is not None and result["boxes"] == 3
    groups = {group["group"]: group for group in result["groups"]}
    every = groups["all"]
    assert every["without_proposal"] == pytest.approx(2 / 3) and every["without_limited"] == 1
    assert every["labels"] == [
        {
            "iteration": 1,
            "without_label": pytest.approx(1 / 3),
            "outside": pytest.approx(0.75 / 2),
            "box_iou": pytest.approx(1.25 / 3),
        }
    ]
    assert [groups[n]["boxes"] for n in ("alone", "touching", "5–15 %", "over 15 %")] == [1, 2, 2, 1]
    assert groups["alone"]["labels"][0]["outside"] is None and groups["under 5 %"]["without_proposal"] is None


def test_a_run_without_boxes_has_none() -> None:
    found = BoxMeasures()
    found.measure(spans((0, 1)), np.array([0]), boxed(), {})
    assert found.result() is None


def test_boxes_before_there_are_labels() -> None:
    found = BoxMeasures()
    found.measure(spans((0, 1)), np.array([0]), boxed((0, 4)), {})
    result = found.result()
    assert result is not None and result["groups"][0]["labels"] == []
