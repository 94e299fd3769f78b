"""Watershed, region graph and ultrametric contour maps against plain readings."""

import higra as hg
import numpy as np
import pytest
from scipy import ndimage

from tests.method.proposals.mcg_cases import scene, voronoi
from wsis.method.masks.superpixels import adjacency, segment_sums
from wsis.method.proposals.contours.detectors import LabGradient, rgb_to_lab
from wsis.method.proposals.generator.hierarchies import (
    average_linkage,
    build_hierarchies,
    build_region_graph,
    contiguous,
    cut_to,
    ward_linkage,
    watershed,
)


def plain_average_linkage(count, edges, strengths, lengths):
    """UCM value of each edge: merge the weakest mean boundary, never below an earlier part's altitude."""
    region = {leaf: frozenset([leaf]) for leaf in range(count)}
    altitude = {frozenset([leaf]): 0.0 for leaf in range(count)}
    ucm = np.full(len(edges), np.nan)
    while len(set(region.values())) > 1:
        boundary = {}
        for (a, b), strength, length in zip(edges.tolist(), strengths, lengths, strict=True):
            if region[a] != region[b]:
                total, size = boundary.get(frozenset([region[a], region[b]]), (0.0, 0.0))
                boundary[frozenset([region[a], region[b]])] = (total + strength * length, size + length)
        pair = min(boundary, key=lambda key: boundary[key][0] / boundary[key][1])
        one, other = pair
        value = max(boundary[pair][0] / boundary[pair][1], altitude[one], altitude[other])
        for index, (a, b) in enumerate(edges.tolist()):
            if {region[a], region[b]} == {one, other}:
                ucm[index] = value
        altitude[one | other] = value
        for leaf in one | other:
            region[leaf] = one | other
    return ucm


def random_graph(seed, cells=14):
    labels = voronoi(20, 25, cells, seed)
    rng = np.random.default_rng(seed)
    edges, sums, lengths = adjacency(labels, rng.random(labels.shape))
    return labels, edges, sums / lengths, lengths


def test_ucm_on_a_hand_made_graph():
    # A square 0-1-2-3-0. 0-1 (0.1) merges first; then 2-3 (0.2); what is left: 1-2 (0.5, twice as long), 0-3 (0.8).
    edges = np.array([[0, 1], [0, 3], [1, 2], [2, 3]], np.int32)
    tree = average_linkage(4, edges, np.array([0.1, 0.8, 0.5, 0.2]), np.array([1.0, 1.0, 2.0, 1.0]))
    np.testing.assert_allclose(tree.saliency, [0.1, 0.6, 0.6, 0.2])
    assert tree.parents.tolist() == [4, 4, 5, 5, 6, 6, 6]
    np.testing.assert_allclose(tree.altitudes, [0, 0, 0, 0, 0.1, 0.2, 0.6])


@pytest.mark.parametrize("seed", range(5))
def test_altitudes_never_fall_towards_the_root(seed):
    labels, edges, strengths, lengths = random_graph(seed, 30)
    one = average_linkage(int(labels.max()) + 1, edges, strengths, lengths)
    assert (one.altitudes[one.parents] >= one.altitudes).all()
    assert (one.altitudes[: one.num_leaves] == 0).all()
    np.testing.assert_allclose(one.altitudes[-1], one.saliency.max())


@pytest.mark.parametrize("seed", range(6))
def test_average_linkage_equals_a_plain_reading(seed):
    labels, edges, strengths, lengths = random_graph(seed)
    count = int(labels.max()) + 1
    found = average_linkage(count, edges, strengths, lengths).saliency
    np.testing.assert_allclose(found, plain_average_linkage(count, edges, strengths, lengths), rtol=1e-6)


