"""Which seeds of a class are one object: the partition of the seeds that the proposals explain best (departure D9).

A class response map is coarse (a cell covers some 32 input pixels) and adds up over the objects of its class, so that
one proposal around a herd fits the whole map better than each animal. Here each group of seeds answers for its own part
of the map, the cells that are nearest to its seeds, and proposals are compared with it as the classifier would see
them, at the resolution of its cells. To part one object costs contour strength: there is little between its parts.
Suffix legend: N seeds of a class, P proposals, S superpixels, M cells of a class response map.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsis.method.conditional.graph import ProposalGraph
from wsis.method.conditional.pooling import pool_matrix

_CONTOUR_POWER = 3.0  # how much a contour along its perimeter counts for a group's proposal
_ONE_OBJECT = 1.35  # groups are one where that is worth this many times as much as both apart
_LEAST = 0.05  # of the largest worth of a class: a group of less is no object
_BESIDE = 0.5  # largest share of the smaller of two objects of a class in the other


@dataclass(frozen=True)
class SeedGroup:
    """Seeds that are one object.

    Attributes:
        label: their class, 1..C.
        seeds: positions of the seeds, ascending.
        proposal: the proposal that fits their part of the class response map best and holds one of them.
        worth: its fit times the mass of that part, in cells.
    """

    label: int
    seeds: tuple[int, ...]
    proposal: int
    worth: float


def group_seeds(
    graph: ProposalGraph,
    superpixels: NDArray[np.integer],
    peaks: NDArray[np.integer],
    at_peak: Tensor,
    class_response_maps: NDArray[np.uint8],
    response_classes: NDArray[np.integer],
    image_size: tuple[int, int],
) -> list[SeedGroup]:
    """Groups of each class's seeds, largest worth first.

    Two groups are merged at a time, those that gain most by it, while one is worth `_ONE_OBJECT` times both apart. A
    group whose proposal overlaps that of another of its class joins the one of larger worth; one of next to no worth
    is left out.

    Args:
        graph: proposals of the image, at least one.
        superpixels: int [h, w].
        peaks: int [N, 3], class 1..C, row, column in original pixels.
        at_peak: int64 [N], superpixel of each.
        class_response_maps: uint8 [A, h2, w2], one for each class of a peak.
        response_classes: int [A].
        image_size: (H, W) of the original image.
    """
    seen = proposals_on_grid(graph, superpixels, (class_response_maps.shape[1], class_response_maps.shape[2]))
    contours = graph.perimeter_strengths**_CONTOUR_POWER
    groups: list[SeedGroup] = []
    for position, label in enumerate(response_classes.tolist()):
        seeds = np.flatnonzero(peaks[:, 0] == label)
        if len(seeds):
            response = torch.from_numpy(class_response_maps[position].astype(np.float32) / 255.0)
            nearest = _nearest_seed(peaks[seeds, 1:], image_size, (response.shape[0], response.shape[1]))
            of_class = _ClassSeeds(
                seen, contours, response.flatten(), nearest, graph.membership[:, at_peak[seeds]]
            )
            groups += [
                SeedGroup(label, tuple(int(seeds[i]) for i in sorted(members)), *of_class.best(members))
                for members in of_class.partition()
            ]
    return _beside(graph, sorted(groups, key=lambda group: -group.worth))


def _beside(graph: ProposalGraph, groups: list[SeedGroup]) -> list[SeedGroup]:
    """The groups that are worth something and overlap no earlier one of their class: such a one is of that object."""
    shares = graph.containment(torch.tensor([group.proposal for group in groups], dtype=torch.int64))
    kept: dict[int, SeedGroup] = {}
    largest: dict[int, float] = {}
    for new, group in enumerate(groups):
        least = _LEAST * largest.setdefault(group.label, group.worth)
        for old, earlier in kept.items():
            overlap = max(float(shares[new, earlier.proposal]), float(shares[old, group.proposal]))
            if earlier.label == group.label and overlap > _BESIDE:
                kept[old] = replace(earlier, seeds=tuple(sorted(earlier.seeds + group.seeds)))
                break
        else:
            if group.worth > least or all(one.label != group.label for one in kept.values()):
                kept[new] = group
    return list(kept.values())


def superpixel_at(
    superpixels: NDArray[np.integer], peaks: NDArray[np.integer], image_size: tuple[int, int]
) -> Tensor:
    """Superpixel of each peak, int64 [N]; peaks int [N, 3], class, row, column in pixels of the image (H, W)."""
    rows = (peaks[:, 1].astype(np.int64) * 2 + 1) * superpixels.shape[0] // (2 * image_size[0])
    columns = (peaks[:, 2].astype(np.int64) * 2 + 1) * superpixels.shape[1] // (2 * image_size[1])
    return torch.from_numpy(superpixels[rows, columns].astype(np.int64))


def proposals_on_grid(
    graph: ProposalGraph, superpixels: NDArray[np.integer], grid: tuple[int, int]
) -> Tensor:
    """Each proposal's mask as a response map of that grid, float32 [P, M] in [0, 1], maximum 1.

    A cell holds the mean of the mask with the weights that bilinear upsampling of the grid gives it.
    """
    weights = pool_matrix(superpixels, grid, graph.membership.shape[1]).to_dense()
    seen = graph.membership.float() @ (weights / weights.sum(0).clamp(min=1e-6))
    return seen / seen.amax(1, keepdim=True).clamp(min=1e-6)


def _nearest_seed(points: NDArray[np.integer], image_size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """The seed that each cell is nearest to, int64 [M]; points int [N, 2], row and column in original pixels."""
    scale = np.array(grid) / np.array(image_size)
    centres = torch.from_numpy((points + 0.5) * scale).float()
    cells = torch.from_numpy(np.indices(grid).reshape(2, -1).T + 0.5).float()
    return torch.cdist(cells, centres).argmin(1)


class _ClassSeeds:
    """The seeds of one class and what their groups are worth.

    Args:
        seen: float [P, M] of `proposals_on_grid`.
        contours: float [P], what the contour along each perimeter is worth.
        response: float [M], the class response map.
        nearest: int64 [M], the seed of each cell.
        holds: bool [P, N], which proposals hold which seed.
    """

    def __init__(
        self, seen: Tensor, contours: Tensor, response: Tensor, nearest: Tensor, holds: Tensor
    ) -> None:
        self.seen, self.contours, self.response, self.nearest, self.holds = (
            seen,
            contours,
            response,
            nearest,
            holds,
        )
        self.size = seen.sum(1)
        self.best = cache(self._best)

    def _best(self, members: frozenset[int]) -> tuple[int, float]:
        """The proposal of a group, and the group's worth."""
        own = list(members)
        part = self.response * torch.isin(self.nearest, torch.tensor(own))
        mass = part.sum()
        common = torch.minimum(self.seen, part).sum(1)
        fit = common / (self.size + mass - common).clamp(min=1e-6) * self.contours
        held = self.holds[:, own].any(1)
        if bool(held.any()):
            fit = fit.masked_fill(~held, float("-inf"))
        proposal = int(fit.topk(1).indices)
        return proposal, float(fit[proposal] * mass)

    def partition(self) -> Iterable[frozenset[int]]:
        """Groups of positions 0..N-1."""
        groups = [frozenset([i]) for i in range(self.holds.shape[1])]
        while len(groups) > 1:
            first, second = max(combinations(groups, 2), key=self._gain)
            if self._gain((first, second)) < 0:
                break
            groups = [group for group in groups if group not in (first, second)] + [first | second]
        return groups

    def _gain(self, pair: tuple[frozenset[int], frozenset[int]]) -> float:
        """What is gained by calling two groups one object."""
        apart = sum(self.best(group)[1] for group in pair)
        return self.best(pair[0] | pair[1])[1] - _ONE_OBJECT * apart
