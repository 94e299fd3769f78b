"""Superpixel algebra equals dense masks."""

import numpy as np
import pytest
from scipy import ndimage

from wsis.errors import InputError
from wsis.method.masks import superpixels as sp


def grid_map(h, w, cells, seed):
    """Connected-ish random map: Voronoi cells, ids made contiguous."""
    rng = np.random.default_rng(seed)
    seeds = np.stack([rng.integers(0, h, cells), rng.integers(0, w, cells)], 1)
    yy, xx = np.mgrid[:h, :w]
    distance = (yy[..., None] - seeds[:, 0]) ** 2 + (xx[..., None] - seeds[:, 1]) ** 2
    return np.unique(distance.argmin(-1), return_inverse=True)[1].reshape(h, w).astype(np.int32)


CASES = [(17, 23, 40, 12), (31, 9, 12, 7), (1, 1, 1, 3), (5, 40, 30, 50), (12, 12, 144, 20)]


@pytest.fixture(params=CASES, ids=str)
def case(request):
    h, w, cells, count = request.param
    labels = grid_map(h, w, cells, seed=h)
    rng = np.random.default_rng(w)
    size = sp.count_superpixels(labels)
    membership = rng.random((count, size)) < rng.random((count, 1))
    return labels, membership, rng


def test_packing_round_trip_and_bit_order(case):
    _, membership, _ = case
    bits = sp.pack_membership(membership)
    assert bits.dtype == np.uint8 and bits.shape == (len(membership), -(-membership.shape[1] // 8))
    np.testing.assert_array_equal(sp.unpack_membership(bits, membership.shape[1]), membership)
    by_hand = np.zeros((1, 10), bool)
    by_hand[0, [0, 3, 9]] = True
    assert sp.pack_membership(by_hand).tolist() == [[1 + 8, 2]]


def test_overlaps_equal_dense_masks_exactly(case):
    labels, membership, rng = case
    other = membership[rng.permutation(len(membership))][:9]
    masks = sp.proposal_masks(labels, membership, labels.shape)
    others = sp.proposal_masks(labels, other, labels.shape)
    np.testing.assert_array_equal(masks[0], membership[0][labels])
    areas = sp.superpixel_areas(labels)
    common = (masks[:, None] & others[None]).sum((2, 3))
    union = (masks[:, None] | others[None]).sum((2, 3))
    np.testing.assert_array_equal(sp.areas_of(membership, areas), masks.sum((1, 2)))
    np.testing.assert_array_equal(sp.intersections(membership, other, areas), common)
    np.testing.assert_allclose(
        sp.iou_matrix(membership, other, areas), common / np.maximum(union, 1), rtol=1e-6
    )


def test_large_integer_areas_stay_exact():
    areas = np.array([2**24 + 1, 1, 3])
    membership = np.array([[1, 1, 0], [1, 0, 1]], bool)
    assert sp.areas_of(membership, areas).tolist() == [2**24 + 2, 2**24 + 4]
    assert sp.intersections(membership, membership, areas)[0, 1] == 2**24 + 1


@pytest.mark.parametrize("scale", [1.0, 1.37, 3.0])
def test_boxes_and_masks_in_the_original_frame(case, scale):
    labels, membership, _ = case
    size = tuple(int(np.ceil(side * scale)) for side in labels.shape)
    masks = sp.proposal_masks(labels, membership, size)
    rows = np.floor((np.arange(size[0]) + 0.5) * labels.shape[0] / size[0])
    columns = np.floor((np.arange(size[1]) + 0.5) * labels.shape[1] / size[1])
    np.testing.assert_array_equal(sp.nearest_indices(size[0], labels.shape[0]), rows)
    np.testing.assert_array_equal(
        masks[-1], membership[-1][labels[np.ix_(rows.astype(int), columns.astype(int))]]
    )
    boxes = sp.boxes_to_image(sp.boxes_of(membership, sp.superpixel_boxes(labels)), labels.shape, size)
    for mask, box in zip(masks, boxes, strict=True):
        where = ndimage.find_objects(mask.astype(np.uint8))
        expected = [0, 0, 0, 0]
        if where:
            ys, xs = where[0]
            expected = [xs.start, ys.start, xs.stop, ys.stop]
        assert box.tolist() == expected


def test_segment_sums_equal_masked_sums(case):
    labels, membership, rng = case
    values = rng.random((*labels.shape, 3))
    sums = sp.segment_sums(values, labels)
    for index in range(membership.shape[1]):
        np.testing.assert_allclose(sums[index], values[labels == index].sum(0), rtol=1e-12)
    np.testing.assert_allclose(sp.segment_sums(values[..., 1], labels), sums[:, 1])
    masks = sp.proposal_masks(labels, membership, labels.shape)
    np.testing.assert_allclose(sp.areas_of(membership, sums[:, 0]), (masks * values[..., 0]).sum((1, 2)))


def test_adjacency_equals_pixel_loop(case):
    labels, _, rng = case
    contour = rng.random(labels.shape).astype(np.float32)
    expected: dict[tuple[int, int], list[float]] = {}
    for y, x in np.ndindex(labels.shape):
        for v, u in ((y, x + 1), (y + 1, x)):
            if v < labels.shape[0] and u < labels.shape[1] and labels[y, x] != labels[v, u]:
                pair = tuple(sorted((int(labels[y, x]), int(labels[v, u]))))
                expected.setdefault(pair, []).append((float(contour[y, x]) + float(contour[v, u])) / 2)
    edges, sums, lengths = sp.adjacency(labels, contour)
    assert [tuple(edge) for edge in edges.tolist()] == sorted(expected)
    np.testing.assert_allclose(sums, [sum(expected[key]) for key in sorted(expected)], rtol=1e-6)
    assert lengths.tolist() == [len(expected[key]) for key in sorted(expected)]
    stacked = sp.adjacency(labels, np.stack([contour, 2 * contour]))[1]
    np.testing.assert_allclose(stacked, np.stack([sums, 2 * sums]), rtol=1e-6)


def test_adjacency_by_hand():
    labels = np.array([[0, 0, 1], [2, 2, 1]])
    edges, sums, lengths = sp.adjacency(labels, np.arange(6.0).reshape(2, 3))
    assert edges.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert sums.tolist() == [1.5, 1.5 + 2.5, 4.5] and lengths.tolist() == [1, 2, 1]


def test_iou_with_masks_leaves_void_out(case):
    labels, membership, rng = case
    size = (labels.shape[0] * 2 + 1, labels.shape[1] * 2)
    truth = rng.random((4, *size)) < 0.4
    void = rng.random(size) < 0.2
    masks = sp.proposal_masks(labels, membership, size) & ~void
    truths = truth & ~void
    common = (masks[:, None] & truths[None]).sum((2, 3))
    union = (masks[:, None] | truths[None]).sum((2, 3))
    found = sp.iou_with_masks(labels, membership, truth, void)
    np.testing.assert_allclose(found, common / np.maximum(union, 1))
    assert sp.iou_with_masks(labels, membership, truth[:0]).shape == (len(membership), 0)


def test_boxes_of_empty_proposal_and_absent_superpixel():
    labels = np.array([[0, 2], [0, 2]])
    boxes = sp.superpixel_boxes(labels)
    assert boxes.tolist() == [[0, 0, 1, 2], [2, 2, 0, 0], [1, 0, 2, 2]]
    membership = np.array([[0, 0, 0], [1, 1, 0], [1, 0, 1]], bool)
    assert sp.boxes_of(membership, boxes).tolist() == [[0, 0, 0, 0], [0, 0, 1, 2], [0, 0, 2, 2]]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: sp.count_superpixels(np.array([[0, 2]])), "id 2 in a map of 2"),
        (lambda: sp.count_superpixels(np.array([[0, 2, 0]])), "id 1 of 0..2 does not occur"),
        (lambda: sp.count_superpixels(np.array([[-1, 0]])), "ids >= 0, got -1"),
        (lambda: sp.count_superpixels(np.zeros((2, 2))), "integer map"),
        (lambda: sp.unpack_membership(np.zeros((3, 2), np.uint8), 17), r"uint8 \[P, 3\]"),
        (lambda: sp.pack_membership(np.zeros((3, 2), np.uint8)), "expected bool"),
        (lambda: sp.areas_of(np.zeros((3, 2), bool), np.ones(3)), "expected 3 superpixels"),
        (lambda: sp.proposal_masks(np.array([[5]]), np.zeros((1, 2), bool), (1, 1)), "ids below 2"),
        (lambda: sp.segment_sums(np.zeros((2, 3)), np.zeros((3, 2), int)), r"expected \(3, 2\)"),
        (lambda: sp.adjacency(np.zeros((2, 2), int), np.zeros((2, 3))), r"contour: expected \(2, 2\)"),
        (lambda: sp.nearest_indices(0, 3), "expected >= 1"),
    ],
)
def test_bad_input_is_named(call, match):
    with pytest.raises(InputError, match=match):
        call()
