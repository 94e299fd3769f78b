"""Ranking without labels, and selection of a diverse list.

Suffix legend: n candidates, P selected, S superpixels.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from wsis.masks.superpixels import areas_of, intersections, iou_matrix
from wsis.mcg.grouping import Candidates

_BLOCK = 128


def unlearned_score(candidates: Candidates, image_area: int) -> NDArray[np.float64]:
    """sqrt(a) (1 - a) * mean contour strength along the boundary * (1 - share of it on the image border).

    a is the area as a share of the image. Nothing is trained; the whole image scores 0.
    """
    share = candidates.area / image_area
    inner = np.maximum(candidates.boundary_length, 1)
    outside = candidates.border / np.maximum(candidates.boundary_length + candidates.border, 1)
    mean_strength = candidates.boundary_strength / inner
    return np.sqrt(share) * (1 - share) * mean_strength * (1 - outside)


def interleave(scores: Sequence[NDArray[np.floating]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Merge lists by rank: the best of each list, then the second of each, ...

    Returns: list index [n] and row in that list [n], in the merged order; within a rank, lists keep theirs.
    """
    lists = [np.full(len(score), index) for index, score in enumerate(scores)]
    rows = [np.argsort(-score, kind="stable") for score in scores]
    ranks = [np.arange(len(score)) for score in scores]
    which, row, rank = (np.concatenate(part) for part in (lists, rows, ranks))
    order = np.lexsort((which, rank))
    return which[order], row[order]


def select_loosening(
    total: int,
    membership_of: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
    areas: NDArray[np.int64],
    limits: Sequence[tuple[int, float]],
    count: int,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Greedy selection in the given order; two proposals may overlap more the later the second comes.

    The r-th accepted proposal has IoU at most the limit of r with each one before it. What a limit turns away
    is looked at again under the next: the list is passed once a limit.

    Args:
        total: candidates 0..total-1, best first.
        membership_of: rows -> bool [n, S], asked for in blocks; each row at most once a limit.
        areas: int64 [S].
        limits: (rank, IoU), ranks rising; the limit holds for accepted ranks below its own.
        count: stop at this many.
    Returns: accepted candidates int64 [P] in order of acceptance, their membership [P, S].
    """
    chosen: list[int] = []
    chosen_rows = np.zeros((0, len(areas)), np.bool_)
    waiting = np.arange(total)
    for rank, limit in limits:
        end = min(rank, count)
        refused: list[NDArray[np.int64]] = []
        start = 0
        while start < len(waiting) and len(chosen) < end:
            block = waiting[start : start + _BLOCK]
            rows = membership_of(block)
            accepted = _accept(chosen_rows, rows, areas, limit, end - len(chosen))
            seen = len(block) if len(chosen) + len(accepted) < end else int(accepted[-1]) + 1
            chosen.extend(block[accepted].tolist())
            chosen_rows = np.concatenate([chosen_rows, rows[accepted]])
            refused.append(np.delete(block[:seen], accepted))
            start += seen
        waiting = np.concatenate([*refused, waiting[start:]])
        if len(chosen) >= count:
            break
    return np.array(chosen, np.int64), chosen_rows


def _accept(
    before: NDArray[np.bool_], block: NDArray[np.bool_], areas: NDArray[np.int64], limit: float, room: int
) -> NDArray[np.int64]:
    """Rows of ``block``, in order, whose IoU with all accepted ones is at most ``limit``; at most ``room``."""
    free = np.ones(len(block), np.bool_)
    if len(before):
        free = iou_matrix(block, before, areas).max(axis=1) <= limit
    rows = np.flatnonzero(free)
    overlap = iou_matrix(block[rows], block[rows], areas) > limit
    accepted: list[int] = []
    blocked = np.zeros(len(rows), np.bool_)
    for index in range(len(rows)):
        if not blocked[index]:
            accepted.append(index)
            blocked |= overlap[index]
            if len(accepted) == room:
                break
    return rows[accepted]


def select_mmr(
    membership: NDArray[np.bool_], scores: NDArray[np.floating], areas: NDArray[np.int64], theta: float, count: int
) -> NDArray[np.int64]:
    """Maximal marginal relevance: next is the largest theta * score - (1 - theta) * (max IoU with chosen).

    Args: membership bool [n, S]; scores [n]; areas int64 [S]. Returns candidates int64 [min(n, count)] in order.
    """
    size = areas_of(membership, areas)
    closest = np.zeros(len(membership))
    open_ = np.ones(len(membership), np.bool_)
    chosen: list[int] = []
    for _ in range(min(count, len(membership))):
        gain = np.where(open_, theta * scores - (1 - theta) * closest, -np.inf)
        best = int(np.argmax(gain))
        chosen.append(best)
        open_[best] = False
        common = intersections(membership, membership[best : best + 1], areas)[:, 0]
        closest = np.maximum(closest, common / (size + size[best] - common))
    return np.array(chosen, np.int64)
