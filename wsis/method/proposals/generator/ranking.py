"""Ranking without labels, and selection of a diverse list.

Suffix legend: n candidates, P selected, S superpixels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsis.method.masks.superpixels import areas_of, iou_matrix
from wsis.method.proposals.generator.grouping import Candidates
from wsis.method.proposals.generator.pool import DistinctSets, Pool

_BLOCK = 128


def objectness(
    area_share: NDArray[np.floating],
    boundary_length: NDArray[np.floating],
    boundary_strength: NDArray[np.floating],
    border: NDArray[np.floating] | NDArray[np.integer],
) -> NDArray[np.float64]:
    """sqrt(a) (1 - a) * mean contour strength along the boundary * (1 - share of it on the image border).

    Nothing is trained; the whole image scores 0.

    Args (all [n]): area_share a in (0, 1]; boundary_length without the image border; boundary_strength, the
    contour sum along it; border, the length on the image border.
    """
    mean_strength = boundary_strength / np.maximum(boundary_length, 1)
    outside = border / np.maximum(boundary_length + border, 1)
    return np.sqrt(area_share) * (1 - area_share) * mean_strength * (1 - outside)


def unlearned_score(candidates: Candidates, image_area: int) -> NDArray[np.float64]:
    """:func:`objectness` of the candidates of one list."""
    return objectness(
        candidates.area / image_area,
        candidates.boundary_length,
        candidates.boundary_strength,
        candidates.border,
    )


def unlearned_score_of_sets(
    membership: NDArray[np.bool_],
    areas: NDArray[np.int64],
    border: NDArray[np.int64],
    graph: tuple[NDArray[np.int32], NDArray[np.floating], NDArray[np.floating]],
) -> NDArray[np.float64]:
    """:func:`objectness` of any sets of superpixels [P, S], e.g. imported ones.

    Args: areas int64 [S] pixels; border int64 [S] sides on the image border; graph: edges [E, 2], contour sums
    and lengths [E], see :func:`wsis.method.masks.superpixels.adjacency`.
    """
    edges, sums, lengths = graph
    cut = membership[:, edges[:, 0]] ^ membership[:, edges[:, 1]]
    along = areas_of(cut, np.stack([lengths, sums], axis=1).astype(np.float64))
    share = areas_of(membership, areas) / areas.sum()
    return objectness(share, along[:, 0], along[:, 1], areas_of(membership, border))


def interleave(
    scores: Sequence[NDArray[np.floating]], delays: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Merge lists by rank: the best of each list, then the second of each, ...

    Args: delays: ranks by which each list comes later; its best stands beside the others' delay-th.

    Returns: list index [n] and row in that list [n], in the merged order; within a rank, lists keep theirs.
    """
    lists = [np.full(len(score), index) for index, score in enumerate(scores)]
    rows = [np.argsort(-score, kind="stable") for score in scores]
    ranks = [np.arange(len(score)) + delay for score, delay in zip(scores, delays, strict=True)]
    which, row, rank = (np.concatenate(part) for part in (lists, rows, ranks))
    order = np.lexsort((which, rank))
    return which[order], row[order]


def unlearned_order(pool: Pool, sets: DistinctSets) -> NDArray[np.int64]:
    """The distinct sets of a pool, int64 [n], best first: ranked inside each list, the lists interleaved."""
    pixels = pool.graph.superpixels.size
    which, row = interleave([unlearned_score(found, pixels) for _, found in pool.lists], pool.delays)
    first_row = np.cumsum([0, *(len(candidates) for _, candidates in pool.lists)])
    come = sets.index[first_row[which] + row]
    return come[np.sort(np.unique(come, return_index=True)[1])]


def select_loosening(
    membership: NDArray[np.bool_], areas: NDArray[np.int64], limits: Sequence[tuple[int, float]], count: int
) -> NDArray[np.int64]:
    """Greedy selection in the given order; two proposals may overlap more the later the second comes.

    The r-th accepted proposal has IoU at most the limit of r with each one before it. What a limit turns away
    is looked at again under the next: the list is passed once a limit.

    Args:
        membership: bool [n, S], best first; areas: int64 [S].
        limits: (rank, IoU), ranks rising; the limit holds for accepted ranks below its own.
        count: stop at this many.
    Returns: accepted candidates int64 [P] in order of acceptance.
    """
    chosen = np.zeros(0, np.int64)
    closest = np.zeros(len(membership), np.float32)  # largest IoU with the chosen ones compared so far
    compared = np.zeros(len(membership), np.int64)  # how many of the chosen those are
    waiting = np.arange(len(membership))
    for rank, limit in limits:
        end = min(rank, count)
        refused: list[NDArray[np.int64]] = []
        while len(waiting) and len(chosen) < end:
            block, waiting = waiting[:_BLOCK], waiting[_BLOCK:]
            rows = block[closest[block] <= limit]
            if len(rows):
                recent = chosen[compared[rows].min() :]
                overlap = iou_matrix(membership[rows], membership[recent], areas)
                closest[rows] = np.maximum(closest[rows], overlap.max(axis=1, initial=0))
                compared[rows] = len(chosen)
                rows = rows[closest[rows] <= limit]
            accepted = _accept(membership[rows], areas, limit, end - len(chosen))
            chosen = np.concatenate([chosen, rows[accepted]])
            refused.append(np.setdiff1d(block, rows[accepted], assume_unique=True))
        waiting = np.concatenate([*refused, waiting])
        if len(chosen) == count:
            break
    return chosen


def _accept(
    membership: NDArray[np.bool_], areas: NDArray[np.int64], limit: float, room: int
) -> NDArray[np.int64]:
    """Rows, in order, whose IoU with the accepted ones before is at most ``limit``; at most ``room``."""
    overlap = iou_matrix(membership, membership, areas) > limit
    accepted: list[int] = []
    blocked = np.zeros(len(membership), np.bool_)
    for index in range(len(membership)):
        if not blocked[index]:
            accepted.append(index)
            blocked |= overlap[index]
            if len(accepted) == room:
                break
    return np.array(accepted, np.int64)
