"""Algorithm 2: the estimated gradient of DISC = DIV(p, c) - gamma DIV(c, c) for the conditional network (eq. 22-26).

Sign conventions. S is maximised by inference, DISC is minimised by descent. With ŷ^k = argmax S^k,
ŷ(±) = argmax S ± eps Delta, and eps > 0, the gradient of E[Delta(target, ŷ)] is estimated by

    away     (paper, eps = +1):  (1/eps)  ∇[S(ŷ(+)) - S(ŷ)]      a costlier labelling loses score
    towards  (the other sign):   (1/eps)  ∇[S(ŷ) - S(ŷ(-))]      a cheaper labelling gains score

Both tend to the same gradient as eps -> 0 (direct loss minimisation). At eps = 1 they differ: `away` has no
gradient once ŷ is itself the costliest labelling, `towards` none once it is the cheapest.
All argmaxes are detached, so the surrogate is linear in S and one weight per (k, u, j) says it all.
Suffix legend: K samples, P proposals, J score columns (0 = background), Q loss-augmented problems.
"""

from functools import cache
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from wsis.errors import InputError
from wsis.method.dissimilarity.task_loss import net_gains
from wsis.method.settings import Settings

Direction = Literal["away", "towards"]


class SurrogateConfig(Settings):
    """Settings of Algorithm 2."""

    gamma: float = Field(
        0.25, ge=0, le=1, description="paper: 0.5, at which nothing holds the samples together; see D7"
    )
    epsilon: float = Field(1.0, gt=0, description="of eq. 26: how far the loss augments the inference")
    direction: Direction = Field("towards", description="away: Algorithm 2 by the letter (eps = +1)")
    reach_weight: float = Field(
        1.0, ge=0, description="penalty on scores that no loss-augmented inference can move; paper: 0"
    )

    @property
    def sign(self) -> int:
        """Sign of eps in the loss-augmented problems."""
        return 1 if self.direction == "away" else -1

    def uses_self_diversity(self, samples: int) -> bool:
        """Whether DIV(c, c) takes part (PW_c: one sample, or gamma = 0, does without)."""
        return samples > 1 and self.gamma > 0


def reach_penalty(scores: Tensor, reach: float) -> Tensor:
    """1/K sum over samples, proposals and classes of max(0, margin - reach)^2; differentiable, not of the paper.

    The margin is a proposal's score for a class above that for the background. The task loss is bounded, so no
    loss-augmented inference can remove a proposal whose margin is above `reach`, eps times the bound: the surrogate
    has no gradient there, and a step that was too large would last for ever. The penalty leads back.

    Args:
        scores: float [K, P, J].
        reach: largest margin that costs nothing.
    """
    margins = scores[..., 1:] - scores[..., :1]
    return (margins - reach).clamp(min=0).square().sum() / max(1, len(scores))


@cache
def sample_pairs(samples: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Return k and k' of all ordered pairs k != k', int64 [K(K-1)] each; kept, and not to be written to."""
    pairs = torch.arange(samples * (samples - 1), device=device)
    first, second = pairs // max(1, samples - 1), pairs % max(1, samples - 1)
    return first, second + (second >= first)


def augmented_scores(
    scores: Tensor, target_table: Tensor, sample_tables: Tensor, config: SurrogateConfig
) -> Tensor:
    """Scores S ± eps Delta of all loss-augmented problems of an image (eq. 26), float [Q, P, J].

    First the K problems against the targets, then the K(K-1) against the other samples in the order of `sample_pairs`.
    Delta is taken relative to the background column: the difference is constant in y.

    Args:
        scores: float [K, P, J], detached.
        target_table: float [P, J], Delta_{u,j} against the targets.
        sample_tables: float [K, P, J], Delta_{u,j} against each sample.
        config: sign, epsilon, gamma.
    """
    size = config.sign * config.epsilon
    against_targets = scores + size * net_gains(target_table)
    if not config.uses_self_diversity(len(scores)):
        return against_targets
    first, second = sample_pairs(len(scores), scores.device)
    return torch.cat([against_targets, scores[first] + size * net_gains(sample_tables)[second]])


def surrogate_weights(labels: Tensor, augmented: Tensor, columns: int, config: SurrogateConfig) -> Tensor:
    """Return d surrogate / d G, float32 [K, P, J], of

        DIV(p,c) part: 1/K sum_k [S^k(ŷ_a^k) - S^k(ŷ_c^k)] / eps
        minus gamma * 2/(K(K-1)) sum_{k≠k'} [S^k(ŷ_b^{k,k'}) - S^{k'}(ŷ_c^{k'})] / eps

    for `away` (statement 8 of Algorithm 2, which names DIV(c,c) twice; the first is DIV(p,c)), and its counterpart
    for `towards`.

    Args:
        labels: int64 [K, P], ŷ_c^k as score columns.
        augmented: int64 [Q, P], solutions of `augmented_scores` in its order.
        columns: J.
        config: as given to `augmented_scores`.
    """
    samples = len(labels)
    pairs = samples * (samples - 1) if config.uses_self_diversity(samples) else 0
    if len(augmented) != samples + pairs:
        raise InputError(f"augmented: expected {samples + pairs} solutions, got {len(augmented)}")
    own = _one_hot(labels, columns)
    factor = 2.0 * config.gamma / pairs if pairs else 0.0
    weights = -own / samples
    if pairs:
        weights = weights + factor * (samples - 1) * own
    weights = weights + _one_hot(augmented[:samples], columns) / samples
    if pairs:
        solutions = _one_hot(augmented[samples:], columns)
        weights = weights - factor * solutions.reshape(samples, samples - 1, *solutions.shape[1:]).sum(1)
    return config.sign * weights / config.epsilon


def _one_hot(labels: Tensor, columns: int) -> Tensor:
    return torch.nn.functional.one_hot(labels, columns).to(torch.float32)
