"""Samples that cover whole images: shares against dense masks, and classes named where they do in ten images."""

from typing import Any

import numpy as np
import pytest

from stages.conditional.covering import covered_shares, whole_images
from tests.records import proposals_of
from wsis.method.conditional.label_sets import SampleSet
from wsis.method.masks.proposal_set import ProposalSet
from wsis.method.masks.superpixels import adjacency

SUPERPIXELS = np.repeat(np.arange(4, dtype=np.uint16), [1, 2, 3, 4])[None].repeat(
    5, 0
)  # .1, .2, .3, .4 of the image
MEMBERSHIP = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1], [1, 1, 1, 0], [0, 0, 1, 1]], bool)


def proposals() -> ProposalSet:
    return proposals_of(SUPERPIXELS, MEMBERSHIP, (5, 10), adjacency(SUPERPIXELS, np.ones((5, 10))))


def samples(*sets: list[tuple[int, int]], times: list[int]) -> SampleSet:
    """Unique samples as (proposal, class) pairs."""
    flat = [pair for one in sets for pair in one]
    offsets = np.cumsum([0, *map(len, sets)]).astype(np.int32)
    ids, classes = (np.array([pair[i] for pair in flat], np.int32) for i in (0, 1))
    return SampleSet(np.array(times, np.int32), offsets, ids, classes, np.ones(len(flat), np.float32))


def test_shares_equal_those_of_dense_masks() -> None:
    sets = samples([(0, 1), (1, 1), (2, 2)], [(2, 1)], times=[3, 1])
    regions, masks = proposals(), MEMBERSHIP[:, SUPERPIXELS]
    expected = {
        1: (3 * (masks[0] | masks[1]).mean() + masks[2].mean()) / 4,
        2: 3 * masks[2].mean() / 4,
    }
    assert covered_shares(sets, regions) == pytest.approx(expected)


class Records(dict[str, Any]):
    """As a RecordReader is read."""

    def __iter__(self) -> Any:
        return iter(self.items())

    def read(self, image_id: str, fields: tuple[str, ...]) -> Any:
        return self[image_id]


def test_a_class_that_covers_most_of_its_images_is_counted() -> None:
    whole, part = samples([(3, 1), (4, 1)], times=[4]), samples([(0, 1), (2, 2)], times=[4])
    labels = Records({f"{i}": (whole if i < 7 else part).to_record() for i in range(10)})
    record = proposals().to_record()
    assert whole_images(labels, Records(dict.fromkeys(labels.keys(), record)), ["cat", "dog"]) == {"cat": 0.7}
