"""The proposals of one image as a graph: areas, overlaps, neighbours N_u and separations I_uv.

Everything is computed from the superpixel partition, never from dense proposal masks.
Suffix legend: P proposals, S superpixels, E superpixel-graph edges, N neighbours kept per proposal.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from wsis.errors import InputError

MAX_NEIGHBOURS = 16  # in the pairwise term

# Entries of a temporary matrix: rows of a P x P table are made and used a block at a time, which a core's cache holds.
_ENTRY_BUDGET = 1 << 18
_TOUCHING = 1  # rank of proposals that only touch; that of an IoU is its bits as a float, far larger


@dataclass(frozen=True, eq=False)
class ProposalGraph:
    """One image's proposals.

    Attributes:
        membership: bool [P, S], the superpixels of each proposal.
        superpixel_areas: float32 [S] in pixels of the working size.
        areas: float32 [P] in pixels.
        neighbours: int64 [P, N]; padded entries repeat the proposal itself.
        neighbour_mask: bool [P, N], False on padding.
        separations: float32 [P, N], I_uv (see `separation_of_pairs`).
        perimeter_strengths: float32 [P], mean contour strength along the proposal's inner boundary.
        size: (h, w) of the superpixel map.
        contained: tables of `contains` that were made together with the neighbours, by threshold.
    """

    membership: Tensor
    superpixel_areas: Tensor
    areas: Tensor
    neighbours: Tensor
    neighbour_mask: Tensor
    separations: Tensor
    perimeter_strengths: Tensor
    size: tuple[int, int]
    contained: Mapping[float, Tensor] = field(default_factory=dict, repr=False)

    @property
    def num_proposals(self) -> int:
        return self.membership.shape[0]

    def iou(self, rows: Tensor | None = None) -> Tensor:
        """Return float32 [n, P] in [0, 1], the IoU of some proposals (int64 [n]; all: [P, P]) with every one."""
        common = self._intersections(rows)
        own = self.areas if rows is None else self.areas[rows]
        return common / (own[:, None] + self.areas[None, :] - common)

    def containment(self, rows: Tensor | None = None) -> Tensor:
        """Return float32 [n, P]: entry (i, l) is |r_i ∩ r_l| / |r_l| (Algorithm 1, line 14); `rows` as for `iou`."""
        return self._intersections(rows) / self.areas[None, :]

    def contains(self, threshold: float) -> Tensor:
        """Return bool [P, P]: `containment() > threshold`, without ever holding that table."""
        if threshold in self.contained:
            return self.contained[threshold]
        count = self.num_proposals
        result = torch.zeros(count, count, dtype=torch.bool, device=self.areas.device)
        for part in _row_blocks(count, count):
            rows = torch.arange(part.start, part.stop, device=self.areas.device)
            result[part] = self.containment(rows) > threshold
        return result

    def _intersections(self, rows: Tensor | None) -> Tensor:
        """Common pixels, float32 [n, P]: exact, since areas are integers."""
        every = self.membership.float()
        return ((every if rows is None else every[rows]) * self.superpixel_areas) @ every.T


def build_graph(
    superpixels: np.ndarray,
    membership: np.ndarray,
    edges: np.ndarray,
    edge_contours: np.ndarray,
    edge_lengths: np.ndarray,
    max_neighbours: int = MAX_NEIGHBOURS,
    thresholds: Sequence[float] = (),
) -> ProposalGraph:
    """Build the graph of one image's (filtered) proposals.

    Args:
        superpixels: int [h, w], ids 0..S-1.
        membership: bool [P, S], no empty proposal.
        edges: int [E, 2], adjacent superpixels.
        edge_contours: float [E], SUM of contour strength over the boundary between the pair.
        edge_lengths: float [E], boundary pixel pairs.
        max_neighbours: neighbours kept per proposal, highest IoU first (touching ones have IoU 0).
        thresholds: for which `contains` will be asked: from the same products as the neighbours.

    Raises:
        InputError: shapes disagree, ids are out of range, or a proposal is empty.
    """
    membership = np.ascontiguousarray(membership, dtype=bool)
    _check_inputs(superpixels, membership, edges, edge_contours, edge_lengths)
    superpixel_areas = np.bincount(superpixels.ravel(), minlength=membership.shape[1]).astype(np.float32)
    sizes, rows = torch.from_numpy(superpixel_areas), torch.from_numpy(membership).float()
    areas = rows @ sizes
    if membership.shape[0] and float(areas.min()) <= 0:
        raise InputError(f"membership: proposal {int(areas.argmin())} covers no pixel")
    neighbours, mask, contained = compare_proposals(rows, sizes, edges, max_neighbours, thresholds)
    separations = separation_of_pairs(membership, edges, edge_contours, neighbours, mask)
    return ProposalGraph(
        membership=torch.from_numpy(membership),
        superpixel_areas=sizes,
        areas=areas,
        neighbours=neighbours,
        neighbour_mask=mask,
        separations=separations,
        perimeter_strengths=torch.from_numpy(
            perimeter_strength(membership, edges, edge_contours, edge_lengths)
        ),
        size=(int(superpixels.shape[0]), int(superpixels.shape[1])),
        contained=contained,
    )


def compare_proposals(
    membership: Tensor,
    superpixel_areas: Tensor,
    edges: np.ndarray,
    max_neighbours: int,
    thresholds: Sequence[float] = (),
) -> tuple[Tensor, Tensor, dict[float, Tensor]]:
    """Return N_u of eq. (2), the proposals that overlap or touch u, nearest by IoU first, ties by index; and which
    contain which.

    Args:
        membership: float32 [P, S], 0 or 1.
        superpixel_areas: float32 [S].
        edges: int [E, 2].
        max_neighbours: most to keep.
        thresholds: of `ProposalGraph.contains`.

    Returns:
        neighbours int64 [P, N] with N = min(max_neighbours, P - 1), its mask bool [P, N], and a table bool [P, P] for
        each threshold.
    """
    count = len(membership)
    width = max(min(max_neighbours, count - 1), 0)
    neighbours = torch.arange(count)[:, None].repeat(1, width)
    mask = torch.zeros(count, width, dtype=torch.bool)
    contained = {threshold: torch.zeros(count, count, dtype=torch.bool) for threshold in thresholds}
    areas, turned = membership @ superpixel_areas, membership.T.contiguous()
    for part in _row_blocks(count, count) if width or thresholds else ():
        common = (membership[part] * superpixel_areas) @ turned
        shares = common / areas if thresholds else common
        for threshold, table in contained.items():
            torch.gt(shares, threshold, out=table[part])
        if width:
            iou = common.div_(areas[part, None] + areas - common)
            best = _nearest(iou, part.start, width, edges, membership)
            mask[part] = best >= _TOUCHING << 32
            neighbours[part] = torch.where(mask[part], count - 1 - (best & 0xFFFF_FFFF), neighbours[part])
    return neighbours, mask, contained


def _nearest(iou: Tensor, start: int, width: int, edges: np.ndarray, membership: Tensor) -> Tensor:
    """The `width` nearest of each of the proposals from `start` on, int64 [n, width], nearest first: rank in the high
    word, P - 1 - index in the low one; those that neither overlap nor touch have rank 0.

    iou: float32 [n, P]. Non-negative floats order as their bits do, and the low word makes equal ones come in order.
    """
    last_first = torch.arange(iou.shape[1] - 1, -1, -1)
    rank = iou.view(torch.int32)
    rank.diagonal(start)[: len(rank)] = 0
    best = _largest(rank.long().bitwise_left_shift_(32).bitwise_or_(last_first), width)
    short = torch.nonzero(best[:, -1] < _TOUCHING << 32)[:, 0]
    if len(short):
        few = rank[short].long()
        near = _touching(membership[start + short], edges, membership) & (few == 0)
        near[torch.arange(len(short)), start + short] = False
        few = torch.where(near, _TOUCHING, few)
        best[short] = _largest(few.bitwise_left_shift_(32).bitwise_or_(last_first), width)
    return best


def _largest(keys: Tensor, width: int) -> Tensor:
    """The largest keys of each row, descending, int64 [n, width]: four times as fast as torch's topk."""
    kept = np.partition(keys.numpy(), -width, axis=1)[:, -width:]
    kept.sort(axis=1)
    return torch.from_numpy(kept[:, ::-1].copy())


