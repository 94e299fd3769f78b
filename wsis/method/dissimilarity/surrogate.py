"""Algorithm 2: the estimated gradient of DISC = DIV(p, c) - gamma DIV(c, c) for the conditional network (eq. 22-26).

Sign conventions. S is maximised by inference, DISC is minimised by descent. With ŷ^k = argmax S^k,
ŷ(±) = argmax S ± eps Delta, and eps > 0, the gradient of E[Delta(target, ŷ)] is estimated by

    away     (paper, eps = +1):  (1/eps)  ∇[S(ŷ(+)) - S(ŷ)]      a costlier labelling loses score
    towards  (the other sign):   (1/eps)  ∇[S(ŷ) - S(ŷ(-))]      a cheaper labelling gains score
    central  (their mean):       (1/2eps) ∇[S(ŷ(+)) - S(ŷ(-))]   error of second order in eps

All three tend to the same gradient as eps -> 0 (direct loss minimisation). At eps = 1 they differ: `away` has no
gradient once ŷ is itself the costliest labelling, `towards` none once it is the cheapest.
All argmaxes are detached, so the surrogate is linear in S and one weight per (k, u, j) says it all.
Suffix legend: K samples, P proposals, J score columns (0 = background), Q loss-augmented problems.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from wsis.errors import InputError
from wsis.method.dissimilarity.task_loss import net_gains

Direction = Literal["away", "towards", "central"]


@dataclass(frozen=True)
class SurrogateConfig:
    """Settings of Algorithm 2.

    Attributes:
        gamma: of eq. (8).
        epsilon: of eq. (26), as a positive size.
        direction: its sign or signs.
        reach_weight: weight of `reach_penalty`; 0 is the paper's letter.
    """

    gamma: float = 0.5
    epsilon: float = 1.0
    direction: Direction = "towards"
    reach_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.epsilon <= 0 or not 0 <= self.gamma <= 1 or self.reach_weight < 0:
            raise InputError(
                "expected epsilon > 0, gamma in [0, 1] and reach_weight >= 0, "
                f"got {self.epsilon}, {self.gamma}, {self.reach_weight}"
            )

    @property
    def signs(self) -> tuple[int, ...]:
        """Signs of eps for which loss-augmented problems are solved."""
        return {"away": (1,), "towards": (-1,), "central": (1, -1)}[self.direction]

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


def sample_pairs(samples: int) -> tuple[Tensor, Tensor]:
    """Return k and k' of all ordered pairs k != k', int64 [K(K-1)] each."""
    first, second = torch.meshgrid(torch.arange(samples), torch.arange(samples), indexing="ij")
    different = first != second
    return first[different], second[different]


def augmented_scores(
    scores: Tensor, target_table: Tensor, sample_tables: Tensor, config: SurrogateConfig
) -> Tensor:
    """Scores S ± eps Delta of all loss-augmented problems of an image (eq. 26), float [Q, P, J].

    For each sign: first the K problems against the targets, then the K(K-1) against the other samples in the order
    of `sample_pairs`. Delta is taken relative to the background column: the difference is constant in y.

    Args:
        scores: float [K, P, J], detached.
        target_table: float [P, J], Delta_{u,j} against the targets.
        sample_tables: float [K, P, J], Delta_{u,j} against each sample.
        config: signs, epsilon, gamma.
    """
    against_targets = net_gains(target_table)[None]
    parts = []
    for sign in config.signs:
        parts.append(scores + sign * config.epsilon * against_targets)
        if config.uses_self_diversity(len(scores)):
            first, second = sample_pairs(len(scores))
            parts.append(scores[first] + sign * config.epsilon * net_gains(sample_tables)[second])
    return torch.cat(parts)


def surrogate_weights(labels: Tensor, augmented: Tensor, columns: int, config: SurrogateConfig) -> Tensor:
    """Return d surrogate / d G, float32 [K, P, J], of

        DIV(p,c) part: 1/K sum_k [S^k(ŷ_a^k) - S^k(ŷ_c^k)] / eps
        minus gamma * 2/(K(K-1)) sum_{k≠k'} [S^k(ŷ_b^{k,k'}) - S^{k'}(ŷ_c^{k'})] / eps

    for `away` (statement 8 of Algorithm 2, which names DIV(c,c) twice; the first is DIV(p,c)), and its counterparts
    for the other directions.

    Args:
        labels: int64 [K, P], ŷ_c^k as score columns.
        augmented: int64 [Q, P], solutions of `augmented_scores` in its order.
        columns: J.
        config: as given to `augmented_scores`.
    """
    samples = len(labels)
    self_term = config.uses_self_diversity(samples)
    pairs = samples * (samples - 1) if self_term else 0
    if len(augmented) != len(config.signs) * (samples + pairs):
        raise InputError(
            f"augmented: expected {len(config.signs) * (samples + pairs)} solutions, got {len(augmented)}"
        )
    own = _one_hot(labels, columns)
    # The numerator has weight +1 where the loss was added and -1 where it was subtracted; what remains to make it
    # a difference of two scores falls to the samples themselves (nothing for `central`, whose signs cancel).
    balance = -float(sum(config.signs))
    weights = balance * own / samples
    factor = 2.0 * config.gamma / pairs if self_term else 0.0
    if self_term:
        weights = weights - factor * balance * (samples - 1) * own
    for index, sign in enumerate(config.signs):
        start = index * (samples + pairs)
        weights = weights + sign * _one_hot(augmented[start : start + samples], columns) / samples
        if self_term:
            solutions = _one_hot(augmented[start + samples : start + samples + pairs], columns)
            per_sample = solutions.reshape(samples, samples - 1, *solutions.shape[1:]).sum(1)
            weights = weights - sign * factor * per_sample
    return weights / (config.epsilon * len(config.signs))


def _one_hot(labels: Tensor, columns: int) -> Tensor:
    return torch.nn.functional.one_hot(labels, columns).to(torch.float32)
