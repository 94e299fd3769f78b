"""The measures of a diagnosis against plain dense references on small hand-made images."""

import numpy as np
import pytest

from wsis.method.conditional.label_sets import SampleSet
from wsis.method.evaluation.diagnosis import (
    BACKGROUND,
    INSIDE,
    OTHER_CLASS,
    VOID,
    RegionOverlaps,
    best_iou,
    best_unions,
    detection_measures,
    network_measures,
    response_iou,
    sample_measures,
    seed_places,
)
from wsis.method.evaluation.instance_quality import STATES, InstanceQuality, instance_quality
from wsis.method.evaluation.instances import Detections, GroundTruth
from wsis.method.evaluation.sources import network_detections
from wsis.method.evaluation.true_masks import TrueMasks
from wsis.method.masks import rle
from wsis.method.masks.network_detections import NetworkDetections
from wsis.method.masks.superpixels import proposal_masks, resize_nearest

SIZE = (24, 36)


def box_mask(y1: int, x1: int, y2: int, x2: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y1:y2, x1:x2] = True
    return mask


MASKS = np.stack([box_mask(2, 2, 14, 14), box_mask(4, 16, 20, 24), box_mask(8, 26, 24, 36)])
LABELS = np.array([1, 1, 2], np.int32)
VOID_MASK = box_mask(2, 12, 14, 16) | box_mask(18, 16, 22, 30)


def true_masks(masks=MASKS, labels=LABELS, void=VOID_MASK) -> TrueMasks:
    return TrueMasks(
        GroundTruth(SIZE, rle.encode_many(masks), labels, void=None if void is None else rle.encode(void))
    )


def dense_iou(one: np.ndarray, other: np.ndarray, void: np.ndarray | None) -> float:
    """Pixel by pixel; `one` may be soft."""
    common = whole = 0.0
    for y in range(SIZE[0]):
        for x in range(SIZE[1]):
            if void is None or not void[y, x]:
                a, b = float(one[y, x]), float(other[y, x])
                common, whole = common + a * b, whole + a + b - a * b
    return common / whole if whole else 0.0


