"""Superpixel algebra against sums over pixels, on random superpixels and on those of real photographs."""

from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch

from tests.method.conditional.conditional_cases import block_superpixels, dense_masks
from wsis.method.conditional.graph import ProposalGraph, build_graph
from wsis.method.conditional.pooling import pool_matrix, pool_proposals, segment_sums
from wsis.method.dissimilarity.diversity import diversity_statistics
from wsis.method.dissimilarity.targets import FLOOR, Targets, maps_to_superpixels, targets_from_detections
from wsis.method.dissimilarity.task_loss import CLAMP, MATCH_IOU, instance_iou, loss_table, mask_cross_entropy
from wsis.method.masks.superpixels import adjacency
from wsis.method.proposals import generate
from wsis.method.proposals.config import MCGConfig

PHOTOGRAPHS = ("2007_000332", "2007_000464")


class Case(NamedTuple):
    """Superpixels, proposals, a contour map that belongs to nothing but this test, and the graph of it all."""

    superpixels: np.ndarray
    membership: np.ndarray
    contour: np.ndarray
    graph: ProposalGraph


def made(superpixels, membership, seed):
    contour = np.random.default_rng(seed).random(superpixels.shape).astype(np.float32) * 0.05
    edges, sums, lengths = adjacency(superpixels, contour)
    graph = build_graph(superpixels, membership, edges, sums, lengths, 8)
    return Case(superpixels, membership, contour, graph)


@pytest.fixture(scope="module", params=["random 0", "random 1", *PHOTOGRAPHS])
def case(request):
    kind, _, seed = request.param.partition(" ")
    if kind == "random":
        rng = np.random.default_rng(int(seed))
        membership = rng.random((20, 42)) < rng.uniform(0.05, 0.7, (20, 1))
        membership[np.arange(20), rng.integers(0, 42, 20)] = True
        return made(block_superpixels(6, 7, 5, rng), membership, int(seed))
    voc_root = request.getfixturevalue("voc_root")
    image = cv2.imread(str(voc_root / "JPEGImages" / f"{kind}.jpg"))[:, :, ::-1]
    found = generate(np.ascontiguousarray(image), MCGConfig(max_side=160, max_regions=150, num_proposals=60))
    return made(found.superpixels, found.membership, 7)


@pytest.fixture(scope="module")
def masks(case):
    return dense_masks(case.superpixels, case.membership).double()


def soft_targets(case, count=5, seed=0):
    """Soft masks that are constant inside superpixels, one of them hard."""
    generator = torch.Generator().manual_seed(seed)
    soft = torch.rand(count, case.membership.shape[1], generator=generator)
    soft[0] = torch.from_numpy(case.membership[3]).float()
    soft[1] = (0.8 * torch.from_numpy(case.membership[5]).float() + 0.1 * soft[1]).clamp(max=1)
    return soft


