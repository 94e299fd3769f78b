"""The proposals of one image as a graph: areas, overlaps, neighbours N_u and separations I_uv.

Everything is computed from the superpixel partition, never from dense proposal masks.
Suffix legend: P proposals, S superpixels, E superpixel-graph edges, N neighbours kept per proposal.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from wsis.errors import InputError

# Entries of the largest temporary matrix while summing separations: 64 MB of float32.
_ENTRY_BUDGET = 1 << 24


@dataclass(frozen=True)
class GraphConfig:
    """How neighbours and separations are made.

    Attributes:
        max_neighbours: neighbours kept per proposal, highest IoU first (touching ones have IoU 0).
        separation: `sum` (the paper's: contour strength summed over the separating boundary) or `mean`
            (divided by that boundary's length, so in the contour's own range [0, 1]).
        separation_weight: factor on I_uv before exp(-I_uv) in eq. (1); 1 is the paper's.
    """

    max_neighbours: int = 16
    separation: Literal["sum", "mean"] = "sum"
    separation_weight: float = 1.0


@dataclass(frozen=True)
class ProposalGraph:
    """One image's proposals.

    Attributes:
        membership: bool [P, S], the superpixels of each proposal.
        superpixel_areas: float32 [S] in pixels of the working size.
        areas: float32 [P] in pixels.
        intersections: float32 [P, P] in pixels.
        neighbours: int64 [P, N]; padded entries repeat the proposal itself.
        neighbour_mask: bool [P, N], False on padding.
        separations: float32 [P, N], weight * I_uv (see `separation_of_pairs`).
        perimeter_strengths: float32 [P], mean contour strength along the proposal's inner boundary.
        size: (h, w) of the superpixel map.
    """

    membership: Tensor
    superpixel_areas: Tensor
    areas: Tensor
    intersections: Tensor
    neighbours: Tensor
    neighbour_mask: Tensor
    separations: Tensor
    perimeter_strengths: Tensor
    size: tuple[int, int]

    @property
    def num_proposals(self) -> int:
        return self.membership.shape[0]

    def iou(self) -> Tensor:
        """Return float32 [P, P] in [0, 1], the IoU of every two proposals."""
        union = self.areas[:, None] + self.areas[None, :] - self.intersections
        return self.intersections / union

    def containment(self) -> Tensor:
        """Return float32 [P, P]: entry (i, l) is |r_i ∩ r_l| / |r_l| (Algorithm 1, line 14)."""
        return self.intersections / self.areas[None, :]

    def to(self, device: torch.device | str) -> "ProposalGraph":
        """Copy to a device."""
        return ProposalGraph(
            self.membership.to(device),
            self.superpixel_areas.to(device),
            self.areas.to(device),
            self.intersections.to(device),
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
    config: GraphConfig | None = None,
) -> ProposalGraph:
    """Build the graph of one image's (filtered) proposals.

    Args:
        superpixels: int [h, w], ids 0..S-1.
        membership: bool [P, S], no empty proposal.
        edges: int [E, 2], adjacent superpixels.
        edge_contours: float [E], SUM of contour strength over the boundary between the pair.
        edge_lengths: float [E], boundary pixel pairs.
        config: neighbour settings.

    Raises:
        InputError: shapes disagree, ids are out of range, or a proposal is empty.
    """
    config = config or GraphConfig()
    membership = np.ascontiguousarray(membership, dtype=bool)
    _check_inputs(superpixels, membership, edges, edge_contours, edge_lengths)
    superpixel_areas = np.bincount(superpixels.ravel(), minlength=membership.shape[1]).astype(np.float32)
    rows = torch.from_numpy(membership).float()
    weighted = rows * torch.from_numpy(superpixel_areas)
    areas = weighted.sum(1)
    if membership.shape[0] and float(areas.min()) <= 0:
        raise InputError(f"membership: proposal {int(areas.argmin())} covers no pixel")
    intersections = weighted @ rows.T
    neighbours, mask = find_neighbours(membership, edges, areas, intersections, config.max_neighbours)
    separations = separation_of_pairs(
        membership, edges, edge_contours, edge_lengths, neighbours, mask, config
    )
    return ProposalGraph(
        membership=torch.from_numpy(membership),
        superpixel_areas=torch.from_numpy(superpixel_areas),
        areas=areas,
        intersections=intersections,
        neighbours=neighbours,
        neighbour_mask=mask,
        separations=separations,
        perimeter_strengths=torch.from_numpy(
            perimeter_strength(membership, edges, edge_contours, edge_lengths)
        ),
        size=(int(superpixels.shape[0]), int(superpixels.shape[1])),
    )


def find_neighbours(
    membership: np.ndarray, edges: np.ndarray, areas: Tensor, intersections: Tensor, max_neighbours: int
) -> tuple[Tensor, Tensor]:
    """Return N_u of eq. (2): the proposals that overlap or touch u, nearest by IoU first.

    Returns:
        neighbours int64 [P, N] with N = min(max_neighbours, P - 1) and its mask bool [P, N].
    """
    count = membership.shape[0]
    width = max(min(max_neighbours, count - 1), 0)
    if width == 0:
        return torch.zeros(count, 0, dtype=torch.int64), torch.zeros(count, 0, dtype=torch.bool)
    affinity = intersections / (areas[:, None] + areas[None, :] - intersections)
    affinity = torch.where(affinity > 0, affinity, -1.0 + touching(membership, edges).float())
    affinity.fill_diagonal_(-2.0)
    order = torch.sort(affinity, dim=1, descending=True, stable=True)
    neighbours = order.indices[:, :width].contiguous()
    mask = order.values[:, :width] >= 0
    own = torch.arange(count)[:, None].expand_as(neighbours)
    return torch.where(mask, neighbours, own), mask


def touching(membership: np.ndarray, edges: np.ndarray) -> Tensor:
    """Return bool [P, P]: True where some superpixel of u is adjacent to some superpixel of v."""
    rows = torch.from_numpy(np.ascontiguousarray(membership, dtype=np.float32))
    reach = torch.zeros_like(rows)
    first, second = (
        torch.from_numpy(edges[:, 0].astype(np.int64)),
        torch.from_numpy(edges[:, 1].astype(np.int64)),
    )
    reach.index_add_(1, second, rows[:, first])
    reach.index_add_(1, first, rows[:, second])
    return (reach.clamp(max=1.0) @ rows.T) > 0


def separation_of_pairs(
    membership: np.ndarray,
    edges: np.ndarray,
    edge_contours: np.ndarray,
    edge_lengths: np.ndarray,
    neighbours: Tensor,
    mask: Tensor,
    config: GraphConfig,
) -> Tensor:
    """Return I_uv of eq. (1) for every listed pair, float32 [P, N].

    The edges of the superpixel graph that separate u from v are those with both ends inside u ∪ v whose
    ends differ in (belongs to u, belongs to v): for disjoint regions their common boundary, for nested ones
    the boundary of the inner one that lies inside the outer one, for overlapping ones the boundaries between
    u \\ v, u ∩ v and v \\ u. It is symmetric, and 0 for equal regions. With `separation = mean` the sum is
    divided by the length of those edges.
    """
    count, width = neighbours.shape
    sums = torch.zeros(count, width)
    if width and len(edges):
        ends = _EdgeEnds(membership, edges)
        step = max(1, _ENTRY_BUDGET // max(len(edges), count))
        for start in range(0, count, step):
            rows = slice(start, min(start + step, count))
            sums[rows] = ends.separating(rows, edge_contours).gather(1, neighbours[rows])
            if config.separation == "mean":
                sums[rows] /= ends.separating(rows, edge_lengths).gather(1, neighbours[rows]).clamp(min=1.0)
    return torch.where(mask, sums * config.separation_weight, torch.zeros(()))


class _EdgeEnds:
    """For every proposal and edge: both ends inside, only the first, only the second; float32 [P, E] each."""

    def __init__(self, membership: np.ndarray, edges: np.ndarray) -> None:
        first = torch.from_numpy(membership[:, edges[:, 0]])
        second = torch.from_numpy(membership[:, edges[:, 1]])
        self.both, self.first = (first & second).float(), (first & ~second).float()
        self.second = (second & ~first).float()

    def separating(self, rows: slice, values: np.ndarray) -> Tensor:
        """Sum of `values` float [E] over the edges separating each proposal of `rows` from every other, [n, P].

        An edge separates u from v in one of three ways: both ends in u and one in v, the reverse, or one end in u
        alone and the other in v alone. Each is a product of indicators, hence three matrix products.
        """
        weights = torch.from_numpy(np.asarray(values, dtype=np.float32))
        both, first, second = (part[rows] * weights for part in (self.both, self.first, self.second))
        total = both @ (self.first + self.second).T
        total += (first + second) @ self.both.T
        total += first @ self.second.T
        total += second @ self.first.T
        return total


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
