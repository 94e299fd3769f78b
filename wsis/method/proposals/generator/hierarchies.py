"""Superpixels and the hierarchies over them: watershed, region graph, mean-contour ultrametric maps.

Suffix legend: h w working size, S superpixels, E edges of the region graph, M = 2 S - 1 tree nodes, D scales.

One region graph serves all scales (MCG aligns separately segmented scales; here alignment is free): the
watershed of the averaged contour gives the superpixels, the contour of each scale gives the graph's weights,
average linkage gives each scale's hierarchy. The mean of the scales' saliencies on the edges, linked again,
is the multiscale hierarchy.

Higra is imported where it is called: it brings matplotlib, 50 MB and a second, to processes that make no proposals.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from wsis.method.masks.superpixels import adjacency, segment_sums, superpixel_areas

if TYPE_CHECKING:
    import higra as hg


@dataclass(frozen=True)
class RegionGraph:
    """Superpixels int32 [h, w], ids 0..S-1, each 4-connected; their adjacency; contour sums by scale.

    edges int32 [E, 2] (a < b); sums float32 [D, E]; lengths float32 [E] (pixel pairs).
    """

    superpixels: NDArray[np.int32]
    edges: NDArray[np.int32]
    sums: NDArray[np.float32]
    lengths: NDArray[np.float32]

    @property
    def num_superpixels(self) -> int:
        """S."""
        return int(self.superpixels.max()) + 1


@dataclass(frozen=True)
class Hierarchy:
    """Binary merge tree: leaves 0..S-1 are the superpixels, node S + i is the i-th merge, the root is last.

    parents int64 [M] (root: itself); altitudes float64 [M], the contour strength at which a node's two parts
    merge (leaves 0), never above the parent's; saliency float64 [E], the altitude at which the two sides of
    each edge of the region graph meet: the ultrametric contour map (UCM) on the graph.
    """

    parents: NDArray[np.int64]
    altitudes: NDArray[np.float64]
    saliency: NDArray[np.float64]

    @property
    def num_leaves(self) -> int:
        """S."""
        return (len(self.parents) + 1) // 2


def watershed(contour: NDArray[np.float32], smoothing: float) -> NDArray[np.int32]:
    """Catchment basins of a contour map [h, w], int32 [h, w], ids 0.. in scan order, each 4-connected."""
    if contour.size == 1:
        return np.zeros(contour.shape, np.int32)
    if smoothing > 0:
        contour = cv2.GaussianBlur(contour, (0, 0), smoothing, borderType=cv2.BORDER_REPLICATE)
    import higra as hg

    graph = hg.get_4_adjacency_graph(contour.shape)
    weights = hg.weight_graph(graph, contour, hg.WeightFunction.mean)
    labels = np.asarray(hg.labelisation_watershed(graph, weights)).reshape(contour.shape)
    return contiguous(labels)


def contiguous(labels: np.ndarray) -> NDArray[np.int32]:
    """The same partition with ids 0..S-1 in order of first occurrence, int32."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first), dtype=np.int32)
    return rank[inverse].reshape(labels.shape)


def higra_graph(num_vertices: int, edges: NDArray[np.int32]) -> "hg.UndirectedGraph":
    """Higra's graph with the given edges [E, 2]."""
    import higra as hg

    graph = hg.UndirectedGraph(num_vertices)
    graph.add_edges(edges[:, 0].astype(np.int64), edges[:, 1].astype(np.int64))
    return graph


