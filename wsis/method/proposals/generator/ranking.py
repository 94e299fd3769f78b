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
_AREA_EXPONENT = 0.1
# Regions of the contour in a round, beside one of each hierarchy of appearance and one pair.
_CONTOUR_TURNS = 12
_SMALL, _LARGE = 0.02, 0.2  # shares of the image between which the limits of overlap rise
_Scored = tuple[NDArray[np.int64], NDArray[np.float64]]  # sets and their scores, both [n]


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


def take_turns(rankings: Sequence[NDArray[np.int64]], shares: Sequence[int]) -> NDArray[np.int64]:
    """Merge rankings of the same things, ``shares[i]`` of ranking i in each round; each thing once, where it
    first comes.

    >>> take_turns([np.array([5, 6, 7]), np.array([6, 8])], shares=[2, 1])
    array([5, 6, 7, 8])
    """
    rounds = [np.arange(len(one)) // share for one, share in zip(rankings, shares, strict=True)]
    return _once(np.concatenate(rankings)[np.argsort(np.concatenate(rounds), kind="stable")])


def _once(things: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each thing where it first comes."""
    return things[np.sort(np.unique(things, return_index=True)[1])]


def region_score(candidates: Candidates, image_area: int) -> NDArray[np.float64]:
    """Contour strength at which each candidate dissolves, times a^0.1 for its share a of the image.

    It hardly asks for size, where :func:`objectness` puts ground before small things.
    """
    return candidates.strength * (candidates.area / image_area) ** _AREA_EXPONENT


def unlearned_order(pool: Pool, sets: DistinctSets) -> NDArray[np.int64]:
    """The distinct sets of a pool, int64 [n], best first.

    First, in turns: the single regions of all hierarchies of the contour, whose strengths compare, by
    :func:`region_score`; those of each hierarchy of appearance in the same way; pairs of regions of the contour by
    :func:`objectness`, while those of the contour last. Then all tuples, ranked by :func:`objectness` inside each
    list, the lists interleaved.
    """
    pixels = pool.graph.superpixels.size
    first = np.cumsum([0, *(len(found) for _, found in pool.lists)])
    contours: list[_Scored] = []
    appearance: list[_Scored] = []
    pairs: list[_Scored] = []
    for start, delay, (_, found) in zip(first[:-1], pool.delays, pool.lists, strict=True):
        ids = sets.index[start : start + len(found)]
        if found.nodes.shape[1] == 1:
            (appearance if delay else contours).append((ids, region_score(found, pixels)))
        elif found.nodes.shape[1] == 2 and not delay:
            pairs.append((ids, unlearned_score(found, pixels)))
    rankings = [_ranked(contours), *(_ranked([one]) for one in appearance)]
    shares = [_CONTOUR_TURNS] + [1] * len(appearance)
    if pairs:  # an image of one superpixel has none
        rounds = -(-len(rankings[0]) // _CONTOUR_TURNS)
        rankings, shares = [*rankings, _ranked(pairs)[:rounds]], [*shares, 1]
    which, row = interleave([unlearned_score(found, pixels) for _, found in pool.lists], pool.delays)
    tuples = sets.index[first[which] + row]
    return _once(np.concatenate([take_turns(rankings, shares), tuples]))


def _ranked(lists: Sequence[_Scored]) -> NDArray[np.int64]:
    """The sets of several lists whose scores compare, best first, each once."""
    ids, scores = (np.concatenate(part) for part in zip(*lists, strict=True))
    return _once(ids[np.argsort(-scores, kind="stable")])


def overlap_limits(share: NDArray[np.floating], small: float, large: float) -> NDArray[np.float32]:
    """Most IoU [n] of candidates with those before: ``small`` up to 2 % of the image, ``large`` from 20 %, on a
    logarithmic scale between.

    A large thing has few rivals and wants its outline exactly; small things are many and each wants a place.
    Args: share [n] in (0, 1].
    """
    place = np.clip(np.log(share / _SMALL) / np.log(_LARGE / _SMALL), 0, 1)
    return (small + (large - small) * place).astype(np.float32)


def select_loosening(
    membership: NDArray[np.bool_],
    areas: NDArray[np.int64],
    limits: Sequence[tuple[int, float, float]],
    count: int,
) -> NDArray[np.int64]:
    """Greedy selection in the given order; two proposals may overlap more the later the second comes.

    The r-th accepted proposal has IoU at most the limit of r, and of its own size, with each one before it. What
    a limit turns away is looked at again under the next: the list is passed once a limit.

    Args:
        membership: bool [n, S], best first; areas: int64 [S].
        limits: (rank, IoU of small things, of large ones), ranks rising, see :func:`overlap_limits`; the limit
            holds for accepted ranks below its own.
        count: stop at this many.
    Returns: accepted candidates int64 [P] in order of acceptance.
    """
    chosen = np.zeros(0, np.int64)
    closest = np.zeros(len(membership), np.float32)  # largest IoU with the chosen ones compared so far
    compared = np.zeros(len(membership), np.int64)  # how many of the chosen those are
    waiting = np.arange(len(membership))
    share = areas_of(membership, areas) / areas.sum()
    for rank, small, large in limits:
        end, limit = min(rank, count), overlap_limits(share, small, large)
        refused: list[NDArray[np.int64]] = []
        while len(waiting) and len(chosen) < end:
            block, waiting = waiting[:_BLOCK], waiting[_BLOCK:]
            rows = block[closest[block] <= limit[block]]
            if len(rows):
                recent = chosen[compared[rows].min() :]
                overlap = iou_matrix(membership[rows], membership[recent], areas)
                closest[rows] = np.maximum(closest[rows], overlap.max(axis=1, initial=0))
                compared[rows] = len(chosen)
                rows = rows[closest[rows] <= limit[rows]]
            accepted = _accept(membership[rows], areas, limit[rows], end - len(chosen))
            chosen = np.concatenate([chosen, rows[accepted]])
            refused.append(np.setdiff1d(block, rows[accepted], assume_unique=True))
        waiting = np.concatenate([*refused, waiting])
        if len(chosen) == count:
            break
    return chosen


def _accept(
    membership: NDArray[np.bool_], areas: NDArray[np.int64], limit: NDArray[np.float32], room: int
) -> NDArray[np.int64]:
    """Rows, in order, whose IoU with the accepted ones before is at most their ``limit`` [n]; at most ``room``."""
    too_close = iou_matrix(membership, membership, areas) > limit[None, :]  # [before, after]
    accepted: list[int] = []
    blocked = np.zeros(len(membership), np.bool_)
    for index in range(len(membership)):
        if not blocked[index]:
            accepted.append(index)
            blocked |= too_close[index]
            if len(accepted) == room:
                break
    return np.array(accepted, np.int64)