def _touching(rows: Tensor, edges: np.ndarray, membership: Tensor) -> Tensor:
    """Return bool [n, P]: True where some superpixel of u (float [n, S]) is adjacent to some superpixel of v."""
    first, second = edges.astype(np.int32).T
    ends = np.concatenate([first, second]), np.concatenate([second, first])
    beside = scipy.sparse.csr_array((np.ones(len(ends[0]), np.float32), ends), (rows.shape[1],) * 2)
    reach = torch.from_numpy(beside @ rows.T.numpy())
    return (membership @ reach).T > 0


def _row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Blocks of rows of a table of that many columns."""
    step = max(1, _ENTRY_BUDGET // max(columns, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def separation_of_pairs(
    membership: np.ndarray,
    edges: np.ndarray,
    edge_contours: np.ndarray,
    neighbours: Tensor,
    mask: Tensor,
) -> Tensor:
    """Return I_uv of eq. (1) for every listed pair, float32 [P, N].

    The edges of the superpixel graph that separate u from v are those with both ends inside u ∪ v whose
    ends differ in (belongs to u, belongs to v): for disjoint regions their common boundary, for nested ones
    the boundary of the inner one that lies inside the outer one, for overlapping ones the boundaries between
    u \\ v, u ∩ v and v \\ u. It is symmetric, and 0 for equal regions.
    """
    count, width = neighbours.shape
    sums = np.zeros((count, width), dtype=np.float32)
    if width and len(edges):
        first, second = (np.packbits(membership.take(edges[:, end], 1), axis=1) for end in (0, 1))
        contours = _byte_sums(edge_contours)
        listed = neighbours.numpy()
        for part in _row_blocks(count, width * first.shape[1]):
            sums[part] = _weigh(_separating(first, second, part, listed[part]), contours)
    return torch.where(mask, torch.from_numpy(sums), torch.zeros(()))


def _separating(first: np.ndarray, second: np.ndarray, u: slice, v: np.ndarray) -> np.ndarray:
    """The edges that separate proposals u from those of v [n, N] as bits, uint8 [n, N, E / 8].

    first, second: uint8 [P, E / 8], whether a proposal holds an edge's one and other end.
    """
    one, other = first[v], second[v]
    separating = (first[u, None] ^ second[u, None]) | (one ^ other)
    one |= first[u, None]
    other |= second[u, None]
    separating &= one
    separating &= other
    return separating


def _byte_sums(values: np.ndarray) -> np.ndarray:
    """float32 [E / 8, 256]: what the edges of each byte add up to, for every byte that `packbits` can give."""
    padded = np.zeros((-(-len(values) // 8), 8), dtype=np.float32)
    padded.ravel()[: len(values)] = values
    return padded @ np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32).T


def _weigh(bits: np.ndarray, byte_sums: np.ndarray) -> np.ndarray:
    """Sum of the values of the set bits, float32 [n, N]: one look-up for eight edges, of which few separate a pair."""
    sums = np.zeros(bits.shape, dtype=np.float32)
    held = np.flatnonzero(bits != 0)
    sums.ravel()[held] = byte_sums.ravel()[held % len(byte_sums) * 256 + bits.ravel()[held]]
    return sums.sum(-1)


def perimeter_strength(
    membership: np.ndarray, edges: np.ndarray, edge_contours: np.ndarray, edge_lengths: np.ndarray
) -> np.ndarray:
    """Return float32 [P] in [0, 1]: mean contour strength along each proposal's boundary inside the image.

    A proposal that is the whole image has no such boundary and gets 0.
    """
    held = np.ascontiguousarray(membership.T)
    cut = (held[edges[:, 0]] != held[edges[:, 1]]).astype(np.float32).T
    strength = cut @ np.asarray(edge_contours, dtype=np.float32)
    length = cut @ np.asarray(edge_lengths, dtype=np.float32)
    return np.where(length > 0, strength / np.maximum(length, 1e-6), 0.0).astype(np.float32)


def _check_inputs(
    superpixels: np.ndarray,
    membership: np.ndarray,
    edges: np.ndarray,
    edge_contours: np.ndarray,
    edge_lengths: np.ndarray,
) -> None:
    if superpixels.ndim != 2 or not np.issubdtype(superpixels.dtype, np.integer):
        raise InputError(f"superpixels: expected int [h, w], got {superpixels.dtype} {superpixels.shape}")
    if membership.ndim != 2:
        raise InputError(f"membership: expected bool [P, S], got shape {membership.shape}")
    last = int(superpixels.max()) + 1
    if int(superpixels.min()) < 0 or last > membership.shape[1]:
        raise InputError(
            f"superpixels: expected ids 0..{membership.shape[1] - 1}, got {superpixels.min()}..{last - 1}"
        )
    if edges.ndim != 2 or edges.shape[1] != 2:
        raise InputError(f"edges: expected int [E, 2], got shape {edges.shape}")
    if len(edges) and not 0 <= int(edges.min()) <= int(edges.max()) < membership.shape[1]:
        raise InputError(f"edges: expected ids below {membership.shape[1]}, got {edges.min()}..{edges.max()}")
    if edge_contours.shape != (len(edges),) or edge_lengths.shape != (len(edges),):
        raise InputError(
            f"edge_contours, edge_lengths: expected [{len(edges)}], got {edge_contours.shape}, {edge_lengths.shape}"
        )
