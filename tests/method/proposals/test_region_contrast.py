"""Appearance of superpixels against dense readings."""

import numpy as np
import pytest

from tests.method.proposals.mcg_cases import scene, voronoi
from wsis.method.masks.superpixels import adjacency
from wsis.method.proposals.contours.detectors import LabGradient
from wsis.method.proposals.generator.hierarchies import RegionGraph
from wsis.method.proposals.generator.region_contrast import (
    appearance_hierarchy,
    appearance_histograms,
    strengthen,
    walk_spread,
)


def test_histograms_tell_colours_apart():
    image = np.zeros((12, 20, 3), np.uint8)
    image[:, :10], image[:, 10:] = (200, 30, 30), (30, 30, 200)
    labels = np.repeat([[0] * 5 + [1] * 5 + [2] * 5 + [3] * 5], 12, axis=0).astype(np.int32)
    histograms = appearance_histograms(image, labels)
    assert histograms.shape == (4, 64)
    np.testing.assert_allclose(histograms.sum(axis=1), 1)
    distance = np.abs(histograms[:, None] - histograms[None]).sum(-1)
    # 0.7: the blurred step enters superpixels 1 and 2
    assert max(distance[0, 1], distance[2, 3]) < 0.7 * min(distance[0, 2], distance[1, 2])
    # each of the four channels is a quarter; each pixel lies in two neighbouring bins
    np.testing.assert_allclose(histograms.reshape(4, 4, 16).sum(-1), 0.25)


def test_walk_equals_dense_matrix():
    labels = voronoi(15, 15, 12, 2)
    edges, _, lengths = adjacency(labels, np.zeros(labels.shape))
    size = int(labels.max()) + 1
    weights = lengths * np.linspace(0.1, 1, len(edges))
    matrix = np.zeros((size, size))
    matrix[edges[:, 0], edges[:, 1]] = matrix[edges[:, 1], edges[:, 0]] = weights
    walk = 0.5 * matrix / matrix.sum(1, keepdims=True) + 0.5 * np.eye(size)
    counts = np.random.default_rng(0).random((size, 5))
    expected = np.linalg.matrix_power(walk, 3) @ counts
    np.testing.assert_allclose(walk_spread(counts, edges, weights, 3), expected)


def test_contrast_lifts_region_boundaries_over_texture():
    image, discs = scene()
    labels = voronoi(60, 90, 150, 0)
    labels = np.unique(labels * 4 + discs[0] + 2 * discs[1], return_inverse=True)[1].reshape(labels.shape)
    labels = labels.astype(np.int32)
    edges, sums, lengths = adjacency(labels, LabGradient()(image, 1.0))
    graph = RegionGraph(labels, edges, sums[None], lengths)
    strengths = graph.sums / lengths
    histograms = appearance_histograms(image, labels)
    result = strengthen(graph, strengths, histograms, 0.5)
    assert result.shape == strengths.shape and (result >= 0).all() and (result <= 1).all()
    inside = np.bincount(labels.ravel(), discs.any(0).ravel()) > 0  # every superpixel is all in or all out
    boundary = inside[edges[:, 0]] != inside[edges[:, 1]]
    before = strengths[0][boundary].mean() / strengths[0][~boundary].mean()
    assert result[0][boundary].mean() / result[0][~boundary].mean() > 1.5 * before
    np.testing.assert_allclose(strengthen(graph, strengths, histograms, 0.0), strengths, rtol=1e-6)


def test_appearance_hierarchy_by_hand():
    histograms = np.array([[1.0, 0, 0], [0.9, 0.1, 0], [0, 0, 1.0], [0, 0.3, 0.7]])
    tree = appearance_hierarchy(histograms, np.array([[0, 1], [1, 2], [2, 3]], np.int32))
    assert tree.parents.tolist() == [4, 4, 5, 5, 6, 6, 6]
    root = np.sqrt(histograms)
    assert tree.saliency[0] == pytest.approx(np.square(root[0] - root[1]).sum() / 2)
    assert (tree.altitudes[tree.parents] >= tree.altitudes).all()
    assert tree.saliency[1] == tree.altitudes[-1]
