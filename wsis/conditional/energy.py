"""The score S^k(y) of a labelling: unary, pairwise and higher-order terms (eq. 1-4).

Suffix legend: K samples, P proposals, N neighbours, J = 1 + number of annotated classes (column 0 = background).
The higher-order term Q (eq. 4) is 0 or minus infinity; it is enforced in `inference`, not added here.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from wsis.conditional.graph import ProposalGraph
from wsis.errors import InputError

Terms = Literal["U", "U+P", "U+P+H"]
Pairwise = Literal["literal", "propagate", "diffuse"]


@dataclass(frozen=True)
class EnergyConfig:
    """Terms of the score.

    Attributes:
        terms: `U` unary only, `U+P` with the pairwise term, `U+P+H` with the higher-order term too (Table 2).
        pairwise: `literal` is eq. (1) as printed, `propagate` moves the neighbour's score (method.md 4), `diffuse`
            is `propagate` times delta, whose step never overshoots (see `diffuse_update`).
        delta: the stabiliser of eq. (1), > 0.
        iterations: unrolled iterations of eq. (1)-(2).
    """

    terms: Terms = "U+P+H"
    pairwise: Pairwise = "diffuse"
    delta: float = 0.1
    iterations: int = 3

    @property
    def higher_order(self) -> bool:
        return self.terms == "U+P+H"


def literal_update(scores: Tensor, graph: ProposalGraph, delta: float) -> Tensor:
    """One iteration of eq. (1)-(2) as printed: G_u += sum_v exp(-I_uv) / (H_u + delta).

    H_u = sum over v in N_u of (G_u - G_v)^2, per class; all right-hand sides are of iteration n - 1.
    scores: float [K, P, J]; returns the same shape.
    """
    difference, weight = _differences(scores, graph)
    spread = (difference.square() * graph.neighbour_mask[:, :, None]).sum(2)
    return scores + weight.sum(1)[:, None] / (spread + delta)


def propagate_update(scores: Tensor, graph: ProposalGraph, delta: float) -> Tensor:
    """One iteration of method.md 4: G_u += mean_v exp(-I_uv) (G_v - G_u) / (H_uv + delta), H_uv = (G_u - G_v)^2.

    For |G_v - G_u| well under delta the step is (G_v - G_u) / delta: it overshoots tenfold at delta = 0.1.
    """
    difference, weight = _differences(scores, graph)
    flow = weight[:, :, None] * difference / (difference.square() + delta)
    return scores + flow.sum(2) / _degree(graph, scores)


def diffuse_update(scores: Tensor, graph: ProposalGraph, delta: float) -> Tensor:
    """`propagate_update` with its flow times delta: Perona-Malik diffusion over the proposal graph.

    The factor exp(-I_uv) * delta / (H_uv + delta) lies in (0, 1], so the new score is a convex combination of the
    old scores of u and its neighbours.
    """
    difference, weight = _differences(scores, graph)
    flow = weight[:, :, None] * difference * (delta / (difference.square() + delta))
    return scores + flow.sum(2) / _degree(graph, scores)


_UPDATES = {"literal": literal_update, "propagate": propagate_update, "diffuse": diffuse_update}


def _differences(scores: Tensor, graph: ProposalGraph) -> tuple[Tensor, Tensor]:
    """Return G_v - G_u, float [K, P, N, J], and exp(-I_uv) with 0 on padding, float [P, N]."""
    difference = scores[:, graph.neighbours] - scores[:, :, None]
    weight = torch.exp(-graph.separations.to(scores.dtype)) * graph.neighbour_mask
    return difference, weight


def _degree(graph: ProposalGraph, scores: Tensor) -> Tensor:
    return graph.neighbour_mask.sum(1).clamp(min=1).to(scores.dtype)[:, None]


def refine_scores(unary: Tensor, graph: ProposalGraph, config: EnergyConfig) -> Tensor:
    """Return G after the pairwise iterations (Algorithm 1, lines 1-6); differentiable.

    Args:
        unary: float [K, P, J], the network's F.
        graph: neighbours N_u and separations I_uv.
        config: `terms = U` returns the unary scores as they are.

    Raises:
        InputError: shapes disagree or delta is not positive.
    """
    if unary.ndim != 3 or unary.shape[1] != graph.num_proposals:
        raise InputError(f"unary: expected [K, {graph.num_proposals}, J], got {tuple(unary.shape)}")
    if config.delta <= 0:
        raise InputError(f"delta: expected > 0, got {config.delta}")
    if config.terms == "U" or graph.neighbours.shape[1] == 0:
        return unary
    update = _UPDATES[config.pairwise]
    scores = unary
    for _ in range(config.iterations):
        scores = update(scores, graph, config.delta)
    return scores


def labelling_score(scores: Tensor, labels: Tensor) -> Tensor:
    """Return S(y) = sum_u G_{u, y_u} (eq. 3 without Q).

    Args:
        scores: float [..., P, J].
        labels: int64 [..., P], score columns (0 = background); leading dimensions broadcast.

    Returns:
        float [...].
    """
    shape = torch.broadcast_shapes(scores.shape[:-1], labels.shape)
    expanded = scores.expand(*shape, scores.shape[-1])
    return expanded.gather(-1, labels.expand(shape)[..., None])[..., 0].sum(-1)
