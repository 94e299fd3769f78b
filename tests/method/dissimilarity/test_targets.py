import numpy as np
import pytest
import torch

from tests.method.conditional.conditional_cases import random_case, superpixel_edges
from wsis.errors import InputError
from wsis.method.conditional.graph import build_graph
from wsis.method.dissimilarity.seed_groups import proposals_on_grid
from wsis.method.dissimilarity.seed_targets import SeedTargetConfig, seed_targets
from wsis.method.dissimilarity.targets import (
    detections_of_boxes,
    log_costs,
    maps_to_superpixels,
    masks_from_detections,
    targets_from_detections,
    targets_from_seeds,
)


def superpixel_means(dense, superpixels, count):
    return np.stack([[d[superpixels == s].mean() for s in range(count)] for d in dense])


def test_detections_paste_like_grid_sample():
    superpixels, membership, _, graph = random_case(0)
    rng = np.random.default_rng(0)
    size = (48, 40)  # the original image is three times as high and twice as wide as the working size
    boxes = np.array([[4, 6, 30, 40], [-6, 0, 20, 48], [10, 10, 11, 11]], dtype=np.float32)
    masks = rng.integers(0, 256, (3, 28, 28)).astype(np.uint8)
    probabilities = np.full((3, 4), 0.25, dtype=np.float32)
    targets = targets_from_detections(probabilities, boxes, masks, superpixels, graph.superpixel_areas, size)
    height, width = superpixels.shape
    scaled = boxes * np.array([width / 40, height / 48] * 2, dtype=np.float32)
    dense = []
    for box, mask in zip(scaled, masks, strict=True):
        ys = (np.arange(height) + 0.5 - box[1]) / (box[3] - box[1]) * 2 - 1
        xs = (np.arange(width) + 0.5 - box[0]) / (box[2] - box[0]) * 2 - 1
        grid = np.stack(np.meshgrid(xs, ys), -1).astype(np.float32)
        sampled = torch.nn.functional.grid_sample(
            torch.from_numpy(mask / np.float32(255))[None, None],
            torch.from_numpy(grid)[None],
            align_corners=False,
        )
        dense.append(sampled[0, 0].numpy())
    expected = superpixel_means(dense, superpixels, membership.shape[1])
    np.testing.assert_allclose(targets.masks.numpy(), expected, atol=1e-5)
    assert targets.probabilities.shape == (3, 4)


def test_masks_and_costs_are_means_of_the_pixels_to_the_last_bit():
    superpixels, _, _, graph = random_case(1)
    rng = np.random.default_rng(1)
    boxes = np.array([[4, 6, 30, 40], [-6, 0, 20, 48]], dtype=np.float32)
    masks = rng.integers(0, 256, (2, 28, 28)).astype(np.uint8)
    areas, where = graph.superpixel_areas, (superpixels, graph.superpixel_areas, (48, 40))
    targets = targets_from_detections(np.full((2, 4), 0.25, np.float32), boxes, masks, *where)
    segment = torch.from_numpy(superpixels.astype(np.int64)).flatten()
    # one superpixel for each pixel gives the pasted pixels themselves
    pixels = masks_from_detections(
        boxes,
        masks,
        np.arange(superpixels.size).reshape(superpixels.shape),
        torch.ones(superpixels.size),
        (48, 40),
    ).double()
    for n in range(2):
        sums = torch.zeros(3, len(areas), dtype=torch.float64)
        for place, values in zip(segment, torch.cat([pixels[n][None], log_costs(pixels[n])]).T, strict=True):
            sums[:, place] += values
        means = (sums / areas.clamp(min=1)).float()
        assert torch.equal(targets.masks[n], means[0].clamp(0, 1))
        assert torch.equal(targets.costs[:, n], means[1:])
    assert torch.equal(masks_from_detections(boxes, masks, *where), targets.masks)


def test_maps_to_superpixels_equals_upsampling_and_averaging():
    superpixels, membership, _, graph = random_case(2)
    maps = np.random.default_rng(0).random((2, 5, 7)).astype(np.float32)
    dense = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[:, None], superpixels.shape, mode="bilinear", align_corners=False
    )[:, 0].numpy()
    expected = superpixel_means(dense, superpixels, membership.shape[1])
    np.testing.assert_allclose(
        maps_to_superpixels(maps, superpixels, graph.superpixel_areas), expected, atol=1e-5
    )


def test_peak_response_maps_become_soft_targets():
    superpixels, _, _, graph = random_case(2)
    maps = np.full((2, 3, 3), 255, dtype=np.uint8)
    targets = targets_from_seeds(np.array([2, 1]), maps, superpixels, graph.superpixel_areas, 2)
    torch.testing.assert_close(targets.masks, torch.ones(2, 20))
    assert targets.probabilities.tolist() == [[0, 0, 1], [0, 1, 0]]


def seeds_of(case, peaks, responses):
    superpixels, _, _, graph = case
    peaks = np.array(peaks, dtype=np.int32)
    prm = np.full((len(peaks), 4, 4), 255, dtype=np.uint8)
    classes = np.arange(1, len(responses) + 1, dtype=np.int32)
    return (
        graph,
        superpixels,
        peaks,
        prm,
        responses,
        classes,
        superpixels.shape,
        2,
    )


