"""Image -> proposals: contours, region graph, hierarchies, grouping, ranking, selection.

Arbeláez et al., "Multiscale Combinatorial Grouping", CVPR 2014 (docs/method.md lists the departures).
Suffix legend: H W original image, h w working size, P proposals, S superpixels, E edges, D scales.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from wsis.method.masks.proposal_set import ProposalSet, make_proposal_set
from wsis.method.masks.superpixels import superpixel_areas
from wsis.method.proposals.config import MCGConfig
from wsis.method.proposals.contours.detectors import (
    ContourDetector,
    build_detector,
    check_image,
    contour_scales,
    rgb_to_lab,
)
from wsis.method.proposals.generator.finer_grid import finer_basins, has_room
from wsis.method.proposals.generator.grouping import Candidates, group
from wsis.method.proposals.generator.hierarchies import (
    Hierarchy,
    RegionGraph,
    build_hierarchies,
    build_region_graph,
)
from wsis.method.proposals.generator.pool import Pool, distinct_sets
from wsis.method.proposals.generator.ranking import select_loosening, unlearned_order
from wsis.method.proposals.generator.region_contrast import (
    appearance_hierarchies,
    appearance_histograms,
    strengthen,
)
from wsis.method.proposals.generator.region_tree import (
    LeafTable,
    RegionTree,
    border_lengths,
    build_region_tree,
    leaf_hashes,
)

# weight in [0, 1] of the contrast between whole neighbourhoods in the strength of contours that were not learned
_REGION_CONTRAST = 0.5
_MORE_REGIONS = 1.5  # times as many superpixels where the image was enlarged
_MAX_TUPLE = 4  # regions in a tuple at most
_TUPLES_PER_LIST = 300  # regions, pairs, triplets or 4-tuples that one hierarchy contributes at most
_NEAR_DUPLICATE = 0.02  # a change of area below this share makes no new candidate
# (rank, IoU of small things, of large ones): below that rank no two proposals overlap more
_OVERLAP_LIMITS = ((80, 0.5, 0.8), (250, 0.65, 0.88), (700, 0.8, 0.92), (10**9, 0.95, 0.97))
# Ranks by which tuples of appearance come later: worse than the contour's best, they add to the rest.
_LATE_RANK = 80


def working_image(image: NDArray[np.uint8], max_side: int) -> NDArray[np.uint8]:
    """The image [H, W, 3] with its longer side at most ``max_side``, each side at least 1; never enlarged."""
    check_image(image)
    height, width = image.shape[:2]
    factor = max_side / max(height, width)
    if factor >= 1:
        return np.ascontiguousarray(image)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)


def generate(
    image: NDArray[np.uint8],
    config: MCGConfig | None = None,
    detector: ContourDetector | None = None,
) -> ProposalSet:
    """Proposals of a photograph, best first; the same image and settings give the same bytes.

    The whole image is always among them, so there is at least one. Scores are ranks, 1 - i / P.

    Args:
        image: uint8 RGB [H, W, 3], any size from 1x1.
        detector: contour detector; by default the one the config names.
    Raises:
        InputError: the image is of another type or shape.
        MissingWeightsError: a model that the config names is absent, damaged or foreign.
    """
    config = config or MCGConfig()
    pool = candidate_pool(image, config, detector or build_detector(config))
    membership = select(pool, config.num_proposals)
    graph = pool.graph
    return make_proposal_set(
        graph.superpixels,
        membership,
        1 - np.arange(len(membership)) / len(membership),
        (graph.edges, (pool.strengths * graph.lengths).astype(np.float32), graph.lengths),
        (image.shape[0], image.shape[1]),
    )


def candidate_pool(image: NDArray[np.uint8], config: MCGConfig, detector: ContourDetector) -> Pool:
    """All candidates of a photograph uint8 RGB [H, W, 3], from every hierarchy, neither ranked nor selected."""
    small, contours, colours, graph = _usual_grid(image, config, detector)
    size = (small.shape[0], small.shape[1])
    if has_room(graph.num_superpixels, config.max_regions, size):
        basins, contours = finer_basins(image, size, detector)
        most = min(int(config.max_regions * _MORE_REGIONS), 65_536)  # ids are stored in 16 bits
        graph = build_region_graph(contours, detector.smoothing, most, colours, basins)
    strengths: NDArray[np.floating] = graph.sums / np.maximum(graph.lengths, 1)
    histograms = None
    if config.appearance or not detector.learned:
        histograms = appearance_histograms(small, graph.superpixels)
    if histograms is not None and not detector.learned:
        strengths = strengthen(graph, strengths, histograms, _REGION_CONTRAST)
    hierarchies = build_hierarchies(graph.num_superpixels, graph.edges, strengths, graph.lengths)
    late: list[Hierarchy] = []
    if histograms is not None and config.appearance:
        late = appearance_hierarchies(histograms, graph, strengths.mean(axis=0))
    return _grow(small, graph, strengths.mean(axis=0), hierarchies, late)


def looks_enlarged(image: NDArray[np.uint8], config: MCGConfig, detector: ContourDetector) -> bool:
    """Whether proposals of an image uint8 RGB [H, W, 3] are looked for on a finer grid, see `finer_grid`."""
    small, _, _, graph = _usual_grid(image, config, detector)
    return has_room(graph.num_superpixels, config.max_regions, (small.shape[0], small.shape[1]))


def _usual_grid(
    image: NDArray[np.uint8], config: MCGConfig, detector: ContourDetector
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.floating] | None, RegionGraph]:
    """The working image, its contours [D, h, w], its colours [h, w, 3] where they count, and its superpixels."""
    small = working_image(image, config.max_side)
    contours = contour_scales(small, detector)
    colours = None if detector.learned else rgb_to_lab(small)
    return (
        small,
        contours,
        colours,
        build_region_graph(contours, detector.smoothing, config.max_regions, colours),
    )


def _grow(
    image: NDArray[np.uint8],
    graph: RegionGraph,
    strengths: NDArray[np.floating],
    hierarchies: list[Hierarchy],
    late: list[Hierarchy],
) -> Pool:
    """The lists of all hierarchies; those of ``late`` come behind the first of the others. The last of
    ``hierarchies`` is the multiscale one, whose contour strength ranks the candidates of every hierarchy."""
    leaves = LeafTable(
        areas=superpixel_areas(graph.superpixels),
        border=border_lengths(graph.superpixels, graph.num_superpixels),
        edges=graph.edges,
        lengths=graph.lengths.astype(np.float64),
        strengths=hierarchies[-1].saliency,
        hashes=leaf_hashes(graph.num_superpixels),
    )
    pool: list[tuple[RegionTree, Candidates]] = []
    delays: list[int] = []
    for several, delay in ((hierarchies, 0), (late, _LATE_RANK)):
        for hierarchy in several:
            tree = build_region_tree(hierarchy, leaves, _NEAR_DUPLICATE)
            lists = group(tree, _MAX_TUPLE, _TUPLES_PER_LIST, _NEAR_DUPLICATE)
            pool += [(tree, candidates) for candidates in lists]
            delays += [delay] * len(lists)
    return Pool(image, graph, leaves.areas, strengths, leaves.strengths, pool, delays)


def select(pool: Pool, num_proposals: int) -> NDArray[np.bool_]:
    """Membership [P, S] of the selected proposals in order; the last row is the whole image if none was."""
    sets = distinct_sets(pool)
    membership = sets.membership[unlearned_order(pool, sets)]
    selected = membership[select_loosening(membership, pool.areas, _OVERLAP_LIMITS, num_proposals)]
    if not selected.all(axis=1).any():
        selected = np.concatenate([selected[: num_proposals - 1], np.ones_like(selected[:1])])
    return selected
