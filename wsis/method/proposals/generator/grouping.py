"""Combinatorial grouping: regions of a hierarchy alone, in pairs, triplets and 4-tuples of neighbours.

Suffix legend: n candidates of one list, k regions in a tuple, M tree nodes, S superpixels, N pairs.

A tuple's regions are neighbours in some cut of the hierarchy and form a connected set. Tuples whose union is
a near duplicate of something smaller or larger are never expanded: a part under ``near_duplicate`` of the
union, a region that differs from its parent by less than that.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsis.method.proposals.generator.region_tree import RegionTree, leaf_hashes


@dataclass(frozen=True)
class Candidates:
    """Tuples of one size from one hierarchy.

    nodes int64 [n, k], ascending in a row; strength float64 [n], the least contour strength (altitude) at
    which one of its regions dissolves; area int64 [n] pixels; boundary_length, boundary_strength float64 [n],
    length of the outer boundary without the image border and the contour sum along it; border [n], sides on
    the image border; hashes uint64 [n], equal for equal sets of superpixels whatever the hierarchy.
    """

    nodes: NDArray[np.int64]
    strength: NDArray[np.float64]
    area: NDArray[np.int64]
    boundary_length: NDArray[np.float64]
    boundary_strength: NDArray[np.float64]
    border: NDArray[np.int64]
    hashes: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.nodes)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "Candidates":
        """The given rows."""
        return Candidates(
            self.nodes[rows],
            self.strength[rows],
            self.area[rows],
            self.boundary_length[rows],
            self.boundary_strength[rows],
            self.border[rows],
            self.hashes[rows],
        )


def candidate_membership(tree: RegionTree, nodes: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Union of the leaves of each tuple: nodes [n, k] -> bool [n, S]."""
    union = tree.membership(nodes[:, 0])
    for column in range(1, nodes.shape[1]):
        union |= tree.membership(nodes[:, column])
    return union


def single_regions(tree: RegionTree) -> Candidates:
    """All kept nodes of the tree, the root included."""
    return _measure(tree, np.flatnonzero(tree.kept)[:, None])


def _measure(tree: RegionTree, nodes: NDArray[np.int64]) -> Candidates:
    """Complete the tables of tuples nodes [n, k] of disjoint regions."""
    length = tree.boundary_length[nodes].sum(axis=1)
    total = tree.boundary_strength[nodes].sum(axis=1)
    for one in range(nodes.shape[1]):
        for other in range(one + 1, nodes.shape[1]):
            shared_length, shared_total = tree.shared(nodes[:, one], nodes[:, other])
            length -= 2 * shared_length
            total -= 2 * shared_total
    return Candidates(
        nodes=nodes,
        strength=tree.strength[nodes].min(axis=1),
        area=tree.area[nodes].sum(axis=1),
        boundary_length=np.maximum(length, 0),
        boundary_strength=np.maximum(total, 0),
        border=tree.border[nodes].sum(axis=1),
        hashes=tree.hashes[nodes].sum(axis=1, dtype=np.uint64),
    )


def _distinct(tree: RegionTree, nodes: NDArray[np.int64], near_duplicate: float) -> NDArray[np.bool_]:
    """Tuples none of whose parts is under ``near_duplicate`` of the union."""
    area = tree.area[nodes]
    smallest: NDArray[np.bool_] = area.min(axis=1) >= near_duplicate * area.sum(axis=1)
    return smallest


def _first_of_each(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Rows, ascending, that hold the first occurrence of their hash."""
    return np.sort(np.unique(hashes, return_index=True)[1])


def _strongest(candidates: Candidates, limit: int) -> Candidates:
    """At most ``limit`` rows by falling strength (stable)."""
    return candidates.take(np.argsort(-candidates.strength, kind="stable")[:limit])


def kept_pairs(tree: RegionTree) -> NDArray[np.int64]:
    """Pairs [n, 2] (a < b) of kept nodes that are neighbours in some cut."""
    count = len(tree.parents)
    pairs = np.stack([tree.pair_keys // count, tree.pair_keys % count], axis=1)
    return pairs[tree.kept[pairs].all(axis=1)]


def expand(
    tree: RegionTree, tuples: NDArray[np.int64], pairs: NDArray[np.int64], near_duplicate: float
) -> NDArray[np.int64]:
    """Tuples [n, k] with every region that neighbours one of theirs and coexists with all: [m, k + 1].

    Two nodes coexist in a cut iff each is born before the other dissolves, i.e. parent(a) > b for a < b
    (node numbers are the order of the merges); tuples that pairwise coexist share a cut (Helly). Rows come
    ascending inside, each set of nodes once, in order of first appearance.
    """
    both = np.concatenate([pairs, pairs[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    first = np.searchsorted(both[:, 0], np.arange(len(tree.parents) + 1))
    sources = tuples.ravel()  # row-major: source i belongs to tuple i // k
    degree = first[sources + 1] - first[sources]
    owner = np.repeat(np.arange(len(sources)) // tuples.shape[1], degree)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(degree) - degree, degree)
    added = both[np.repeat(first[sources], degree) + offset, 1]
    old = tuples[owner]
    low, high = np.minimum(old, added[:, None]), np.maximum(old, added[:, None])
    coexist = ((tree.parents[low] > high) & (low != high)).all(axis=1)
    grown = np.sort(np.concatenate([old[coexist], added[coexist, None]], axis=1), axis=1)
    grown = grown[_distinct(tree, grown, near_duplicate)]
    return grown[_first_of_each(_node_hashes(grown, len(tree.parents)))]


def _node_hashes(nodes: NDArray[np.int64], count: int) -> NDArray[np.uint64]:
    """One 64-bit number for each set of nodes."""
    return leaf_hashes(count)[nodes].sum(axis=1, dtype=np.uint64)


def group(tree: RegionTree, max_tuple: int, limit: int, near_duplicate: float) -> list[Candidates]:
    """Singles, pairs, triplets, ... of one hierarchy: up to ``max_tuple`` lists, each at most ``limit`` long.

    Each list is ordered by falling strength; equal sets of superpixels occur once in a list and not again
    in a list of larger tuples. The strongest ``limit`` tuples of k regions grow into those of k + 1.
    """
    lists = [_strongest(single_regions(tree), limit)]
    seen = [tree.hashes]
    pairs = kept_pairs(tree)
    tuples = pairs[_distinct(tree, pairs, near_duplicate)] if len(pairs) else pairs
    for size in range(2, max_tuple + 1):
        if not len(tuples):
            break
        grown = _measure(tree, tuples)
        grown = grown.take(_first_of_each(grown.hashes))
        grown = grown.take(~np.isin(grown.hashes, np.concatenate(seen)))
        grown = _strongest(grown, limit)
        lists.append(grown)
        seen.append(grown.hashes)
        if size < max_tuple:
            tuples = expand(tree, grown.nodes, pairs, near_duplicate)
    return lists
