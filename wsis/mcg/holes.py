"""Hole filling on superpixels, equal to filling the dense masks.

Suffix legend: h w working size, S superpixels, P proposals, E edges, J junctions.

A hole is an 8-connected part of the complement that does not touch the image border (proposals are
4-connected, so their complement is 8-connected). Most proposals have none: the Euler number
(pixels - pixel pairs + 2x2 blocks inside the mask) is 1 for each connected part less 1 for each hole, and is
a sum over superpixels, edges and junctions; only the rest is flooded.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class HoleTopology:
    """euler float32 [S], of each superpixel alone; pairs int64 [E, 2] of superpixels that share a 2x2 block,
    with euler_pairs float32 [E], what both together add; junctions int64 [J, 4] superpixels of blocks where
    three or four meet; border bool [S], touches the image border."""

    euler: NDArray[np.float32]
    pairs: NDArray[np.int64]
    euler_pairs: NDArray[np.float32]
    junctions: NDArray[np.int64]
    border: NDArray[np.bool_]


def build_topology(superpixels: NDArray[np.int32], count: int) -> HoleTopology:
    """Tables of a superpixel map [h, w] with ids 0..count-1."""
    labels = superpixels.astype(np.int64)
    euler = np.bincount(labels.ravel(), minlength=count)
    keys: list[np.ndarray] = []
    values: list[np.ndarray] = []

    def add(low: np.ndarray, high: np.ndarray, value: int) -> None:
        keys.append(np.minimum(low, high) * count + np.maximum(low, high))
        values.append(np.full(len(low), value))

    for one, other in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        same = one == other
        euler -= np.bincount(one[same], minlength=count)
        add(one[~same], other[~same], -1)
    corners = (labels[:-1, :-1], labels[:-1, 1:], labels[1:, :-1], labels[1:, 1:])
    uniform = (corners[0] == corners[1]) & (corners[2] == corners[3]) & (corners[0] == corners[2])
    euler += np.bincount(corners[0][uniform], minlength=count)
    blocks = np.sort(np.stack([corner[~uniform] for corner in corners], axis=1), axis=1)
    meet = (blocks[:, 1:] != blocks[:, :-1]).sum(axis=1) >= 2
    add(blocks[~meet, 0], blocks[~meet, 3], 1)
    junctions = blocks[meet]
    for a, b in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)):  # the flood also passes diagonally
        different = junctions[:, a] != junctions[:, b]
        add(junctions[different, a], junctions[different, b], 0)
    unique, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    sums = np.bincount(inverse, weights=np.concatenate(values), minlength=len(unique))
    border = np.zeros(count, np.bool_)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        border[side] = True
    return HoleTopology(
        euler=euler.astype(np.float32),
        pairs=np.stack([unique // count, unique % count], axis=1),
        euler_pairs=sums.astype(np.float32),
        junctions=junctions,
        border=border,
    )


def euler_numbers(membership: NDArray[np.bool_], topology: HoleTopology) -> NDArray[np.float32]:
    """4-connected parts minus holes of each proposal, float32 [P]."""
    a, b = topology.pairs[:, 0], topology.pairs[:, 1]
    columns = np.ascontiguousarray(membership.T)
    numbers = topology.euler @ columns.astype(np.float32)
    numbers += topology.euler_pairs @ (columns[a] & columns[b]).astype(np.float32)
    if len(topology.junctions):
        inside = columns[topology.junctions[:, 0]]
        for corner in range(1, 4):
            inside = inside & columns[topology.junctions[:, corner]]
        numbers += inside.sum(axis=0, dtype=np.float32)
    return numbers


def fill_holes(membership: NDArray[np.bool_], topology: HoleTopology) -> NDArray[np.bool_]:
    """Proposals [P, S], each 4-connected, with their holes filled (a copy where something is filled)."""
    holed = np.flatnonzero(euler_numbers(membership, topology) < 1)
    if not len(holed):
        return membership
    filled = membership.copy()
    neighbours = _neighbour_lists(topology)
    outside = np.flatnonzero(topology.border).tolist()
    for row in holed:
        member = membership[row].tolist()
        reached = list(member)  # true where the flood need not go
        stack = [superpixel for superpixel in outside if not member[superpixel]]
        for superpixel in stack:
            reached[superpixel] = True
        while stack:
            for other in neighbours[stack.pop()]:
                if not reached[other]:
                    reached[other] = True
                    stack.append(other)
        filled[row] |= ~np.array(reached)
    return filled


def _neighbour_lists(topology: HoleTopology) -> list[list[int]]:
    """8-neighbours of each superpixel."""
    lists: list[list[int]] = [[] for _ in range(len(topology.euler))]
    for a, b in topology.pairs.tolist():
        lists[a].append(b)
        lists[b].append(a)
    return lists