def average_linkage(
    num_leaves: int, edges: NDArray[np.int32], strengths: np.ndarray, lengths: np.ndarray
) -> Hierarchy:
    """Merge the weakest mean boundary first; the altitudes are then made monotone towards the root.

    Args: edges [E, 2] of a connected graph over ``num_leaves`` vertices; strengths [E], mean contour of each
    edge; lengths [E] > 0, its weight in later means.
    """
    import higra as hg

    if num_leaves == 1:
        return Hierarchy(np.zeros(1, np.int64), np.zeros(1), np.zeros(0))
    graph = higra_graph(num_leaves, edges)
    tree, altitudes = hg.binary_partition_tree_average_linkage(
        graph, strengths.astype(np.float64), lengths.astype(np.float64)
    )
    zeros = np.zeros(num_leaves)
    monotone = hg.accumulate_and_max_sequential(tree, altitudes, zeros, hg.Accumulators.max)
    common = tree.lowest_common_ancestor(edges[:, 0].astype(np.int64), edges[:, 1].astype(np.int64))
    return Hierarchy(np.asarray(tree.parents(), np.int64), np.asarray(monotone), np.asarray(monotone)[common])


def cut_to(hierarchy: Hierarchy, num_regions: int) -> NDArray[np.int64]:
    """Region of each leaf, int64 [S], after all merges but the last ``num_regions - 1``."""
    last_kept = len(hierarchy.parents) - num_regions  # the nodes above it are the merges undone
    region = np.arange(len(hierarchy.parents))
    for node in range(last_kept - 1, -1, -1):
        if hierarchy.parents[node] <= last_kept:
            region[node] = region[hierarchy.parents[node]]
    return region[: hierarchy.num_leaves]


def ward_linkage(superpixels: NDArray[np.int32], edges: NDArray[np.int32], image: np.ndarray) -> Hierarchy:
    """Merge the neighbours whose union raises the variance of colour least (altitudes and saliency 0).

    Args: image float [h, w, channels], e.g. Lab.
    """
    import higra as hg

    areas = superpixel_areas(superpixels)
    colours = segment_sums(image, superpixels) / areas[:, None]
    graph = higra_graph(len(areas), edges)
    tree, _ = hg.binary_partition_tree_ward_linkage(graph, colours, areas.astype(np.float64))
    parents = np.asarray(tree.parents(), np.int64)
    return Hierarchy(parents, np.zeros(len(parents)), np.zeros(len(edges)))


def build_region_graph(
    contours: NDArray[np.float32],
    smoothing: float,
    max_regions: int,
    colours: NDArray[np.floating] | None = None,
    basins: NDArray[np.int32] | None = None,
) -> RegionGraph:
    """Superpixels of the averaged contour, at most ``max_regions``, with every scale's contour on their edges.

    Args:
        contours: float32 [D, h, w] in [0, 1].
        colours: float [h, w, channels]; if given, surplus basins merge by Ward's criterion on them (a contour
            that was not learned says too little about which basins belong together), else by mean contour.
        basins: int32 [h, w] to begin with; by default the watershed of the averaged contour.
    """
    mean = contours.mean(axis=0)
    superpixels = watershed(mean, smoothing) if basins is None else basins
    count = int(superpixels.max()) + 1
    if count > max_regions:
        edges, sums, lengths = adjacency(superpixels, mean)
        if colours is None:
            fine = average_linkage(count, edges, sums / lengths, lengths)
        else:
            fine = ward_linkage(superpixels, edges, colours)
        superpixels = contiguous(cut_to(fine, max_regions)[superpixels])
    edges, sums, lengths = adjacency(superpixels, contours)
    return RegionGraph(superpixels, edges, sums, lengths)


def build_hierarchies(
    num_superpixels: int, edges: NDArray[np.int32], strengths: np.ndarray, lengths: np.ndarray
) -> list[Hierarchy]:
    """One hierarchy a scale, then the multiscale one (from the mean of their UCMs): D + 1 in all.

    Args: strengths float [D, E], mean contour of each edge at each scale.
    """
    single = [average_linkage(num_superpixels, edges, row, lengths) for row in strengths]
    saliency = np.mean([hierarchy.saliency for hierarchy in single], axis=0)
    return [*single, average_linkage(num_superpixels, edges, saliency, lengths)]