def test_overlaps_and_containment(case, masks):
    flat = masks.flatten(1)
    common, areas = flat @ flat.T, flat.sum(1)
    iou = common / (areas[:, None] + areas[None] - common)
    torch.testing.assert_close(case.graph.areas.double(), areas, rtol=0, atol=1e-5)
    torch.testing.assert_close(case.graph.iou().double(), iou, rtol=0, atol=1e-5)
    torch.testing.assert_close(case.graph.containment().double(), common / areas[None], rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooling", ["image", "root"])
@pytest.mark.parametrize("shrink", [1, 4])
def test_pooling(case, masks, pooling, shrink):
    size = (case.superpixels.shape[0] // shrink, case.superpixels.shape[1] // shrink)
    features = torch.randn(3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    dense = torch.nn.functional.interpolate(
        features[None], case.superpixels.shape, mode="bilinear", align_corners=False
    )[0]
    total = torch.einsum("phw,dhw->pd", masks, dense)
    areas, pixels = masks.sum((1, 2))[:, None], case.superpixels.size
    divisor = {"image": pixels, "root": (areas * pixels).sqrt()}[pooling]
    matrix = pool_matrix(case.superpixels, size, case.membership.shape[1])
    pooled = pool_proposals(
        segment_sums(matrix, features), case.graph.membership, case.graph.areas, pixels, pooling
    )
    torch.testing.assert_close(pooled, total / divisor, rtol=0, atol=1e-5)


def pixel_pairs(superpixels, contour):
    """All pairs of 4-neighbouring pixels of different superpixels: flat indices, mean contour of the two."""
    index = np.arange(superpixels.size).reshape(superpixels.shape)
    one = np.concatenate([index[:, :-1].ravel(), index[:-1].ravel()])
    other = np.concatenate([index[:, 1:].ravel(), index[1:].ravel()])
    flat, strength = superpixels.ravel(), contour.ravel().astype(np.float64)
    kept = flat[one] != flat[other]
    one, other = one[kept], other[kept]
    return one, other, (strength[one] + strength[other]) / 2


def test_separations_and_perimeters_from_the_contour_map(case, masks):
    """I_uv by its definition on pixels: pairs inside u ∪ v whose ends differ in (in u, in v)."""
    one, other, strength = pixel_pairs(case.superpixels, case.contour)
    inside = masks.flatten(1).bool().numpy()
    first, second = inside[:, one], inside[:, other]
    graph, compared = case.graph, 0
    for u in range(graph.num_proposals):
        for slot in np.flatnonzero(graph.neighbour_mask[u].numpy()):
            v = int(graph.neighbours[u, slot])
            united = (first[u] | first[v]) & (second[u] | second[v])
            cut = united & ((first[u] != second[u]) | (first[v] != second[v]))
            expected = float(strength[cut].sum())
            assert float(graph.separations[u, slot]) == pytest.approx(expected, rel=1e-5, abs=1e-5)
            compared += 1
    assert compared > 100
    cut = first != second
    perimeter = (cut * strength).sum(1) / np.maximum(cut.sum(1), 1)
    np.testing.assert_allclose(graph.perimeter_strengths.numpy(), perimeter, atol=1e-5)


def test_soft_iou_and_cross_entropy_against_proposals(case, masks):
    soft = soft_targets(case)
    dense = soft.double()[:, case.superpixels].flatten(1)
    proposals = masks.flatten(1)
    common = proposals @ dense.T
    union = proposals.sum(1)[:, None] + dense.sum(1)[None] - common
    torch.testing.assert_close(instance_iou(case.graph, soft).double(), common / union, rtol=0, atol=1e-5)
    inside, outside = -dense.clamp(min=FLOOR).log(), -(1 - dense).clamp(min=FLOOR).log()
    expected = ((proposals @ inside.T + (1 - proposals) @ outside.T) / union).clamp(max=CLAMP)
    computed = mask_cross_entropy(case.graph, Targets(torch.ones(len(soft), 1), soft)).double()
    torch.testing.assert_close(computed, expected, rtol=0, atol=1e-5)


def test_loss_table(case, masks):
    """Delta_{u,j} from dense masks by the words of the departure D7."""
    soft = soft_targets(case)
    probabilities = torch.softmax(torch.randn(len(soft), 4, generator=torch.Generator().manual_seed(2)), 1)
    table = loss_table(case.graph, Targets(probabilities, soft), torch.tensor([1, 3]))
    dense = soft.double()[:, case.superpixels]
    matched = 0
    for u, mask in enumerate(masks):
        union = (mask + dense - mask * dense).sum((1, 2))
        overlap = (mask * dense).sum((1, 2)) / union
        n = int(overlap.argmax())
        costs = [0.0, CLAMP, CLAMP]
        if overlap[n] >= MATCH_IOU:
            matched += 1
            log = -probabilities[n].clamp(min=FLOOR).log()
            pixels = (
                -(mask * dense[n].clamp(min=FLOOR).log()) - (1 - mask) * (1 - dense[n]).clamp(min=FLOOR).log()
            )
            shape = min(float(pixels.sum() / union[n]), CLAMP)
            costs = [float(log[0]), float(log[1]) + shape, float(log[3]) + shape]
        assert table[u].tolist() == pytest.approx(costs, abs=2e-5)
    assert matched >= 2


def test_cross_entropy_of_pasted_masks_that_vary_inside_superpixels(case, masks):
    """A detection's mask cuts through superpixels; its cross-entropy is that of its pixels all the same."""
    height, width = case.superpixels.shape
    rng = np.random.default_rng(5)
    boxes = np.array([[0, 0, width, height], [2, 3, width - 4, height - 5], [5, 1, 14, 12]], np.float32)
    grids = cv2.blur(rng.integers(0, 2, (28, 28, 3)).astype(np.float32), (9, 9)).transpose(2, 0, 1)
    soft = np.rint(255 * np.clip(3 * grids - 1, 0, 1)).astype(np.uint8)
    found = targets_from_detections(
        np.full((3, 2), 0.5, np.float32),
        boxes,
        soft,
        case.superpixels,
        case.graph.superpixel_areas,
        (height, width),
    )
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    dense = []
    for box, mask in zip(boxes, soft, strict=True):
        grid = np.stack(
            np.meshgrid((x - box[0]) / (box[2] - box[0]) * 2 - 1, (y - box[1]) / (box[3] - box[1]) * 2 - 1),
            -1,
        )
        pasted = torch.nn.functional.grid_sample(
            torch.from_numpy(mask / 255.0)[None, None], torch.from_numpy(grid)[None], align_corners=False
        )
        dense.append(pasted[0, 0].flatten())
    pixels, proposals = torch.stack(dense), masks.flatten(1)
    inside, outside = -pixels.clamp(min=FLOOR).log(), -(1 - pixels).clamp(min=FLOOR).log()
    common = proposals @ pixels.T
    union = proposals.sum(1)[:, None] + pixels.sum(1)[None] - common
    torch.testing.assert_close(
        instance_iou(case.graph, found.masks).double(), common / union, rtol=0, atol=1e-5
    )
    expected = ((proposals @ inside.T + (1 - proposals) @ outside.T) / union).clamp(max=CLAMP)
    computed = mask_cross_entropy(case.graph, found).double()
    torch.testing.assert_close(computed, expected, rtol=0, atol=1e-5)


def test_low_resolution_maps_inside_superpixels(case):
    maps = np.random.default_rng(3).random((2, 7, 9)).astype(np.float32)
    dense = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[:, None].double(), case.superpixels.shape, mode="bilinear", align_corners=False
    )[:, 0].numpy()
    count = case.membership.shape[1]
    expected = [[image[case.superpixels == s].mean() for s in range(count)] for image in dense]
    computed = maps_to_superpixels(maps, case.superpixels, case.graph.superpixel_areas)
    np.testing.assert_allclose(computed.numpy(), expected, atol=1e-5)


def test_diversity_of_samples(case, masks):
    generator = torch.Generator().manual_seed(4)
    labels = torch.randint(0, 3, (4, len(masks)), generator=generator)
    labels *= torch.rand(4, len(masks), generator=generator) < 0.2
    painted = [torch.stack([(masks * (row == j)[:, None, None]).amax(0) for j in (1, 2)]) for row in labels]
    distances = []
    for k in range(4):
        for other in range(4):
            if k != other:
                union = torch.maximum(painted[k], painted[other]).sum()
                common = torch.minimum(painted[k], painted[other]).sum()
                distances.append(1 - float(common / union) if union > 0 else 0.0)
    found = diversity_statistics(labels, case.graph.membership, case.graph.superpixel_areas)
    assert found.mean_distance == pytest.approx(np.mean(distances), abs=1e-5)
