"""One step of learning the conditional network (Algorithm 2), and sampling from it.

Suffix legend: B images, K samples, P proposals, J score columns (0 = background), C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wsis.errors import NonFiniteError
from wsis.method.conditional.energy import EnergyConfig, add_contours, refine_scores
from wsis.method.conditional.graph import ProposalGraph
from wsis.method.conditional.inference import Slots, infer
from wsis.method.conditional.network import ConditionalNetwork
from wsis.method.conditional.noise import Noise
from wsis.method.dissimilarity.diversity import diversity_statistics
from wsis.method.dissimilarity.surrogate import (
    SurrogateConfig,
    augmented_scores,
    reach_penalty,
    sample_pairs,
    surrogate_weights,
)
from wsis.method.dissimilarity.task_loss import CLAMP, labelling_loss, sample_loss_tables


@dataclass(frozen=True)
class ImageProblem:
    """Everything about one image that does not depend on the network.

    Attributes:
        graph: its proposals.
        matrix: sparse [S, h*w], `pool_matrix` for the feature size.
        feature_size: (h, w), the valid part of the feature map.
        classes: int64 [J - 1], annotated classes in 1..C.
        slots: what inference must fill; columns refer to `classes`.
        target_table: float [P, J], Delta_{u,j} against the targets (None when only sampling).
        miss: cost of leaving out all targets.
        image_id: names the image in errors.
    """

    graph: ProposalGraph
    matrix: Tensor
    feature_size: tuple[int, int]
    classes: Tensor
    slots: Slots
    target_table: Tensor | None = None
    miss: float = 0.0
    image_id: str = ""

    def to(self, device: torch.device | str) -> "ImageProblem":
        """Copy to a device; itself where it is there already."""
        if self.classes.device == torch.device(device):
            return self
        return replace(
            self,
            graph=self.graph.to(device),
            matrix=self.matrix.to(device),
            classes=self.classes.to(device),
            slots=self.slots.to(device),
            target_table=None if self.target_table is None else self.target_table.to(device),
        )


class LearningConfig(EnergyConfig, SurrogateConfig):
    """Settings of one learning step: those of the score, and those of Algorithm 2."""


def conditional_scores(
    network: ConditionalNetwork,
    features: Tensor,
    noise: Tensor,
    problem: ImageProblem,
    energy: EnergyConfig,
    flipped: bool = False,
) -> Tensor:
    """Return the refined scores G^k_{u,j} of one image, float [K, P, J].

    Args:
        features: float [D, h', w'], one image of `network.features`, maybe padded on the right and below.
        noise: float [K, h, w].
        flipped: the features are of the mirrored image; they are mirrored back.

    Raises:
        NonFiniteError: features or scores hold NaN or infinite values; names the image if the problem does.
    """
    height, width = problem.feature_size
    valid = features[:, :height, :width]
    valid = valid.flip(-1) if flipped else valid
    try:
        unary = network.proposal_scores(valid, noise, problem.matrix, problem.graph, problem.classes)
    except NonFiniteError as error:
        raise NonFiniteError(
            f"image {problem.image_id}: {error}" if problem.image_id else str(error)
        ) from error
    return refine_scores(unary, problem.graph, energy)


def sample_labels(
    network: ConditionalNetwork,
    images: Tensor,
    problems: Sequence[ImageProblem],
    noises: Sequence[Noise],
    energy: EnergyConfig,
    contour_weight: float = 0.0,
) -> tuple[list[Tensor], list[Tensor]]:
    """Draw K labellings of each image (eq. 5).

    Args:
        images: float [B, 3, H, W] in 0..255.
        problems: B problems.
        noises: one an image, of K samples.
        contour_weight: of the contour along the outlines (`add_contours`), where the score has a pairwise term and the
            slots are no boxes, which count it themselves (`box_choice.box_fit`).

    Returns:
        Per image int64 [K, P] score columns, and refined scores float [K, P, J] without the noise of the scores.
    """
    with torch.no_grad():
        features = network.features(images)
        scores = [
            conditional_scores(network, f, z.maps, p, energy)
            for f, z, p in zip(features, noises, problems, strict=True)
        ]
        if contour_weight and energy.uses_neighbours:
            scores = [
                add_contours(s, p.graph, contour_weight) if p.slots.box_iou is None else s
                for s, p in zip(scores, problems, strict=True)
            ]
        noisy = _noisy(scores, noises)
        return infer(noisy, [p.slots for p in problems], higher_order=energy.higher_order), scores


def _noisy(scores: Sequence[Tensor], noises: Sequence[Noise]) -> list[Tensor]:
    """Scores of each image with the noise of its scores, detached."""
    return [
        s.detach() if z.scores is None else s.detach() + z.scores for s, z in zip(scores, noises, strict=True)
    ]


def dissimilarity_loss(
    network: ConditionalNetwork,
    images: Tensor,
    problems: Sequence[ImageProblem],
    noises: Sequence[Noise],
    flipped: Sequence[bool],
    config: LearningConfig,
) -> tuple[Tensor, dict[str, float]]:
    """Return Algorithm 2's surrogate (and the penalty that keeps it alive, if it has a weight), averaged over the
    images, and what to log.

    Logged: `surrogate`, the estimates `div_pc` = DIV(p,c) (eq. 11a) and `div_cc` = DIV(c,c) (eq. 11b) of the current
    samples, their `dissimilarity` div_pc - gamma div_cc (eq. 22), `diversity` (mean pairwise 1 - IoU of the label
    maps), `distinct` label sets and `instances` per sample, and `reach`: the share of samples that any loss-augmented
    inference changes. Near 0 the surrogate has no gradient.

    Args:
        images: float [B, 3, H, W] in 0..255, mirrored where `flipped`.
        problems: B problems with target tables.
        noises: one an image, of K samples; what they add to the scores is added before every inference.
        flipped: B flags.
    """
    features = network.features(images)
    scores = [
        conditional_scores(network, f, z.maps, p, config, flip)
        for f, z, p, flip in zip(features, noises, problems, flipped, strict=True)
    ]
    with torch.no_grad():
        weights, logs = surrogate_of_scores(_noisy(scores, noises), problems, config)
    loss = torch.stack([(w * s).sum() for w, s in zip(weights, scores, strict=True)]).mean()
    logs = {"surrogate": float(loss.detach()), **logs}
    if config.reach_weight:
        reach = config.epsilon * CLAMP
        penalty = torch.stack([reach_penalty(s, reach) for s in scores]).mean()
        loss = loss + config.reach_weight * penalty
        logs["reach_penalty"] = float(penalty.detach())
    return loss, logs


def surrogate_of_scores(
    scores: Sequence[Tensor], problems: Sequence[ImageProblem], config: LearningConfig
) -> tuple[list[Tensor], dict[str, float]]:
    """Solve all argmaxes of a batch and return d surrogate / d G per image [K, P, J], and the logs."""
    slots = [p.slots for p in problems]
    higher_order = config.higher_order
    labels = infer(scores, slots, higher_order=higher_order)
    tables = _sample_tables(labels, problems)
    problems_to_solve = [
        augmented_scores(s, _target_table(p), t, config)
        for s, p, t in zip(scores, problems, tables, strict=True)
    ]
    solutions = infer(problems_to_solve, slots, higher_order=higher_order)
    weights = [
        surrogate_weights(y, a, s.shape[2], config) for y, a, s in zip(labels, solutions, scores, strict=True)
    ]
    reaches = [reach(y, a, config) for y, a in zip(labels, solutions, strict=True)]
    return weights, _logs(labels, tables, problems, config) | {"reach": sum(reaches) / len(reaches)}


def reach(labels: Tensor, augmented: Tensor, config: SurrogateConfig) -> float:
    """Share of the K samples that at least one of their loss-augmented inferences changes; 0 for K = 0.

    Args:
        labels: int64 [K, P].
        augmented: int64 [Q, P], solutions of `augmented_scores` in its order.
    """
    own = torch.arange(len(labels))
    if config.uses_self_diversity(len(labels)):
        own = torch.cat([own, sample_pairs(len(labels))[0]])
    own = own.to(labels.device)
    changed = (augmented != labels[own]).any(1)
    return len(torch.unique(own[changed])) / max(1, len(labels))


@torch.no_grad()
def estimate_dissimilarity(
    network: ConditionalNetwork,
    images: Tensor,
    problems: Sequence[ImageProblem],
    noises: Sequence[Noise],
    config: LearningConfig,
) -> dict[str, float]:
    """Return what `dissimilarity_loss` logs of the samples, without a gradient and without loss-augmented inference.

    Args: as `dissimilarity_loss`, none of the images mirrored.
    """
    labels, _ = sample_labels(network, images, problems, noises, config)
    return _logs(labels, _sample_tables(labels, problems), problems, config)


def _sample_tables(labels: Sequence[Tensor], problems: Sequence[ImageProblem]) -> list[Tensor]:
    return [sample_loss_tables(y, p.graph, 1 + len(p.classes)) for y, p in zip(labels, problems, strict=True)]


def _target_table(problem: ImageProblem) -> Tensor:
    if problem.target_table is None:
        raise ValueError("problem: expected a target table, got one made for sampling only")
    return problem.target_table


def _logs(
    labels: Sequence[Tensor],
    tables: Sequence[Tensor],
    problems: Sequence[ImageProblem],
    config: LearningConfig,
) -> dict[str, float]:
    totals = {"div_pc": 0.0, "div_cc": 0.0, "diversity": 0.0, "distinct": 0.0, "instances": 0.0}
    for y, table, problem in zip(labels, tables, problems, strict=True):
        totals["div_pc"] += float(labelling_loss(_target_table(problem), y, problem.miss).mean())
        totals["div_cc"] += self_diversity(y, table)
        statistics = diversity_statistics(y, problem.graph.membership, problem.graph.superpixel_areas)
        totals["diversity"] += statistics.mean_distance
        totals["distinct"] += statistics.distinct
        totals["instances"] += float((y > 0).float().sum(1).mean())
    means = {name: value / len(labels) for name, value in totals.items()}
    means["dissimilarity"] = means["div_pc"] - config.gamma * means["div_cc"]
    return means


def self_diversity(labels: Tensor, tables: Tensor) -> float:
    """Return DIV(c, c) of eq. (11b): mean over k != k' of Delta(ŷ^{k'}, ŷ^k); 0 for K = 1.

    Args:
        labels: int64 [K, P].
        tables: float [K, P, J] of `sample_loss_tables`.
    """
    if len(labels) < 2:
        return 0.0
    first, second = sample_pairs(len(labels))
    misses = (labels > 0).sum(1).to(tables.dtype) * CLAMP
    return float(labelling_loss(tables[second], labels[first], misses[second]).mean())
