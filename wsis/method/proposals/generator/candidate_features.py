"""What a learned ranker sees of a candidate: measurements that are sums over its superpixels and cut edges.

Suffix legend: h w working size, S superpixels, E edges, n sets, K measures of a superpixel, L of an edge.

With B the contour sum along a set's boundary, I that of the edges inside and D the sum of its superpixels' edge
sums, D = B + 2 I: two matrix products give every figure of boundary and inside at once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsis.method.masks.superpixels import boxes_of, segment_sums, superpixel_boxes
from wsis.method.proposals.contours.detectors import rgb_to_lab
from wsis.method.proposals.generator.pool import DistinctSets, Pool
from wsis.method.proposals.generator.ranking import objectness
from wsis.method.proposals.generator.region_tree import border_lengths

_WEAK = (0.03, 0.08, 0.15, 0.3, 0.5)  # the share of a boundary below each: its distribution, minimum included
_EDGE_MEASURES = ("ucm", "finest", "mean", "coarsest", "colour_step", *(f"weak_{limit}" for limit in _WEAK))
_LEAF = 12  # measures of a superpixel that are no edge sums
_ROWS = 512  # sets at once: bounds the table of sets x edges
FEATURES: tuple[str, ...] = (
    *("log_area", "area", "root_area", "log_boundary", "log_inside", "objectness"),
    *(f"boundary_{name}" for name in _EDGE_MEASURES),
    *(f"inside_{name}" for name in _EDGE_MEASURES),
    *("ucm_difference", "ucm_relative", "image_ucm", "image_strong_ucm"),
    *("compactness", "border_share", "border_of_image", "left", "top", "right", "bottom", "sides"),
    *("box_filled", "box_aspect", "box_width", "box_height"),
    *("x", "y", "x_off_centre", "y_off_centre", "x_spread", "y_spread"),
    *("colour_from_rest", "colour_from_boundary", "colour_spread"),
    *("contour_lists", "appearance_lists", "regions", "strength"),
)


@dataclass(frozen=True)
class Measures:
    """What the superpixels and edges of an image contribute to any set of them.

    leaves float32 [S, K]: area, border sides, Lab (3), its square (3), x, y, their squares, then the edge sums of
    ``along``; along float32 [E, L]: length, the edge measures times length; sides float32 [E, 3]: Lab of the two
    sides times length; edges int32 [E, 2]; boxes int64 [S, 4]; total float64 [K] of the image; ucm: mean and
    0.9-quantile over the edges; size (h, w).
    """

    leaves: NDArray[np.float32]
    along: NDArray[np.float32]
    sides: NDArray[np.float32]
    edges: NDArray[np.int32]
    boxes: NDArray[np.int64]
    total: NDArray[np.float64]
    ucm: tuple[float, float]
    size: tuple[int, int]


def describe(pool: Pool) -> Measures:
    """Measure the superpixels and edges of an image once, for all its candidates."""
    graph, count = pool.graph, pool.graph.num_superpixels
    height, width = graph.superpixels.shape
    one, other = graph.edges[:, 0], graph.edges[:, 1]
    colours = segment_sums(rgb_to_lab(pool.image), graph.superpixels) / 100
    mean = colours / pool.areas[:, None]
    length = graph.lengths.astype(np.float64)
    measures = [length, pool.ucm * length, graph.sums[0], graph.sums.mean(axis=0), graph.sums[-1]]
    measures += [np.linalg.norm(mean[one] - mean[other], axis=1) * length]
    measures += [(pool.ucm < limit) * length for limit in _WEAK]
    along = np.stack(measures, axis=1)
    at = [np.bincount(one, m, count) + np.bincount(other, m, count) for m in measures]
    leaves = np.concatenate(
        [
            pool.areas[:, None],
            border_lengths(graph.superpixels, count)[:, None],
            colours,
            colours * mean,
            segment_sums(_places(height, width), graph.superpixels),
            np.stack(at, axis=1),
        ],
        axis=1,
    )
    return Measures(
        leaves=leaves.astype(np.float32),
        along=along.astype(np.float32),
        sides=((mean[one] + mean[other]) * length[:, None]).astype(np.float32),
        edges=graph.edges,
        boxes=superpixel_boxes(graph.superpixels),
        total=leaves.sum(axis=0),
        ucm=(
            float(along[:, 1].sum() / max(length.sum(), 1)),
            float(np.quantile(pool.ucm, 0.9)) if len(pool.ucm) else 0.0,
        ),
        size=(height, width),
    )


def _places(height: int, width: int) -> NDArray[np.float64]:
    """x, y in (0, 1) of each pixel and their squares, [h, w, 4]."""
    rows, columns = np.indices((height, width))
    place = np.stack([(columns + 0.5) / width, (rows + 0.5) / height], axis=2)
    return np.concatenate([place, place**2], axis=2)


def candidate_features(sets: DistinctSets, measures: Measures) -> NDArray[np.float32]:
    """:data:`FEATURES` of every set, float32 [n, F], finite."""
    said = np.stack([sets.contour_lists, sets.appearance_lists, sets.regions, sets.strength], axis=1)
    blocks = [
        np.concatenate([_block(sets.membership[i : i + _ROWS], measures), said[i : i + _ROWS]], axis=1)
        for i in range(0, len(said), _ROWS)
    ]
    return np.concatenate(blocks).astype(np.float32)


def _block(membership: NDArray[np.bool_], measures: Measures) -> NDArray[np.float64]:
    """All but what the lists say, in the order of :data:`FEATURES`."""
    inside = (membership.astype(np.float32) @ measures.leaves).astype(np.float64)
    cut = membership[:, measures.edges[:, 0]] ^ membership[:, measures.edges[:, 1]]
    weights = cut.astype(np.float32)
    along = (weights @ measures.along).astype(np.float64)
    both_sides = (weights @ measures.sides).astype(np.float64)
    within = np.maximum(inside[:, _LEAF:] - along, 0) / 2
    length, inner = np.maximum(along[:, :1], 1), np.maximum(within[:, :1], 1)
    outer_mean, inner_mean = along[:, 1:] / length, within[:, 1:] / inner
    height, width = measures.size
    area, border = inside[:, :1], inside[:, 1:2]
    share = area / (height * width)
    perimeter = along[:, :1] + border
    score = objectness(share[:, 0], along[:, 0], along[:, 1], border[:, 0])[:, None]
    columns = [
        *(np.log(share), share, np.sqrt(share), np.log(length), np.log(inner), score),
        *(outer_mean, inner_mean, outer_mean[:, :1] - inner_mean[:, :1]),
        outer_mean[:, :1] / max(measures.ucm[1], 1e-3),
        np.broadcast_to(measures.ucm, (len(membership), 2)),
        *(np.sqrt(area) / (perimeter + 1), border / (perimeter + 1), border / (2 * (height + width))),
        _box_features(boxes_of(membership, measures.boxes), area, measures.size),
        _place_features(inside),
        _colour_features(inside, both_sides / length, measures.total),
    ]
    return np.concatenate(columns, axis=1)


def _box_features(
    boxes: NDArray[np.int64], area: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.float64]:
    """Image sides that are touched, their number, share of the box that is filled, log aspect, relative sides."""
    height, width = size
    touched = np.stack(
        [boxes[:, 0] == 0, boxes[:, 1] == 0, boxes[:, 2] == width, boxes[:, 3] == height], axis=1
    )
    across, down = (boxes[:, 2:3] - boxes[:, 0:1]), (boxes[:, 3:4] - boxes[:, 1:2])
    shape = [area / (across * down), np.log(across / down), across / width, down / height]
    return np.concatenate([touched, touched.sum(axis=1, keepdims=True), *shape], axis=1)


def _place_features(inside: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre of mass, its distance from the image's centre, standard deviations; x then y, relative."""
    centre, square = inside[:, 8:10] / inside[:, :1], inside[:, 10:12] / inside[:, :1]
    spread = np.sqrt(np.maximum(square - centre**2, 0))
    return np.concatenate([centre, np.abs(centre - 0.5), spread], axis=1)


def _colour_features(
    inside: NDArray[np.float64], boundary: NDArray[np.float64], total: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance of the mean Lab (/ 100) from that of the rest of the image and from that of the boundary's two sides,
    and its standard deviation over the superpixels."""
    area = inside[:, :1]
    mean = inside[:, 2:5] / area
    rest = (total[2:5] - inside[:, 2:5]) / np.maximum(total[0] - area, 1)
    variance = np.maximum(inside[:, 5:8] / area - mean**2, 0).sum(axis=1)
    distances = [np.linalg.norm(mean - other, axis=1) for other in (rest, boundary / 2)]
    return np.stack([*distances, np.sqrt(variance)], axis=1)
