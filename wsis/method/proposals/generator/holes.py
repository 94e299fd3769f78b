"""Hole filling on superpixels, equal to filling the dense masks.

Suffix legend: h w working size, S superpixels, P proposals, E pairs.

A hole is an 8-connected part of the complement that does not touch the image border (proposals are
4-connected, so their complement is 8-connected). All proposals are flooded from the border at once, 64 to a
machine word.
"""

import numpy as np
from numpy.typing import NDArray


def touching_pairs(superpixels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Pairs int64 [E, 2] (a < b) of superpixels of a map [h, w] that touch at a side or a corner."""
    labels = superpixels.astype(np.int64)
    count = int(labels.max()) + 1
    keys = []
    for one, other in (
        (labels[:, :-1], labels[:, 1:]),
        (labels[:-1], labels[1:]),
        (labels[:-1, :-1], labels[1:, 1:]),
        (labels[:-1, 1:], labels[1:, :-1]),
    ):
        differ = one != other
        low, high = np.minimum(one[differ], other[differ]), np.maximum(one[differ], other[differ])
        keys.append(low * count + high)
    unique = np.unique(np.concatenate(keys))
    return np.stack([unique // count, unique % count], axis=1)


def on_border(superpixels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Superpixels that touch the image border, bool [S]."""
    border = np.zeros(int(superpixels.max()) + 1, np.bool_)
    for side in (superpixels[0], superpixels[-1], superpixels[:, 0], superpixels[:, -1]):
        border[side] = True
    return border


def _to_words(membership: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Membership [P, S] -> words [S, ceil(P / 64)], proposal p in bit p % 64 of word p // 64."""
    bits = np.packbits(np.ascontiguousarray(membership.T), axis=1, bitorder="little")
    padded = np.zeros((len(bits), -(-bits.shape[1] // 8) * 8), np.uint8)
    padded[:, : bits.shape[1]] = bits
    return padded.view(np.uint64)


def fill_holes(
    membership: NDArray[np.bool_], pairs: NDArray[np.int64], border: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Proposals with their holes filled, bool [P, S].

    Args: membership bool [P, S]; pairs of :func:`touching_pairs`; border of :func:`on_border`.
    """
    if not len(pairs) or not len(membership):
        return membership
    directed = np.concatenate([pairs, pairs[:, ::-1]])
    directed = directed[np.argsort(directed[:, 1], kind="stable")]
    targets, first = np.unique(directed[:, 1], return_index=True)  # every superpixel: the map is connected
    sources = directed[:, 0]
    outside = ~_to_words(membership)
    reached = np.where(border[:, None], outside, np.uint64(0))
    active = np.arange(reached.shape[1])
    while len(active):
        words = reached[:, active]
        grown = words.copy()
        grown[targets] |= np.bitwise_or.reduceat(words[sources], first, axis=0) & outside[targets][:, active]
        changed = (grown != words).any(axis=0)
        reached[:, active] = grown
        active = active[changed]
    filled = np.unpackbits((~reached).view(np.uint8), axis=1, count=len(membership), bitorder="little")
    return np.ascontiguousarray(filled.T).view(np.bool_)
