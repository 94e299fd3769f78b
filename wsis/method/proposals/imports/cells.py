"""Superpixels of given masks: the cells into which all of them together cut the image.

Suffix legend: h w working size, P masks, S superpixels, N pixels. Masks are flips, see `wsis.method.masks.flips`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from wsis.errors import InputError
from wsis.method.masks.flips import Flips, inside
from wsis.method.masks.superpixels import adjacency
from wsis.method.proposals.generator.hierarchies import contiguous

MAX_CELLS = 65_535  # what the store can number
_MOST_CELLS = 1 << 20  # before merging; bounds its memory


def superpixels_of_masks(
    masks: Sequence[Flips], size: tuple[int, int], max_cells: int = MAX_CELLS
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The coarsest 4-connected partition that every mask is a union of, and each mask's cells.

    Pixels are told apart by a 64-bit sum of random numbers, one a mask: two pixels of different masks share it
    with probability 2^-64. Time and memory are those of the masks' boundaries and of one map: no mask is dense.

    Where the masks make more than ``max_cells``, cells are merged: first those that cost the masks least IoU
    (pixels times the sum of 1 / mask area over the masks that change; the slivers between almost equal
    boundaries), each into the neighbour that most masks treat alike. The part then belongs to the masks of its
    largest cell. A mask is then no longer exact, and one made of slivers alone may end empty.

    Args:
        masks: flips at ``size`` (h, w).
    Returns: superpixels int32 [h, w], ids in order of first occurrence; membership bool [P, S].
    Raises:
        InputError: max_cells is not in 1..65,535, or the masks make more than 1,048,576 cells.
    """
    if not 1 <= max_cells <= MAX_CELLS:
        raise InputError(f"max_cells: expected 1..{MAX_CELLS}, got {max_cells}")
    superpixels = connected_cells(_signatures(masks, size))
    first = np.unique(superpixels, return_index=True)[1]
    if len(first) > _MOST_CELLS:
        raise InputError(f"masks: expected at most {_MOST_CELLS} regions between them, got {len(first)}")
    if len(first) > max_cells:
        superpixels, first = _merge_cheapest(superpixels, first, masks, max_cells)
    places = _places(first, size)
    membership = np.empty((len(masks), len(first)), np.bool_)
    for members, mask in zip(membership, masks, strict=True):
        members[:] = inside(mask, places)
    return superpixels, membership


def _places(pixels: NDArray[np.int64], size: tuple[int, ...]) -> NDArray[np.int64]:
    """Pixels counted row by row, in the order of flips: column by column."""
    row, column = np.divmod(pixels, size[1])
    return row + column * size[0]


def _signatures(masks: Sequence[Flips], size: tuple[int, int]) -> NDArray[np.uint64]:
    """One number a pixel [h, w], the same where the same masks cover it."""
    keys = np.random.default_rng(0).integers(1, 2**63, len(masks), dtype=np.uint64)
    change = np.zeros(size[0] * size[1] + 1, np.uint64)
    for key, mask in zip(keys, masks, strict=True):
        change[mask[0::2]] += key  # a mask's flips are distinct, so that no addition is lost
        change[mask[1::2]] -= key
    return np.ascontiguousarray(np.cumsum(change[:-1], dtype=np.uint64).reshape(size[1], size[0]).T)


def connected_cells(values: NDArray[np.generic]) -> NDArray[np.int32]:
    """4-connected parts of equal value of a map [h, w], int32 ids 0.. in order of first occurrence."""
    starts = np.ones(values.shape, np.bool_)
    starts[:, 1:] = values[:, 1:] != values[:, :-1]
    run = (np.cumsum(starts) - 1).reshape(values.shape)  # runs of equal value within a row
    # Two runs that touch in consecutive rows: named once, at the first column that they share.
    touch = (values[1:] == values[:-1]) & (starts[1:] | starts[:-1])
    _, parts = _components(run[:-1][touch], run[1:][touch], int(run[-1, -1]) + 1)
    return contiguous(parts[run])


def _components(a: NDArray[np.integer], b: NDArray[np.integer], count: int) -> tuple[int, NDArray[np.int32]]:
    graph = coo_array((np.ones(len(a), np.int32), (a, b)), shape=(count, count))
    return connected_components(graph, directed=False)


def _merge_cheapest(
    cells: NDArray[np.int32], first: NDArray[np.int64], masks: Sequence[Flips], limit: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """At most ``limit`` cells, and for each a pixel (index into the flat map) of the largest cell in it.

    Rounds of at most a quarter of the cells, so that small ones end in large ones and not in one another.

    Args: first int64 [S], a pixel of each cell.
    """
    areas, pixel, nothing = np.bincount(cells.ravel()), first, np.zeros(cells.shape, np.float32)
    bits = np.stack([np.packbits(inside(mask, _places(first, cells.shape))) for mask in masks])  # [P, S / 8]
    members = _transposed(bits, len(first))
    shares = 1 / np.array([max(1, int((mask[1::2] - mask[0::2]).sum())) for mask in masks])
    while len(areas) > limit:
        edges, _, _ = adjacency(cells, nothing)
        target, cost = _cheapest_neighbours(edges, _differences(edges, members, shares), areas)
        going = np.argsort(cost, kind="stable")[: min(len(areas) - limit, -(-len(areas) // 4))]
        count, part = _components(going, target[going], len(areas))
        by_area = np.argsort(-areas, kind="stable")
        largest = by_area[np.unique(part[by_area], return_index=True)[1]]
        areas = np.bincount(part, weights=areas, minlength=count).astype(np.int64)
        cells, pixel, members = part[cells], pixel[largest], members[largest]
    ordered = contiguous(cells)
    placed = np.empty_like(pixel)
    placed[ordered.ravel()[pixel]] = pixel
    return ordered, placed


def _transposed(bits: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Packed bits [P, S / 8] of count = S columns -> [S, P / 8], a band of columns at a time."""
    bands = [
        np.packbits(np.unpackbits(bits[:, start : start + 512], axis=1).T, axis=1)
        for start in range(0, bits.shape[1], 512)
    ]
    return np.concatenate(bands)[:count]


def _differences(
    edges: NDArray[np.int32], members: NDArray[np.uint8], shares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Over each edge [E] the sum of `shares` [P] of the masks that its two cells do not share."""
    parts = [np.zeros(0)]
    for start in range(0, len(edges), 4096):
        a, b = edges[start : start + 4096].T
        parts.append(np.unpackbits(members[a] ^ members[b], axis=1, count=len(shares)) @ shares)
    return np.concatenate(parts)


def _cheapest_neighbours(
    edges: NDArray[np.int32], differences: NDArray[np.float64], areas: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """For each cell [S] the neighbour most like it (of equals the largest, then the first), and the IoU that its
    masks lose, all together, if the cell joins it."""
    one, other = np.concatenate([edges, edges[:, ::-1]]).T
    difference = np.tile(differences, 2)
    order = np.lexsort((other, -areas[other], difference, one))
    best = order[np.unique(one[order], return_index=True)[1]]
    return other[best], difference[best] * areas
