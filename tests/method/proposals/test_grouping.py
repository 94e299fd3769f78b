"""Tuples enumerated by brute force; the tables of regions against dense masks."""

from itertools import combinations

import numpy as np
import pytest

from tests.method.proposals.mcg_cases import voronoi
from wsis.method.masks.superpixels import adjacency, superpixel_areas
from wsis.method.proposals.generator.grouping import (
    candidate_membership,
    expand,
    group,
    kept_pairs,
    single_regions,
)
from wsis.method.proposals.generator.hierarchies import average_linkage
from wsis.method.proposals.generator.ranking import unlearned_score, unlearned_score_of_sets
from wsis.method.proposals.generator.region_tree import (
    LeafTable,
    border_lengths,
    build_region_tree,
    leaf_hashes,
)


def build(seed, cells=11, near_duplicate=0.0):
    labels = voronoi(18, 24, cells, seed)
    count = int(labels.max()) + 1
    contour = np.random.default_rng(seed).random(labels.shape)
    edges, sums, lengths = adjacency(labels, contour)
    strengths = (sums / lengths).astype(np.float64)
    hierarchy = average_linkage(count, edges, strengths, lengths)
    leaves = LeafTable(
        areas=superpixel_areas(labels),
        border=border_lengths(labels, count),
        edges=edges,
        lengths=lengths.astype(np.float64),
        strengths=strengths,
        hashes=leaf_hashes(count),
    )
    return labels, leaves, build_region_tree(hierarchy, leaves, near_duplicate)


def leaves_of(tree):
    """Leaves of each node by climbing from every leaf."""
    sets = [set() for _ in tree.parents]
    for leaf in range((len(tree.parents) + 1) // 2):
        node = leaf
        sets[node].add(leaf)
        while tree.parents[node] != node:
            node = tree.parents[node]
            sets[node].add(leaf)
    return sets


def brute_force_tuples(tree, edges, size):
    """All tuples of nodes that share a cut of the tree and are connected there: every cut is looked at."""
    count = (len(tree.parents) + 1) // 2
    alive, found, sets = set(range(count)), set(), leaves_of(tree)
    joined = {frozenset(edge) for edge in edges.tolist()}

    def touch(a, b):
        return any(frozenset((i, j)) in joined for i in sets[a] for j in sets[b])

    for born in range(count, len(tree.parents) + 1):
        for chosen in combinations(sorted(alive), size):
            reached, grew = {chosen[0]}, True
            while grew:
                more = {b for b in chosen if b not in reached and any(touch(a, b) for a in reached)}
                reached, grew = reached | more, bool(more)
            if len(reached) == size:
                found.add(chosen)
        if born < len(tree.parents):
            alive = (alive - {n for n in alive if tree.parents[n] == born}) | {born}
    return found


@pytest.mark.parametrize("seed", range(4))
def test_pairs_triplets_and_quadruples_equal_brute_force(seed):
    _, leaves, tree = build(seed, cells=9)
    pairs = kept_pairs(tree)
    assert {tuple(pair) for pair in pairs.tolist()} == brute_force_tuples(tree, leaves.edges, 2)
    triplets = expand(tree, pairs, pairs, 0.0)
    assert {tuple(row) for row in triplets.tolist()} == brute_force_tuples(tree, leaves.edges, 3)
    quadruples = expand(tree, triplets, pairs, 0.0)
    assert {tuple(row) for row in quadruples.tolist()} == brute_force_tuples(tree, leaves.edges, 4)
    assert len(quadruples) == len({tuple(row) for row in quadruples.tolist()})


@pytest.mark.parametrize("seed", range(4))
def test_tables_of_tuples_equal_dense_masks(seed):
    labels, leaves, tree = build(seed)
    contour = np.zeros(labels.shape)
    sets = leaves_of(tree)
    for candidates in group(tree, 4, 10**6, 0.0):
        membership = candidate_membership(tree, candidates.nodes)
        for row in range(len(candidates)):
            union = set().union(*(sets[node] for node in candidates.nodes[row]))
            assert set(np.flatnonzero(membership[row]).tolist()) == union
            assert candidates.strength[row] == min(tree.strength[node] for node in candidates.nodes[row])
        for row in range(0, len(candidates), 7):
            mask = membership[row][labels].astype(np.int32)
            assert candidates.area[row] == mask.sum()
            length = adjacency(mask, contour)[2].sum() if 0 < mask.sum() < mask.size else 0
            assert candidates.boundary_length[row] == pytest.approx(length)
            sides = sum(int(side.sum()) for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
            assert candidates.border[row] == sides
            assert candidates.hashes[row] == leaves.hashes[membership[row]].sum(dtype=np.uint64)
        graph = (leaves.edges, leaves.strengths * leaves.lengths, leaves.lengths)
        scores = unlearned_score_of_sets(membership, leaves.areas, leaves.border, graph)
        np.testing.assert_allclose(unlearned_score(candidates, labels.size), scores, atol=1e-9)


def test_lists_hold_each_set_once_and_the_strongest():
    _, leaves, tree = build(2, cells=14)
    everything = group(tree, 4, 10**6, 0.0)
    hashes = np.concatenate([candidates.hashes for candidates in everything])
    assert len(np.unique(hashes)) == len(hashes)
    few = group(tree, 2, 5, 0.0)
    assert [len(candidates) for candidates in few] == [5, 5]
    for short, long in zip(few, everything, strict=False):
        assert (np.diff(short.strength) <= 0).all()
        assert short.strength[-1] >= np.sort(long.strength)[::-1][4]
    # pairs: all unions of two, less those that are nodes themselves (siblings)
    singles = {frozenset(s) for s in leaves_of(tree)}
    sets = leaves_of(tree)
    unions = {frozenset(sets[a] | sets[b]) for a, b in brute_force_tuples(tree, leaves.edges, 2)} - singles
    assert len(everything[1]) == len(unions)


def test_near_duplicates_are_pruned():
    _, _, tree = build(1, cells=30, near_duplicate=0.1)
    kept = set(np.flatnonzero(tree.kept).tolist())
    assert len(tree.parents) - 1 in kept and len(kept) < len(tree.parents)
    for node in range(len(tree.parents) - 1):
        above = tree.parents[node]
        while above not in kept:
            above = tree.parents[above]
        assert (node in kept) == (tree.area[node] <= 0.9 * tree.area[above])
    assert set(single_regions(tree).nodes[:, 0].tolist()) == kept
    for candidates in group(tree, 4, 10**6, 0.1)[1:]:
        parts = tree.area[candidates.nodes]
        assert (parts.min(axis=1) >= 0.1 * parts.sum(axis=1)).all()
        assert tree.kept[candidates.nodes].all()


def test_one_superpixel_has_one_region():
    labels = np.zeros((3, 4), np.int32)
    hierarchy = average_linkage(1, np.zeros((0, 2), np.int32), np.zeros(0), np.zeros(0))
    nothing = np.zeros(0)
    leaves = LeafTable(
        np.array([12]), np.array([14]), np.zeros((0, 2), np.int32), nothing, nothing, leaf_hashes(1)
    )
    lists = group(build_region_tree(hierarchy, leaves, 0.05), 4, 10, 0.05)
    assert [len(candidates) for candidates in lists] == [1]
    assert lists[0].area.tolist() == [labels.size]
