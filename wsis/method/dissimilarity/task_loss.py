"""The task loss Delta of eq. (9) between targets and a labelling of the proposals, additive over proposals.

Delta_box has no gradient for the conditional network, whose proposals carry no box coordinates (paper 4.1), so
class and mask terms remain. Everything comes from per-superpixel integrals.
Suffix legend: P proposals, S superpixels, N targets, K samples, J = 1 + annotated classes (column 0 = background).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from wsis.errors import InputError
from wsis.method.conditional.graph import ProposalGraph
from wsis.method.dissimilarity.targets import FLOOR, Targets

MATCH_IOU = 0.5  # a proposal is matched to its best target when their soft IoU is at least this
CLAMP = float(-torch.log(torch.tensor(FLOOR, dtype=torch.float64)))
"""-log(FLOOR), the price of a certain mistake."""


def instance_iou(graph: ProposalGraph, masks: Tensor) -> Tensor:
    """Soft IoU of every proposal with every soft mask: sum(r m) / sum(r + m - r m), float [P, N] in [0, 1].

    Equal to the sums over pixels for masks that are constant inside superpixels.
    """
    mass = masks * graph.superpixel_areas
    overlap = graph.membership.to(mass.dtype) @ mass.T
    return overlap / (graph.areas[:, None] + mass.sum(1)[None] - overlap)


def mask_cross_entropy(graph: ProposalGraph, targets: Targets) -> Tensor:
    """Mean pixel cross-entropy of soft masks against the proposals' masks, float [P, N], at most `CLAMP`.

    Sum over pixels of -r log max(m, FLOOR) - (1 - r) log max(1 - m, FLOOR), divided by the pixels of the soft union
    sum(r + m - r m): averaging over the union instead of a box or the image makes a small object's errors as dear as
    a large one's; for a hard mask it is exactly CLAMP * (1 - IoU).
    """
    inside, outside = targets.costs * graph.superpixel_areas
    total = graph.membership.to(inside.dtype) @ (inside - outside).T + outside.sum(1)[None]
    mass = targets.masks * graph.superpixel_areas
    union = graph.areas[:, None] + mass.sum(1)[None] - graph.membership.to(mass.dtype) @ mass.T
    return (total / union).clamp(max=float(-torch.log(torch.tensor(FLOOR))))


def loss_table(graph: ProposalGraph, targets: Targets, columns: Tensor) -> Tensor:
    """Return Delta_{u,j}, what labelling proposal u with column j costs, float32 [P, J].

    A proposal is matched to the target with the highest IoU, if that is at least `MATCH_IOU`.
    matched, j > 0: -log p(j) + mask cross-entropy; matched, j = 0: -log p(0);
    unmatched, j > 0: the clamp; unmatched, j = 0: nothing.

    Args:
        graph: proposals.
        targets: may be empty.
        columns: int64 [J - 1], the class (1..C) of each score column.

    Raises:
        InputError: a column's class is not among the targets' classes.
    """
    if len(columns) and int(columns.max()) >= targets.probabilities.shape[1]:
        raise InputError(
            f"columns: classes {columns.tolist()}, but {targets.probabilities.shape[1] - 1} classes"
        )
    table = torch.full((graph.num_proposals, 1 + len(columns)), CLAMP)
    table[:, 0] = 0.0
    if len(targets) == 0 or graph.num_proposals == 0:
        return table
    overlap, match = instance_iou(graph, targets.masks).max(1)
    shape_cost = mask_cross_entropy(graph, targets).gather(1, match[:, None])
    kept = torch.cat([columns.new_zeros(1), columns])
    matched = -torch.log(targets.probabilities[:, kept].clamp(min=FLOOR))[match]
    matched[:, 1:] += shape_cost
    return torch.where((overlap >= MATCH_IOU)[:, None], matched, table)


@dataclass(frozen=True)
class Picks:
    """The labelled proposals of K labellings.

    Attributes:
        proposals: int64 [n] ascending, those that any of them labels.
        of_samples: int64 [K, m], the places in it of those that each one labels, ascending, then -1.
    """

    proposals: Tensor
    of_samples: Tensor

    @classmethod
    def of(cls, labels: Tensor) -> "Picks":
        """Of labels int64 [K, P]."""
        owner, target = torch.nonzero(labels, as_tuple=True)
        proposals, place = torch.unique(target, return_inverse=True)
        counts = torch.bincount(owner, minlength=len(labels))
        before = counts.cumsum(0) - counts
        of_samples = place.new_full((len(labels), int(counts.max()) if len(counts) else 0), -1)
        of_samples[owner, torch.arange(len(owner), device=labels.device) - before[owner]] = place
        return cls(proposals, of_samples)


def sample_loss_tables(
    labels: Tensor, graph: ProposalGraph, columns: int, picks: Picks | None = None
) -> Tensor:
    """Return Delta_{u,j} with each of K labellings as the targets, float32 [K, P, J].

    The same table as `loss_table(targets_from_labels(...))`, from the IoU with the labelled proposals alone.

    Args:
        labels: int64 [K, P], score columns (0 = background).
        graph: proposals.
        columns: J.
        picks: of the labels, where they are known; those of a device are waited for.
    """
    picks = Picks.of(labels) if picks is None else picks
    best = torch.zeros(labels.shape, device=labels.device)
    classes = torch.zeros_like(labels)  # class column of the instance that each proposal is matched to
    if picks.of_samples.numel():
        chosen = picks.of_samples.clamp(min=0)
        overlaps = graph.iou(picks.proposals)[chosen]
        best, which = overlaps.masked_fill_((picks.of_samples < 0)[..., None], -1).max(1)
        classes = labels.gather(1, picks.proposals[chosen]).gather(1, which)
    is_matched = ((best >= MATCH_IOU) & (classes > 0))[..., None]
    right = is_matched & (torch.arange(columns, device=labels.device) == classes[..., None])
    table = ~right * CLAMP + torch.where(is_matched, ((1.0 - best) * CLAMP)[..., None], 0.0)
    table[..., 0] = is_matched[..., 0] * CLAMP
    return table


def net_gains(table: Tensor) -> Tensor:
    """Delta_{u,j} - Delta_{u,0}, float [..., P, J]: what Delta changes by when u leaves the background."""
    return table - table[..., :1]


def labelling_loss(table: Tensor, labels: Tensor, miss_cost: Tensor | float) -> Tensor:
    """Return Delta(targets, y) = sum_n -log p_n(0) + sum over labelled u of (Delta_{u,y_u} - Delta_{u,0}).

    It differs from sum_u Delta_{u,y_u} by a constant in y: that sum charges -log p(0) for *every* proposal matched to
    a target and left in the background, dozens per object, of which an argmax may take one. Here each target is
    missed once, which makes the loss of one labelling against another symmetric, as the factor 2 of Algorithm 2's
    second estimate supposes.

    Args:
        table: float [..., P, J].
        labels: int64 [..., P].
        miss_cost: sum over targets of -log max(p_n(0), FLOOR), broadcastable.
    """
    gained = net_gains(table)
    shape = torch.broadcast_shapes(gained.shape[:-1], labels.shape)
    expanded = gained.expand(*shape, gained.shape[-1])
    return miss_cost + expanded.gather(-1, labels.expand(shape)[..., None])[..., 0].sum(-1)


def miss_cost(targets: Targets) -> float:
    """Return the cost of leaving every target out: sum_n -log max(p_n(0), FLOOR)."""
    return float(-torch.log(targets.probabilities[:, 0].clamp(min=FLOOR)).sum())