def test_a_seed_alone_gets_the_best_fitting_proposal_that_holds_it():
    case = random_case(5, proposals=15)
    superpixels, membership, _, graph = case
    responses = np.random.default_rng(0).integers(0, 256, (2, 6, 6)).astype(np.uint8)
    targets = seed_targets(*seeds_of(case, [[2, 3, 4]], responses), SeedTargetConfig())
    response, fit = responses[1].ravel() / 255, {}
    for u in np.flatnonzero(membership[:, superpixels[3, 4]]):
        seen = proposals_on_grid(graph, superpixels, (6, 6))[u].numpy()
        common = np.minimum(seen, response).sum()
        overlap = common / np.maximum(seen, response).sum()
        fit[u] = overlap * float(graph.perimeter_strengths[u]) ** 3
    best = max(fit, key=fit.get)
    torch.testing.assert_close(targets.masks[0], torch.from_numpy(membership[best]).float())
    assert targets.probabilities.tolist() == [[0, 0, 1]]


def test_two_seeds_of_a_class_on_one_proposal_are_one_target():
    case = random_case(5, proposals=3)
    responses = np.full((2, 6, 6), 255, dtype=np.uint8)
    same = seed_targets(*seeds_of(case, [[1, 3, 4], [1, 3, 4]], responses), SeedTargetConfig())
    other = seed_targets(*seeds_of(case, [[1, 3, 4], [2, 3, 4]], responses), SeedTargetConfig())
    assert (len(same), len(other)) == (1, 2)


def two_objects(between):
    """Ground, two objects, ground: columns of a 6 x 16 image, contours 0.5 around the two and `between` them."""
    superpixels = np.repeat(np.repeat([[0, 1, 2, 3]], 4, axis=1), 6, axis=0).astype(np.int32)
    edges, lengths = superpixel_edges(superpixels)
    assert edges.tolist() == [[0, 1], [1, 2], [2, 3]]
    contours = np.array([0.5, between, 0.5], np.float32) * lengths
    membership = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 1, 0], [1, 1, 1, 0]], bool)
    return superpixels, membership, None, build_graph(superpixels, membership, edges, contours, lengths)


BOTH = [[1, 2, 5], [1, 3, 10]]  # a peak of class 1 in each object
RESPONSE = np.tile(np.array([0, 0, 255, 255, 255, 255, 0, 0], np.uint8), (1, 3, 1))


@pytest.mark.parametrize(
    ("between", "parted"),
    [
        (0.5, True),  # the contour between them is like the one around them
        (0.42, True),  # 1.35 times both parts is more than the whole: 1.35 (.46 / .5)^3 > 1
        (0.38, False),
        (0.0, False),
    ],
)
def test_seeds_are_parted_where_a_contour_parts_them(between, parted):
    found = seed_targets(*seeds_of(two_objects(between), BOTH, RESPONSE), SeedTargetConfig())
    expected = [[0, 1, 0, 0], [0, 0, 1, 0]] if parted else [[0, 1, 1, 0]]
    assert found.masks.tolist() == expected
    assert found.probabilities.argmax(1).tolist() == [1] * len(expected)


def test_a_seed_alone_and_seeds_of_two_classes_are_not_parted():
    case, responses = two_objects(0.5), np.repeat(RESPONSE, 2, axis=0)
    one = seed_targets(*seeds_of(case, BOTH[:1], responses), SeedTargetConfig())
    assert one.masks.tolist() == [[0, 1, 1, 0]]
    two = seed_targets(*seeds_of(case, [BOTH[0], [2, 3, 10]], responses), SeedTargetConfig())
    assert two.masks.tolist() == [[0, 1, 1, 0]] * 2


def test_literal_seeds_no_seeds_and_bad_seeds():
    case = random_case(5, proposals=3)
    responses = np.full((1, 6, 6), 255, dtype=np.uint8)
    literal = seed_targets(
        *seeds_of(case, [[1, 3, 4], [1, 3, 4]], responses), SeedTargetConfig(seed_target="prm")
    )
    torch.testing.assert_close(literal.masks, torch.ones(2, 20))
    assert len(seed_targets(*seeds_of(case, np.zeros((0, 3)), responses), SeedTargetConfig())) == 0
    with pytest.raises(InputError, match=r"none for \[2\]"):
        seed_targets(*seeds_of(case, [[2, 3, 4]], responses), SeedTargetConfig())


def test_each_box_gets_the_detection_of_its_class_that_fits_it_best():
    labels, scores = np.array([1, 1, 2, 1]), np.array([0.5, 0.9, 0.8, 0.7], dtype=np.float32)
    overlaps = np.array([[0.9, 0.6, 0.0], [0.6, 0.55, 0.1], [0.8, 0.2, 0.7], [0.2, 0.4, 0.9]])
    # Box 0: detection 1 (.9 x .6) beats 0 (.5 x .9). Box 1: both prefer box 0. Box 2 is of class 2: 3 is not.
    assert detections_of_boxes(labels, scores, overlaps, np.array([1, 1, 2])).tolist() == [1, -1, 2]
    assert detections_of_boxes(labels, scores, overlaps, np.array([1, 1, 2]), 0.75).tolist() == [0, -1, -1]
    assert detections_of_boxes(labels[:0], scores[:0], overlaps[:0], np.array([1, 1, 2])).tolist() == [-1] * 3
    assert detections_of_boxes(labels, scores, overlaps[:, :0], np.zeros(0, np.int64)).tolist() == []
