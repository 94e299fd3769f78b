"""The score S^k(y) of a labelling: unary, pairwise and higher-order terms (eq. 1-4).

Suffix legend: K samples, P proposals, N neighbours, J = 1 + number of annotated classes (column 0 = background),
D = K * J.
The higher-order term Q (eq. 4) is 0 or minus infinity; it is enforced in `inference`, not added here.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.autograd.function import once_differentiable

from wsis.errors import InputError
from wsis.method.conditional.graph import ProposalGraph
from wsis.method.settings import Settings

ITERATIONS = 3  # of eq. (1)-(2), unrolled (paper)

# Differences G_v - G_u worked on at a time: what a core's cache holds, and what keeps a GPU busy.
_CACHE_ENTRIES = 1 << 18
_DEVICE_ENTRIES = 1 << 24


Update = Callable[[Tensor], Tensor]


def literal_update(graph: ProposalGraph, delta: float, dtype: torch.dtype) -> Update:
    """One iteration of eq. (1)-(2) as printed: G_u += sum_v exp(-I_uv) / (H_u + delta).

    H_u = sum over v in N_u of (G_u - G_v)^2, per class; all right-hand sides are of iteration n - 1.

    Returns:
        A function of scores, float [P, D], one column per sample and class; it returns the same shape.
    """
    listed, attraction = graph.neighbour_mask.to(dtype), _attraction(graph, dtype).sum(1, keepdim=True)
    return lambda scores: scores + attraction / (_neighbour_sum(scores, graph, listed, None) + delta)


def diffuse_update(graph: ProposalGraph, delta: float, dtype: torch.dtype) -> Update:
    """One iteration of our reading (departure D4): G_u += mean_v exp(-I_uv) delta / (H_uv + delta) (G_v - G_u),
    H_uv = (G_u - G_v)^2: Perona-Malik diffusion over the proposal graph.

    The factor exp(-I_uv) * delta / (H_uv + delta) lies in (0, 1], so the new score is a convex combination of the
    old scores of u and its neighbours.

    Returns:
        As `literal_update`.
    """
    degree = graph.neighbour_mask.sum(1, keepdim=True).clamp(min=1)
    weight = _attraction(graph, dtype) * (delta / degree)
    return lambda scores: scores + _neighbour_sum(scores, graph, weight, delta)


def _attraction(graph: ProposalGraph, dtype: torch.dtype) -> Tensor:
    """exp(-I_uv) with 0 on padding, float [P, N]."""
    return torch.exp(-graph.separations.to(dtype)) * graph.neighbour_mask


def _neighbour_sum(scores: Tensor, graph: ProposalGraph, weight: Tensor, delta: float | None) -> Tensor:
    """Sum over v in N_u of weight_uv * phi(G_v - G_u), float [P, D]; see `_NeighbourSum`."""
    total: Tensor = _NeighbourSum.apply(scores, graph.neighbours, weight, delta)
    return total


class _NeighbourSum(torch.autograd.Function):
    """out[u] = sum_n weight[u, n] * phi(scores[neighbours[u, n]] - scores[u]), phi(d) = d / (d^2 + delta), or d^2
    where delta is None; differentiable in the scores.

    Neighbours are taken a few at a time so that the differences stay in the processor's cache and only the scores
    are kept for the backward pass: autograd would keep several [K, P, N, J] tensors an iteration.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, neighbours: Tensor, weight: Tensor, delta: float | None) -> Tensor:
        ctx.save_for_backward(scores, neighbours, weight)
        ctx.delta = delta
        total = torch.zeros_like(scores)
        for part in _neighbour_groups(scores, neighbours):
            d = _differences(scores, neighbours[:, part])
            value = d.square_() if delta is None else d / d.square().add_(delta)
            total += _weighted_sum(value, weight[:, part])
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scores, neighbours, weight = ctx.saved_tensors
        delta, result = ctx.delta, torch.zeros_like(scores)
        for part in _neighbour_groups(scores, neighbours):
            d = _differences(scores, neighbours[:, part])
            if delta is None:
                slope = d.mul_(2.0)
            else:
                square = d.square_()
                slope = (delta - square) / square.add(delta).square_()
            slope *= weight[:, part, None]
            slope *= gradient[:, None]
            result.index_add_(0, neighbours[:, part].reshape(-1), slope.flatten(0, 1))
            result -= slope.sum(1)
        return result, None, None, None