@pytest.fixture
def regions():
    """A working map of half the size, six proposals."""
    rng = np.random.default_rng(0)
    superpixels = (np.arange(12)[:, None] // 3 * 6 + np.arange(18)[None] // 3).astype(np.uint16)
    membership = rng.random((6, 24)) < 0.4
    membership[0] = False  # not a stored proposal, but a soft target can vanish
    return superpixels, membership


def test_true_masks_know_area_and_company() -> None:
    truth = true_masks()
    seen = MASKS & ~VOID_MASK
    np.testing.assert_allclose(truth.areas, [m.sum() / (24 * 36) for m in seen])
    assert truth.alone.tolist() == [False, False, True]
    np.testing.assert_array_equal(truth.masks, seen)


@pytest.mark.parametrize("void", [VOID_MASK, None])
def test_overlaps_of_proposals_are_those_of_dense_masks(regions, void) -> None:
    superpixels, membership = regions
    shares = RegionOverlaps(superpixels, 24, true_masks(void=void))(membership)
    seen = ~void if void is not None else np.ones(SIZE, bool)
    for d, one in enumerate(proposal_masks(superpixels, membership, SIZE)):
        for g, true in enumerate(MASKS):
            assert shares.iou[d, g] == pytest.approx(dense_iou(one, true, void))
            common, own, whole = ((m & seen).sum() for m in (one & true, one, true))
            assert shares.inside[d, g] == pytest.approx(common / own if own else 0)
            assert shares.covers[d, g] == pytest.approx(common / whole)


def test_overlaps_of_soft_masks(regions) -> None:
    superpixels, _ = regions
    soft = np.random.default_rng(1).random((3, 24))
    found = RegionOverlaps(superpixels, 24, true_masks())(soft).iou
    for d, values in enumerate(soft):
        dense = values[resize_nearest(superpixels, SIZE)]
        for g, true in enumerate(MASKS):
            assert found[d, g] == pytest.approx(dense_iou(dense, true, VOID_MASK))


def test_the_best_union_of_superpixels_against_all_unions() -> None:
    """Twelve superpixels: all 4,096 unions. Areas and shares at random, some superpixels all void."""
    rng = np.random.default_rng(4)
    unions = (np.arange(4096)[:, None] >> np.arange(12)) & 1
    for _ in range(20):
        areas = rng.integers(0, 20, 12)
        inside = np.stack([rng.integers(0, areas + 1), np.zeros(12, int)])
        inside[1, 3] = areas[3]
        common, own = unions @ inside.T, unions @ areas
        every = common / np.maximum(own[:, None] + inside.sum(axis=1) - common, 1)
        np.testing.assert_allclose(best_unions(areas, inside), every.max(axis=0))


def test_places_of_seeds() -> None:
    """In instance 0; in 2 but called class 1; on ground; on void; in the border of 1; class 2 in 2, twice."""
    peaks = np.array([[1, 5, 5], [1, 12, 30], [2, 0, 0], [1, 5, 13], [1, 4, 16], [2, 9, 27], [2, 23, 35]])
    found = seed_places(peaks, true_masks())
    assert found.places.tolist() == [INSIDE, OTHER_CLASS, BACKGROUND, VOID, INSIDE, INSIDE, INSIDE]
    assert found.hits.tolist() == [1, 1, 2]
    none = seed_places(peaks[:0], true_masks())
    assert none.places.shape == (0,) and none.hits.tolist() == [0, 0, 0]


def test_iou_of_peak_response_maps() -> None:
    responses = np.random.default_rng(2).integers(0, 256, (2, 5, 7)).astype(np.uint8)
    found = response_iou(responses, 0.4, true_masks())
    for n, response in enumerate(responses):
        lit = resize_nearest(response, SIZE) >= 0.4 * 255
        for g, true in enumerate(MASKS):
            assert found[n, g] == pytest.approx(dense_iou(lit, true, VOID_MASK))
    assert response_iou(responses[:0], 0.4, true_masks()).shape == (0, 3)
    everywhere = response_iou(responses, 0.0, true_masks())  # a level of 0 is no response
    lit = resize_nearest(responses[0], SIZE) > 0
    assert everywhere[0, 0] == pytest.approx(dense_iou(lit, MASKS[0], VOID_MASK))


def test_best_iou_keeps_to_the_class() -> None:
    iou = np.array([[0.2, 0.9, 0.8], [0.4, 0.1, 0.7]])
    assert best_iou(iou, np.array([2, 1]), true_masks()).tolist() == [0.4, 0.1, 0.8]
    assert best_iou(iou[:0], np.zeros(0, int), true_masks()).tolist() == [0, 0, 0]


def test_samples_weigh_by_multiplicity_and_agree_with_the_evaluation(regions) -> None:
    """Three sets of ten samples, one of them empty; quality as the evaluation counts it from run lengths."""
    superpixels, membership = regions
    truth = true_masks()
    offsets = np.array([0, 3, 3, 5], np.int32)
    ids, classes = np.array([1, 2, 5, 3, 4], np.int32), np.array([1, 2, 3, 1, 1], np.int32)
    proposals = RegionOverlaps(superpixels, 24, truth)(membership)
    samples = SampleSet(np.array([7, 1, 2], np.int32), offsets, ids, classes, np.ones(5, np.float32))
    found = sample_measures(proposals, samples, truth)
    masks = proposal_masks(superpixels, membership, SIZE)
    expected, quality = [], InstanceQuality()
    for u, weight in enumerate((0.7, 0.1, 0.2)):
        part = slice(offsets[u], offsets[u + 1])
        expected.append(
            [
                max((dense_iou(masks[p], MASKS[g], VOID_MASK) for p, c in zip(ids[part], classes[part], strict=True)
                     if c == LABELS[g]), default=0.0)
                for g in range(3)
            ]
        )  # fmt: skip
        sample = Detections(SIZE, rle.encode_many(masks[ids[part]]), classes[part], np.ones(len(ids[part])))
        quality = quality + instance_quality(sample, truth.truth).weighted(weight)
    for column, state in zip(found.states.T, STATES, strict=True):
        assert column.sum() == pytest.approx(getattr(quality, state))
    np.testing.assert_allclose(found.mean, np.array([0.7, 0.1, 0.2]) @ expected)
    np.testing.assert_allclose(found.best, np.max(expected, axis=0))
    for name, value in vars(quality).items():
        assert getattr(found.quality, name) == pytest.approx(value), name
    assert found.quality.best_iou_sum > 0 and found.quality.images == pytest.approx(1)


@pytest.fixture
def network():
    """Five detections: two of class 1, one of 2, two of class 3, which the image does not show."""
    masks = np.random.default_rng(3).integers(60, 256, (5, 28, 28)).astype(np.uint8)
    boxes = np.array(
        [[1, 1, 15, 15], [15, 3, 25, 21], [24, 6, 36, 24], [0, 0, 9, 9], [3, 3, 30, 20]], np.float32
    )
    scores = np.array([0.9, 0.3, 0.29, 0.8, 0.1], np.float32)
    labels = np.array([1, 1, 2, 3, 3], np.int32)
    return NetworkDetections(np.zeros((5, 4), np.float32), boxes, masks, labels, scores, SIZE)


def test_detections_of_the_network(network) -> None:
    """The third is of score below 0.3: its instance is found by all detections alone."""
    labels, scores, dense = network.labels, network.scores, network.pasted()
    truth = true_masks()
    found = network_measures(network, truth.truth, 0.3)
    for values, level in ((found.best, 0.0), (found.best_sure, np.float32(0.3))):
        for g in range(3):
            ious = [
                dense_iou(dense[d], MASKS[g], VOID_MASK)
                for d in range(5)
                if labels[d] == LABELS[g] and scores[d] >= level
            ]
            assert values[g] == pytest.approx(max(ious, default=0.0))
    assert found.best[2] > 0.3 and found.best_sure[2] == 0
    expected = instance_quality(network_detections(network.take(scores >= np.float32(0.3))), truth.truth)
    assert vars(found.quality) == pytest.approx(vars(expected))
    assert found.quality.predicted == 3 and found.quality.spurious >= 1
    for column, state in zip(found.states.T, STATES, strict=True):
        assert column.sum() == getattr(expected, state)


def test_an_image_without_detections_or_without_instances(network) -> None:
    nothing = Detections(SIZE, [], np.zeros(0, int), np.zeros(0))
    found = detection_measures(nothing, true_masks().truth, 0.3)
    assert found.best.tolist() == [0, 0, 0] and found.quality.missed == 3
    empty = true_masks(MASKS[:0], LABELS[:0])
    found = network_measures(network, empty.truth, 0.3)
    assert found.best.shape == (0,) and found.quality.spurious == found.quality.predicted == 3