def test_multiscale_hierarchy_links_the_mean_ucm():
    labels, edges, strengths, lengths = random_graph(3)
    count = int(labels.max()) + 1
    scales = np.stack([strengths, strengths**2, np.roll(strengths, 1)])
    hierarchies = build_hierarchies(count, edges, scales, lengths)
    assert len(hierarchies) == 4
    ucms = [plain_average_linkage(count, edges, row, lengths) for row in scales]
    for hierarchy, ucm in zip(hierarchies, ucms, strict=False):
        np.testing.assert_allclose(hierarchy.saliency, ucm, rtol=1e-6)
    joined = plain_average_linkage(count, edges, np.mean(ucms, axis=0), lengths)
    np.testing.assert_allclose(hierarchies[3].saliency, joined, rtol=1e-6)


def test_watershed_basins_are_connected_and_follow_the_ridge():
    contour = np.zeros((9, 12), np.float32)
    contour[:, 5] = 1
    contour[4, :5] = 0.7
    labels = watershed(contour, 0.0)
    assert labels.max() == 2
    assert (
        len(np.unique(labels[:4, :5])) == len(np.unique(labels[5:, :5])) == len(np.unique(labels[:, 6:])) == 1
    )
    image, _ = scene()
    fine = watershed(LabGradient()(image, 1.0), 0.8)
    assert np.unique(fine).tolist() == list(range(fine.max() + 1))
    for label in range(fine.max() + 1):
        assert ndimage.label(fine == label)[1] == 1


def test_contiguous_numbers_by_first_occurrence():
    assert contiguous(np.array([[7, 7, 2], [9, 2, 2]])).tolist() == [[0, 0, 1], [2, 1, 1]]


@pytest.mark.parametrize("regions", [1, 2, 5, 14])
def test_cut_equals_higras_horizontal_cut(regions):
    labels, edges, strengths, lengths = random_graph(4)
    count = int(labels.max()) + 1
    hierarchy = average_linkage(count, edges, strengths, lengths)
    cut = cut_to(hierarchy, min(regions, count))
    assert len(np.unique(cut)) == min(regions, count)
    graph = hg.UndirectedGraph(count)
    graph.add_edges(edges[:, 0].astype(np.int64), edges[:, 1].astype(np.int64))
    tree, altitudes = hg.binary_partition_tree_average_linkage(
        graph, strengths.astype(float), lengths.astype(float)
    )
    hg.CptHierarchy.link(tree, graph)
    order = np.maximum(np.arange(len(altitudes)) - count + 1, 0).astype(np.float64)  # of the merges; leaves 0
    expected = hg.labelisation_horizontal_cut_from_num_regions(tree, order, regions)
    assert contiguous(cut).tolist() == contiguous(expected).tolist()


def test_ward_merges_the_least_rise_of_variance():
    image = np.repeat([[0.0, 1.0, 10.0, 13.0]], 3, axis=0)[..., None]
    labels = np.repeat([[0, 1, 2, 3]], 3, axis=0).astype(np.int32)
    edges = adjacency(labels, np.zeros(labels.shape))[0]
    assert ward_linkage(labels, edges, image).parents.tolist() == [4, 4, 5, 5, 6, 6, 6]


@pytest.mark.parametrize("learned", [False, True])
def test_region_graph_keeps_to_its_limit_and_sums_every_scale(learned):
    image, _ = scene()
    contours = np.stack([LabGradient()(image, scale) for scale in (2.0, 1.0)])
    graph = build_region_graph(contours, 0.6, 40, None if learned else rgb_to_lab(image))
    assert graph.num_superpixels == 40
    for label in range(40):
        assert ndimage.label(graph.superpixels == label)[1] == 1
    for contour, sums in zip(contours, graph.sums, strict=True):
        expected = adjacency(graph.superpixels, contour)
        np.testing.assert_array_equal(expected[0], graph.edges)
        np.testing.assert_allclose(expected[1], sums, rtol=1e-6)
    assert segment_sums(np.ones(image.shape[:2]), graph.superpixels).sum() == image.shape[0] * image.shape[1]
