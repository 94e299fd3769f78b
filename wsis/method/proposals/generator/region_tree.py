"""One hierarchy, ready for grouping: area, boundary and leaves of every node; which nodes ever meet.

Suffix legend: S superpixels (leaves), M = 2 S - 1 nodes, E edges of the region graph, N pairs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsis.method.proposals.generator.hierarchies import Hierarchy


@dataclass(frozen=True)
class LeafTable:
    """What each superpixel and each edge contributes to a region.

    areas int64 [S] pixels; border int64 [S] pixel sides on the image border; edges int32 [E, 2];
    lengths float64 [E]; strengths float64 [E], contour strength per unit of length that ranks proposals;
    hashes uint64 [S], random: a region's hash is the sum of its leaves' (mod 2^64).
    """

    areas: NDArray[np.int64]
    border: NDArray[np.int64]
    edges: NDArray[np.int32]
    lengths: NDArray[np.float64]
    strengths: NDArray[np.float64]
    hashes: NDArray[np.uint64]


def border_lengths(superpixels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Pixel sides of each superpixel on the image border, int64 [S]."""
    sides = (superpixels[0], superpixels[-1], superpixels[:, 0], superpixels[:, -1])
    return np.bincount(np.concatenate(sides), minlength=count)


def leaf_hashes(count: int) -> NDArray[np.uint64]:
    """A random 64-bit number for each of ``count`` things, the same for the same count everywhere."""
    return np.random.default_rng(count).integers(0, 2**64, count, dtype=np.uint64)


