"""All candidates of an image, before they are ranked and selected.

Suffix legend: h w working size, S superpixels, E edges, N rows of all lists, n distinct sets.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsis.method.masks.superpixels import pack_membership
from wsis.method.proposals.generator.grouping import Candidates, candidate_membership
from wsis.method.proposals.generator.hierarchies import RegionGraph
from wsis.method.proposals.generator.holes import fill_holes, on_border, touching_pairs
from wsis.method.proposals.generator.region_tree import RegionTree


@dataclass(frozen=True)
class Pool:
    """The lists of tuples that all hierarchies of one image contribute, and what they are sets of.

    Attributes:
        image: working image uint8 RGB [h, w, 3].
        graph: its region graph; areas int64 [S], pixels of each superpixel.
        strengths: float [E], mean over the scales of the contour strength of each edge.
        ucm: float64 [E], the multiscale contour strength that ranks candidates of every hierarchy.
        lists: (tree, candidates) of each list; delays: ranks by which it comes later than the others,
            above 0 for hierarchies of appearance.
    """

    image: NDArray[np.uint8]
    graph: RegionGraph
    areas: NDArray[np.int64]
    strengths: NDArray[np.floating]
    ucm: NDArray[np.float64]
    lists: list[tuple[RegionTree, Candidates]]
    delays: list[int]


@dataclass(frozen=True)
class DistinctSets:
    """Every set of superpixels of a pool once, holes filled.

    membership bool [n, S]; index int64 [N], the set of each row of the lists, one list after the other.
    """

    membership: NDArray[np.bool_]
    index: NDArray[np.int64]


def _unique_rows(membership: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First row of each distinct set of membership [n, S], and the set of each row [n]."""
    bits = pack_membership(membership)
    rows = bits.view(np.dtype((np.void, bits.shape[1])))[:, 0]
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    return first, inverse


def distinct_sets(pool: Pool) -> DistinctSets:
    """The sets of all lists with what the lists say of them. A pool has at least one candidate."""
    found = [candidates for _, candidates in pool.lists]
    lengths = [len(candidates) for candidates in found]
    hashes = np.concatenate([candidates.hashes for candidates in found])
    _, first, same = np.unique(hashes, return_index=True, return_inverse=True)
    offsets = np.cumsum([0, *lengths])
    source = np.searchsorted(offsets, first, side="right") - 1
    membership = np.empty((len(first), pool.graph.num_superpixels), np.bool_)
    for number, (tree, candidates) in enumerate(pool.lists):
        mine = np.flatnonzero(source == number)
        membership[mine] = candidate_membership(tree, candidates.nodes[first[mine] - offsets[number]])
    superpixels = pool.graph.superpixels
    membership = fill_holes(membership, touching_pairs(superpixels), on_border(superpixels))
    kept, filled = _unique_rows(membership)  # sets that differed by a hole are equal now
    return DistinctSets(membership[kept], filled[same])
