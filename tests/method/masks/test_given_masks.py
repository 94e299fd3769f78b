"""Given masks among the proposals of their image: pixel for pixel, and nothing else changes."""

import numpy as np
import pytest

from wsis.errors import InputError
from wsis.method.masks import rle
from wsis.method.masks import superpixels as sp
from wsis.method.masks.given_masks import GivenMasks, with_masks
from wsis.method.masks.proposal_set import ProposalSet, make_proposal_set


def proposals_of(size, image_size, seed=0) -> ProposalSet:
    """Some proposals on blocks of 5 x 5 pixels, and contours."""
    rng = np.random.default_rng(seed)
    rows, columns = -(-size[0] // 5), -(-size[1] // 5)
    blocks = (np.arange(size[0])[:, None] // 5) * columns + np.arange(size[1])[None] // 5
    membership = rng.random((6, rows * columns)) < 0.5
    graph = sp.adjacency(blocks.astype(np.int32), rng.random(size).astype(np.float32))
    scores = np.linspace(1, 0.2, 6).astype(np.float32)
    return make_proposal_set(blocks.astype(np.int32), membership, scores, graph, image_size)


def given(size, *boxes, labels=None) -> GivenMasks:
    """Rectangles y1 x1 y2 x2."""
    masks = np.zeros((len(boxes), *size), bool)
    for mask, (y1, x1, y2, x2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    labels = np.arange(1, len(boxes) + 1) if labels is None else labels
    return GivenMasks(np.array(labels, np.int32), tuple(rle.encode_many(masks)), size)


def test_at_the_working_size_masks_are_exact_and_proposals_as_before() -> None:
    before = proposals_of((23, 31), (23, 31))
    drawn = given((23, 31), (2, 3, 14, 17), (8, 10, 23, 31), (0, 0, 1, 1))
    after = with_masks(before, drawn)
    np.testing.assert_array_equal(after.masks()[:6], before.masks())
    np.testing.assert_array_equal(after.masks(drawn.rows(len(after))), drawn.dense())
    np.testing.assert_array_equal(after.boxes[6:], drawn.boxes)
    np.testing.assert_allclose(after.areas[6:], drawn.dense().mean((1, 2)), rtol=1e-6)
    assert (np.diff(after.scores) <= 0).all() and after.scores[-1] > 0
    sp.count_superpixels(after.superpixels)  # every id occurs


def test_old_boundaries_keep_their_strength_and_drawn_ones_are_certain() -> None:
    before = proposals_of((20, 25), (20, 25))
    after = with_masks(before, given((20, 25), (2, 2, 13, 18)))
    contour = np.ones((20, 25), np.float32)
    np.testing.assert_array_equal(after.edges, sp.adjacency(after.superpixels, contour)[0])
    place = np.unique(after.superpixels, return_index=True)[1]
    parents = before.superpixels.ravel()[place]
    strength = {
        tuple(edge): total / length
        for edge, total, length in zip(
            before.edges.tolist(), before.edge_contours, before.edge_lengths, strict=True
        )
    }
    cut = 0
    for (a, b), total, length in zip(after.edges, after.edge_contours, after.edge_lengths, strict=True):
        ends = tuple(sorted((int(parents[a]), int(parents[b]))))
        cut += ends[0] == ends[1]
        assert total / length == pytest.approx(1.0 if ends[0] == ends[1] else strength[ends], rel=1e-5)
    assert cut >= 10


def test_at_a_smaller_working_size_a_mask_is_its_sampling_and_none_is_lost() -> None:
    before = proposals_of((20, 20), (60, 60))
    drawn = given((60, 60), (6, 9, 48, 51), (30, 31, 31, 32))
    after = with_masks(before, drawn)
    masks = after.masks(drawn.rows(len(after)))
    common = (masks[0] & drawn.dense()[0]).sum() / (masks[0] | drawn.dense()[0]).sum()
    assert common > 0.9 and masks[1].any() and masks[1][30, 31]
    np.testing.assert_array_equal(after.masks()[:6], before.masks())


def test_no_mask_changes_nothing_and_another_size_is_refused() -> None:
    before = proposals_of((20, 20), (20, 20))
    assert with_masks(before, given((20, 20))) is before
    with pytest.raises(InputError, match=r"expected the size \(20, 20\) of the image, got \(20, 21\)"):
        with_masks(before, given((20, 21), (0, 0, 2, 2)))


def test_records_are_read_back() -> None:
    drawn = given((20, 25), (2, 2, 13, 18), (3, 3, 9, 9), labels=[4, 2])
    back = GivenMasks.from_record(drawn.to_record())
    np.testing.assert_array_equal(back.dense(), drawn.dense())
    assert back.labels.tolist() == [4, 2] and back.size == (20, 25)
    assert len(GivenMasks.from_record(given((20, 25)).to_record())) == 0