@dataclass(frozen=True)
class RegionTree:
    """Per node [M]: parents; strength (altitude at which the node dissolves into its parent); area;
    boundary_length (without image border) and boundary_strength (sum along it); border (image-border
    sides); hashes; kept (differs from every kept ancestor's area by the near-duplicate share).
    Leaves of node n are ``leaf_order[starts[n] : stops[n]]``.

    pair_keys int64 [N], ascending: ``a * M + b`` (a < b) of nodes that are neighbours in some cut of the
    tree; pair_lengths, pair_strengths [N]: length and contour sum of their common boundary.
    """

    parents: NDArray[np.int64]
    strength: NDArray[np.float64]
    area: NDArray[np.int64]
    boundary_length: NDArray[np.float64]
    boundary_strength: NDArray[np.float64]
    border: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    kept: NDArray[np.bool_]
    leaf_order: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    pair_keys: NDArray[np.int64]
    pair_lengths: NDArray[np.float64]
    pair_strengths: NDArray[np.float64]

    def membership(self, nodes: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Leaves of each node, bool [n, S]."""
        count = len(self.leaf_order)
        position = np.empty(count, np.int64)
        position[self.leaf_order] = np.arange(count)
        return (position >= self.starts[nodes, None]) & (position < self.stops[nodes, None])

    def shared(self, a: NDArray[np.integer], b: NDArray[np.integer]) -> tuple[np.ndarray, np.ndarray]:
        """Length and contour sum of the boundary between nodes a [n] and b [n] (0 where they never touch)."""
        if not len(self.pair_keys):
            return np.zeros(len(a)), np.zeros(len(a))
        keys = np.minimum(a, b) * len(self.parents) + np.maximum(a, b)
        at = np.minimum(np.searchsorted(self.pair_keys, keys), len(self.pair_keys) - 1)
        found = self.pair_keys[at] == keys
        return np.where(found, self.pair_lengths[at], 0.0), np.where(found, self.pair_strengths[at], 0.0)


def _leaf_intervals(parents: NDArray[np.int64]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leaf order, start and stop of each node's leaves in it (children in index order)."""
    nodes = len(parents)
    count = (nodes + 1) // 2
    size = [1] * count + [0] * (count - 1)
    up = parents.tolist()
    for node in range(nodes - 1):
        size[up[node]] += size[node]
    start, used = [0] * nodes, [0] * nodes
    for node in range(nodes - 2, -1, -1):
        start[node] = start[up[node]] + used[up[node]]
        used[up[node]] += size[node]
    starts = np.array(start, np.int64)
    order = np.empty(count, np.int64)
    order[starts[:count]] = np.arange(count)
    return order, starts, starts + np.array(size, np.int64)


def meeting_pairs(
    parents: NDArray[np.int64], edges: NDArray[np.int32], lengths: np.ndarray, strengths: np.ndarray
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """All pairs of nodes that are neighbouring regions in some cut of the tree, siblings included.

    Replays the merges: when a node is born it meets the neighbours of its two parts that are still alive.
    Returns: keys int64 [N] ascending (a * M + b, a < b); length and contour sum [N] of the common boundary.
    """
    nodes = len(parents)
    count = (nodes + 1) // 2
    # Complex numbers add length and contour sum in one step; Python's tuples take twice the time.
    common = (lengths + 1j * (strengths * lengths)).tolist()
    neighbours: list[dict[int, complex]] = [{} for _ in range(nodes)]
    for (a, b), shared in zip(edges.tolist(), common, strict=True):
        neighbours[a][b] = neighbours[b][a] = shared
    keys = (edges[:, 0].astype(np.int64) * nodes + edges[:, 1]).tolist()
    values = list(common)
    children: list[list[int]] = [[] for _ in range(nodes)]
    for node, parent in enumerate(parents[:-1].tolist()):
        children[parent].append(node)
    for node in range(count, nodes):
        one, other = children[node]
        merged, added = neighbours[one], neighbours[other]
        if len(added) > len(merged):
            one, other, merged, added = other, one, added, merged
        merged.pop(other, None)
        added.pop(one, None)
        for third, shared in added.items():
            merged[third] = merged[third] + shared if third in merged else shared
            del neighbours[third][other]
        neighbours[node] = merged
        for third, shared in merged.items():
            theirs = neighbours[third]
            theirs.pop(one, None)
            theirs[node] = shared
        keys += [third * nodes + node for third in merged]
        values += merged.values()
    order = np.argsort(keys)
    pairs = np.array(values, np.complex128)[order]
    return np.array(keys, np.int64)[order], pairs.real.copy(), pairs.imag.copy()


def _kept(parents: NDArray[np.int64], area: NDArray[np.int64], near_duplicate: float) -> NDArray[np.bool_]:
    """Nodes smaller than (1 - near_duplicate) of their nearest kept ancestor; the root is kept."""
    up, size = parents.tolist(), area.tolist()
    reference = [0] * len(up)
    kept = np.zeros(len(up), np.bool_)
    kept[-1], reference[-1] = True, size[-1]
    for node in range(len(up) - 2, -1, -1):
        kept[node] = size[node] <= (1 - near_duplicate) * reference[up[node]]
        reference[node] = size[node] if kept[node] else reference[up[node]]
    return kept


def build_region_tree(hierarchy: Hierarchy, leaves: LeafTable, near_duplicate: float) -> RegionTree:
    """Tables of all nodes of ``hierarchy``; sums over leaves by prefix sums along the leaf order."""
    parents = hierarchy.parents
    order, starts, stops = _leaf_intervals(parents)

    def over_leaves(values: np.ndarray) -> np.ndarray:
        prefix = np.concatenate([np.zeros(1, values.dtype), np.cumsum(values[order], dtype=values.dtype)])
        return prefix[stops] - prefix[starts]

    keys, pair_lengths, pair_strengths = meeting_pairs(
        parents, leaves.edges, leaves.lengths, leaves.strengths
    )
    boundary = _boundary_sums(parents, leaves, (keys, pair_lengths, pair_strengths))
    area = over_leaves(leaves.areas)
    return RegionTree(
        parents=parents,
        strength=hierarchy.altitudes[parents],
        area=area,
        boundary_length=boundary[0],
        boundary_strength=boundary[1],
        border=over_leaves(leaves.border),
        hashes=over_leaves(leaves.hashes),
        kept=_kept(parents, area, near_duplicate),
        leaf_order=order,
        starts=starts,
        stops=stops,
        pair_keys=keys,
        pair_lengths=pair_lengths,
        pair_strengths=pair_strengths,
    )


def _boundary_sums(
    parents: NDArray[np.int64], leaves: LeafTable, pairs: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Inner boundary length and contour sum of each node: its parts' less twice what they share."""
    nodes, count = len(parents), (len(parents) + 1) // 2
    keys, *values = pairs
    low, high = keys // nodes, keys % nodes
    siblings = parents[low] == parents[high]
    results = []
    for leaf_values, pair_values in zip(
        (leaves.lengths, leaves.lengths * leaves.strengths), values, strict=True
    ):
        total = np.zeros(nodes)
        for side in (0, 1):
            total[:count] += np.bincount(leaves.edges[:, side], weights=leaf_values, minlength=count)
        common = np.zeros(nodes)
        common[parents[low[siblings]]] = pair_values[siblings]
        sums, up = total.tolist(), parents.tolist()
        for node in range(nodes - 1):
            if node >= count:
                sums[node] -= 2 * common[node]
            sums[up[node]] += sums[node]
        if nodes > 1:
            sums[-1] = 0.0
        results.append(np.maximum(np.array(sums), 0.0))
    return results[0], results[1]
