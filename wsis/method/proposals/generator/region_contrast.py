"""Appearance of superpixels: what a pixel gradient cannot see, with nothing learned.

Suffix legend: h w working size, S superpixels, E edges, D scales, K histogram bins.

A pixel gradient is strong on texture and weak where two large regions differ little at their common line.
Two remedies, both on histograms of Lab colour and local contrast:

* :func:`strengthen` compares the two sides of an edge over a neighbourhood. Histograms spread along the
  graph by a random walk that seldom crosses strong contours; the chi-square distance of the spread histograms
  joins the gradient. (gPb's larger discs, shaped by the image.)
* :func:`appearance_hierarchies` merge regions by their whole histograms, which the boundary between them does
  not decide alone: tree nodes that no hierarchy of contours has. (In the spirit of Selective Search.) Learned
  contours profit from these too.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from wsis.method.proposals.contours.detectors import rgb_to_lab
from wsis.method.proposals.generator.hierarchies import Hierarchy, RegionGraph, average_linkage, higra_graph

_BINS = 16
_WALK_STEPS = 4
_CONTOUR_SCALE = 0.1  # contour strength that lowers the walk's weight by e
_EPSILON = 1e-9


def _soft_histogram(
    values: NDArray[np.floating], superpixels: NDArray[np.int32], count: int, low: float, high: float
) -> NDArray[np.float64]:
    """Histogram of a map [h, w] in each superpixel, [S, bins]; each pixel shared by its two nearest bins."""
    position = np.clip((values.ravel() - low) / (high - low) * (_BINS - 1), 0, _BINS - 1.0001)
    bin_ = position.astype(np.int64)
    upper = position - bin_
    cell = superpixels.ravel().astype(np.int64) * _BINS + bin_
    size = count * _BINS
    both = np.bincount(cell, 1 - upper, size) + np.bincount(cell + 1, upper, size)
    return both.astype(np.float64).reshape(count, _BINS)


def appearance_histograms(image: NDArray[np.uint8], superpixels: NDArray[np.int32]) -> NDArray[np.float64]:
    """Joined histograms of L, a, b and local contrast of each superpixel, [S, K = 64], rows sum to 1.

    Args: image uint8 RGB [h, w, 3]; superpixels int32 [h, w].
    """
    lab = cv2.GaussianBlur(rgb_to_lab(image), (0, 0), 0.7, borderType=cv2.BORDER_REPLICATE)
    lightness = np.ascontiguousarray(lab[..., 0])
    detail = np.abs(lightness - cv2.GaussianBlur(lightness, (0, 0), 2, borderType=cv2.BORDER_REPLICATE))
    contrast = np.sqrt(cv2.GaussianBlur(detail, (0, 0), 1.5, borderType=cv2.BORDER_REPLICATE))
    ranges = ((lightness, 0, 100), (lab[..., 1], -40, 40), (lab[..., 2], -40, 40), (contrast, 0, 4))
    count = int(superpixels.max()) + 1
    joined = np.concatenate(
        [_soft_histogram(channel, superpixels, count, low, high) for channel, low, high in ranges], axis=1
    )
    return joined / joined.sum(axis=1, keepdims=True)


def walk_spread(
    counts: NDArray[np.float64], edges: NDArray[np.int32], weights: NDArray[np.floating], steps: int
) -> NDArray[np.float64]:
    """``counts`` [S, K] after ``steps`` of a lazy walk: half stays, half comes from the neighbours, each with
    its share of the edge weights [E] at the receiving node."""
    size = len(counts)
    a, b = edges[:, 0], edges[:, 1]
    rows, columns = np.concatenate([a, b]), np.concatenate([b, a])
    matrix = sparse.csr_matrix(
        (np.concatenate([weights, weights]).astype(float), (rows, columns)), (size, size)
    )
    degree = np.asarray(matrix.sum(axis=1)).ravel()
    walk = sparse.diags(0.5 / np.maximum(degree, _EPSILON)) @ matrix + 0.5 * sparse.identity(size)
    for _ in range(steps):
        counts = walk @ counts
    return counts


def strengthen(
    graph: RegionGraph, strengths: NDArray[np.floating], histograms: NDArray[np.float64], weight: float
) -> NDArray[np.float32]:
    """Edge strengths float32 [D, E] with neighbourhood contrast: strength^(1 - weight) * contrast^weight.

    Args: strengths [D, E] in [0, 1], mean contour along each edge; histograms [S, K]; weight in [0, 1].
    """
    areas = np.bincount(graph.superpixels.ravel()).astype(np.float64)
    ease = graph.lengths * np.exp(-strengths.mean(axis=0) / _CONTOUR_SCALE)
    mass = np.concatenate([histograms * areas[:, None], areas[:, None]], axis=1)
    spread = walk_spread(mass, graph.edges, ease, _WALK_STEPS)
    spread = spread[:, :-1] / spread[:, -1:]
    contrast = _chi_square(spread, graph.edges)
    return (strengths ** (1 - weight) * contrast**weight).astype(np.float32)


def _chi_square(histograms: NDArray[np.float64], edges: NDArray[np.int32]) -> NDArray[np.float64]:
    """Distance in [0, 1] between the histograms [S, K] on the two sides of each edge, [E]."""
    p, q = histograms[edges[:, 0]], histograms[edges[:, 1]]
    distance: NDArray[np.float64] = 0.5 * (np.square(p - q) / (p + q + _EPSILON)).sum(axis=1)
    return distance


def appearance_hierarchy(histograms: NDArray[np.float64], edges: NDArray[np.int32]) -> Hierarchy:
    """Ward's linkage of neighbours on the square roots of their histograms [S, K] (Hellinger distance).

    Every superpixel counts once, whatever its area, so that small objects do not vanish first. Altitudes are
    Ward's costs: comparable within this hierarchy alone.
    """
    import higra as hg  # here, as in `hierarchies`

    count = len(histograms)
    if count == 1:
        return Hierarchy(np.zeros(1, np.int64), np.zeros(1), np.zeros(0))
    graph = higra_graph(count, edges)
    tree, costs = hg.binary_partition_tree_ward_linkage(graph, np.sqrt(histograms), np.ones(count))
    altitudes = np.maximum.accumulate(np.asarray(costs, np.float64))  # merge order is node order
    common = tree.lowest_common_ancestor(edges[:, 0].astype(np.int64), edges[:, 1].astype(np.int64))
    return Hierarchy(np.asarray(tree.parents(), np.int64), altitudes, altitudes[common])


def appearance_hierarchies(
    histograms: NDArray[np.float64], graph: RegionGraph, strengths: NDArray[np.floating]
) -> list[Hierarchy]:
    """Two hierarchies that the contour does not decide alone: :func:`appearance_hierarchy`, and average linkage
    of the geometric mean of contour and chi-square distance of the two sides' histograms.

    Args: histograms [S, K]; strengths [E] in [0, 1], mean contour along each edge.
    """
    mixed = np.sqrt(_chi_square(histograms, graph.edges) * strengths)
    return [
        appearance_hierarchy(histograms, graph.edges),
        average_linkage(len(histograms), graph.edges, mixed, graph.lengths),
    ]