def _neighbour_groups(scores: Tensor, neighbours: Tensor) -> Iterator[slice]:
    entries = _CACHE_ENTRIES if scores.device.type == "cpu" else _DEVICE_ENTRIES
    step = max(1, entries // max(scores.numel(), 1))
    for start in range(0, neighbours.shape[1], step):
        yield slice(start, start + step)


def _differences(scores: Tensor, neighbours: Tensor) -> Tensor:
    """G_v - G_u, float [P, n, D]."""
    others = scores.index_select(0, neighbours.reshape(-1))
    return others.reshape(*neighbours.shape, scores.shape[1]).sub_(scores[:, None])


def _weighted_sum(values: Tensor, weight: Tensor) -> Tensor:
    """Sum over n of values [P, n, D] * weight [P, n]."""
    return values.mul_(weight[:, :, None]).sum(1)


def pairwise_term(scores: Tensor, graph: ProposalGraph, config: "EnergyConfig") -> Tensor:
    """Iterations of eq. (1)-(2), as `config.pairwise` says; float [K, P, J] -> the same shape."""
    if graph.neighbours.shape[1] == 0:
        return scores
    update = PAIRWISE[config.pairwise](graph, config.delta, scores.dtype)
    samples, proposals, columns = scores.shape
    flat = scores.transpose(0, 1).reshape(proposals, samples * columns)  # a neighbour is one row of memory
    for _ in range(ITERATIONS):
        flat = update(flat)
    return flat.reshape(proposals, samples, columns).transpose(0, 1)


PAIRWISE = {"literal": literal_update, "diffuse": diffuse_update}

TERMS: dict[str, tuple[Callable[[Tensor, ProposalGraph, "EnergyConfig"], Tensor], ...]] = {
    "U": (),
    "U+P": (pairwise_term,),
    "U+P+H": (pairwise_term,),
}
"""`conditional.terms` -> what is added to the unary scores, one after the other. H is what inference does."""

if TYPE_CHECKING:
    Terms = str
    Pairwise = str
else:
    Terms = Literal[tuple(TERMS)]
    Pairwise = Literal[tuple(PAIRWISE)]


class EnergyConfig(Settings):
    """Terms of the score (eq. 1-4, Table 2)."""

    terms: Terms = Field("U+P+H", description="unary U, pairwise P and higher-order H terms (Table 2)")
    pairwise: Pairwise = Field(
        "diffuse", description="form of the pairwise term: literal is eq. 1 as printed"
    )
    delta: float = Field(0.1, gt=0, description="stabiliser of eq. 1")

    @property
    def higher_order(self) -> bool:
        return "H" in self.terms.split("+")

    @property
    def uses_neighbours(self) -> bool:
        """Whether the neighbours N_u of the proposals play a part."""
        return pairwise_term in TERMS[self.terms]


def refine_scores(unary: Tensor, graph: ProposalGraph, config: EnergyConfig) -> Tensor:
    """Return G, the scores after every term but Q (Algorithm 1, lines 1-6); differentiable.

    Args:
        unary: float [K, P, J], the network's F.
        graph: neighbours N_u and separations I_uv.
        config: `terms = U` returns the unary scores as they are.

    Raises:
        InputError: shapes disagree.
    """
    if unary.ndim != 3 or unary.shape[1] != graph.num_proposals:
        raise InputError(f"unary: expected [K, {graph.num_proposals}, J], got {tuple(unary.shape)}")
    for term in TERMS[config.terms]:
        unary = term(unary, graph, config)
    return unary


def add_contours(scores: Tensor, graph: ProposalGraph, weight: float) -> Tensor:
    """The pairwise term of sampling (departure D4): G_{u,j} + weight * (B_u - mean over the proposals of B), j > 0.

    B_u, the mean contour strength along the outline of u, is what the labelling of u costs in a contrast-sensitive
    pairwise model of the superpixels (Boykov and Jolly, ICCV 2001), for each pixel of the cut: an outline on contours
    is cheap.

    Args:
        scores: float [K, P, J], column 0 the background.
        weight: at least 0.

    Returns:
        float [K, P, J].
    """
    strengths = graph.perimeter_strengths.to(scores.dtype)
    gain = weight * (strengths - strengths.mean()) if len(strengths) else strengths
    return torch.cat([scores[..., :1], scores[..., 1:] + gain[:, None]], -1)


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
