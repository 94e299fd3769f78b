"""The proposals of one image as a graph: areas, overlaps, neighbours N_u and separations I_uv.

Everything is computed from the superpixel partition, never from dense proposal masks.
Suffix legend: P proposals, S superpixels, E superpixel-graph edges, N neighbours kept per proposal.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wsis.errors import InputError

MAX_NEIGHBOURS = 16  # in the pairwise term

# Entries of the largest temporary matrix: rows of a P x P table are made and used a block at a time.
_ENTRY_BUDGET = 1 << 22


@dataclass(frozen=True)
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
    """

    membership: Tensor
    superpixel_areas: Tensor
    areas: Tensor
    neighbours: Tensor
    neighbour_mask: Tensor
    separations: Tensor
    perimeter_strengths: Tensor
    size: tuple[int, int]

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

    def to(self, device: torch.device | str) -> "ProposalGraph":
        """Copy to a device."""
        return ProposalGraph(
            self.membership.to(device),
            self.superpixel_areas.to(device),
            self.areas.to(device),
            self.neighbours.to(device),
            self.neighbour_mask.to(device),
            self.separations.to(device),
            self.perimeter_strengths.to(device),
            self.size,
        )


def build_graph(
    superpixels: np.ndarray,
    membership: np.ndarray,
    edges: np.ndarray,
    edge_contours: np.ndarray,
    edge_lengths: np.ndarray,
    max_neighbours: int = MAX_NEIGHBOURS,
) -> ProposalGraph:
    """Build the graph of one image's (filtered) proposals.

    Args:
        superpixels: int [h, w], ids 0..S-1.
        membership: bool [P, S], no empty proposal.
        edges: int [E, 2], adjacent superpixels.
        edge_contours: float [E], SUM of contour strength over the boundary between the pair.
        edge_lengths: float [E], boundary pixel pairs.
        max_neighbours: neighbours kept per proposal, highest IoU first (touching ones have IoU 0).

    Raises:
        InputError: shapes disagree, ids are out of range, or a proposal is empty.
    """
    membership = np.ascontiguousarray(membership, dtype=bool)
    _check_inputs(superpixels, membership, edges, edge_contours, edge_lengths)
    superpixel_areas = np.bincount(superpixels.ravel(), minlength=membership.shape[1]).astype(np.float32)
    rows = torch.from_numpy(membership).float()
    areas = rows @ torch.from_numpy(superpixel_areas)
    if membership.shape[0] and float(areas.min()) <= 0:
        raise InputError(f"membership: proposal {int(areas.argmin())} covers no pixel")
    neighbours, mask = find_neighbours(rows, torch.from_numpy(superpixel_areas), edges, max_neighbours)
    separations = separation_of_pairs(membership, edges, edge_contours, neighbours, mask)
    return ProposalGraph(
        membership=torch.from_numpy(membership),
        superpixel_areas=torch.from_numpy(superpixel_areas),
        areas=areas,
        neighbours=neighbours,
        neighbour_mask=mask,
        separations=separations,
        perimeter_strengths=torch.from_numpy(
            perimeter_strength(membership, edges, edge_contours, edge_lengths)
        ),
        size=(int(superpixels.shape[0]), int(superpixels.shape[1])),
    )


def find_neighbours(
    membership: Tensor, superpixel_areas: Tensor, edges: np.ndarray, max_neighbours: int
) -> tuple[Tensor, Tensor]:
    """Return N_u of eq. (2): the proposals that overlap or touch u, nearest by IoU first, ties by index.

    Args:
        membership: float32 [P, S], 0 or 1.
        superpixel_areas: float32 [S].
        edges: int [E, 2].
        max_neighbours: most to keep.

    Returns:
        neighbours int64 [P, N] with N = min(max_neighbours, P - 1) and its mask bool [P, N].
    """
    count = len(membership)
    width = max(min(max_neighbours, count - 1), 0)
    neighbours = torch.arange(count)[:, None].repeat(1, width)
    mask = torch.zeros(count, width, dtype=torch.bool)
    if width == 0:
        return neighbours, mask
    areas = membership @ superpixel_areas
    last_first = torch.arange(count - 1, -1, -1)
    for part in _row_blocks(count, count):
        common = (membership[part] * superpixel_areas) @ membership.T
        iou = common.div_(areas[part, None] + areas - common)
        # Non-negative floats order as their bits do; the index in the low word makes equal ones come in order.
        rank = iou.view(torch.int32).long()
        overlapping = rank > 0
        rank[~overlapping] = -1
        short = torch.nonzero(overlapping.sum(1) <= width)[:, 0]  # each overlaps itself
        if len(short):
            near = _touching(membership[part][short], edges, membership) & ~overlapping[short]
            rank[short] = torch.where(near, 0, rank[short])
        rank.diagonal(part.start)[: len(rank)] = -1
        best = rank.bitwise_left_shift_(32).bitwise_or_(last_first).topk(width, 1).values
        mask[part] = best >= 0
        neighbours[part] = torch.where(mask[part], last_first[best & 0xFFFF_FFFF], neighbours[part])
    return neighbours, mask


def _touching(rows: Tensor, edges: np.ndarray, membership: Tensor) -> Tensor:
    """Return bool [n, P]: True where some superpixel of u (float [n, S]) is adjacent to some superpixel of v."""
    first, second = torch.from_numpy(edges.astype(np.int64)).T
    reach = torch.zeros_like(rows)
    reach.index_add_(1, second, rows[:, first])
    reach.index_add_(1, first, rows[:, second])
    return (reach @ membership.T) > 0


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
        first, second = (np.packbits(membership[:, edges[:, end]], axis=1) for end in (0, 1))
        contours = _byte_sums(edge_contours)
        listed = neighbours.numpy()
        for part in _row_blocks(count, width * first.shape[1]):
            separating = _separating(first, second, np.arange(count)[part, None], listed[part])
            sums[part] = _weigh(separating, contours)
    return torch.where(mask, torch.from_numpy(sums), torch.zeros(()))


def _separating(first: np.ndarray, second: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The edges that separate u [n, 1] from v [n, N] as bits, uint8 [n, N, E / 8].

    first, second: uint8 [P, E / 8], whether a proposal holds an edge's one and other end.
    """
    in_union = (first[u] | first[v]) & (second[u] | second[v])
    return in_union & ((first[u] ^ second[u]) | (first[v] ^ second[v]))


def _byte_sums(values: np.ndarray) -> np.ndarray:
    """float32 [E / 8, 256]: what the edges of each byte add up to, for every byte that `packbits` can give."""
    padded = np.zeros((-(-len(values) // 8), 8), dtype=np.float32)
    padded.ravel()[: len(values)] = values
    return padded @ np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32).T


def _weigh(bits: np.ndarray, byte_sums: np.ndarray) -> np.ndarray:
    """Sum of the values of the set bits, float32 [n, N]: one look-up for eight edges."""
    return byte_sums[np.arange(len(byte_sums)), bits].sum(-1)


def perimeter_strength(
    membership: np.ndarray, edges: np.ndarray, edge_contours: np.ndarray, edge_lengths: np.ndarray
) -> np.ndarray:
    """Return float32 [P] in [0, 1]: mean contour strength along each proposal's boundary inside the image.

    A proposal that is the whole image has no such boundary and gets 0.
    """
    cut = (membership[:, edges[:, 0]] != membership[:, edges[:, 1]]).astype(np.float32)
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
