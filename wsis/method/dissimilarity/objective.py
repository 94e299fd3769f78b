"""One step of learning the conditional network (Algorithm 2), and sampling from it.

Suffix legend: B images, K samples, P proposals, J score columns (0 = background), C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wsis.method.conditional.energy import EnergyConfig, add_contours, refine_scores
from wsis.method.conditional.graph import ProposalGraph
from wsis.method.conditional.inference import Slots, infer
from wsis.method.conditional.network import ConditionalNetwork
from wsis.method.conditional.noise import Noise, upsampled
from wsis.method.dissimilarity.diversity import distinct_samples, mean_distance, used_columns
from wsis.method.dissimilarity.surrogate import (
    SurrogateConfig,
    augmented_scores,
    reach_penalty,
    sample_pairs,
    surrogate_weights,
)
from wsis.method.dissimilarity.task_loss import CLAMP, Picks, labelling_loss, sample_loss_tables
from wsis.method.finite import FiniteChecks
from wsis.method.transfers import moved


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


class LearningConfig(EnergyConfig, SurrogateConfig):
    """Settings of one learning step: those of the score, and those of Algorithm 2."""


def conditional_scores(
    network: ConditionalNetwork,
    features: Tensor,
    problems: Sequence[ImageProblem],
    noises: Sequence[Noise],
    energy: EnergyConfig,
    flipped: Sequence[bool] | None = None,
    checks: FiniteChecks | None = None,
) -> list[Tensor]:
    """Return the refined scores G^k_{u,j} of each image, float [K, P, J].

    Args:
        features: float [B, D, h', w'], those of `network.features`, maybe padded on the right and below.
        problems: B problems.
        noises: one an image, of K samples; only their cells matter here.
        flipped: the features are of mirrored images where True; they are mirrored back. None: none is.
        checks: get the features and the network's scores, with what names the image.
    """
    checks = FiniteChecks() if checks is None else checks
    scores = []
    for index, (problem, noise) in enumerate(zip(problems, noises, strict=True)):
        height, width = problem.feature_size
        valid = features[index, :, :height, :width]
        valid = valid.flip(-1) if flipped is not None and flipped[index] else valid
        maps = upsampled(noise.cells, problem.feature_size)
        unary = network.proposal_scores(valid, maps, problem.matrix, problem.graph, problem.classes)
        where = f"image {problem.image_id}: " if problem.image_id else ""
        checks.add(valid, f"{where}conditional network: a feature is NaN or infinite")
        checks.add(unary, f"{where}conditional network: a proposal score is NaN or infinite")
        scores.append(refine_scores(unary, problem.graph, energy))
    return scores


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
        images: uint8 or float [B, 3, H, W] in 0..255.
        problems: B problems.
        noises: one an image, of K samples.
        contour_weight: of the contour along the outlines (`add_contours`), where the score has a pairwise term and the
            slots are no boxes, which count it themselves (`box_choice.box_fit`).

    Returns:
        Per image int64 [K, P] score columns, and refined scores float [K, P, J] without the noise of the scores.
    """
    checks = FiniteChecks()
    with torch.no_grad():
        features = network.features(images)
        scores = conditional_scores(network, features, problems, noises, energy, checks=checks)
        if contour_weight and energy.uses_neighbours:
            scores = [
                add_contours(s, p.graph, contour_weight) if p.slots.box_iou is None else s
                for s, p in zip(scores, problems, strict=True)
            ]
        noisy, slots = _noisy(scores, noises), [p.slots for p in problems]
        return infer(noisy, slots, higher_order=energy.higher_order, checks=checks), scores


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
        images: uint8 or float [B, 3, H, W] in 0..255, mirrored where `flipped`.
        problems: B problems with target tables.
        noises: one an image, of K samples; what they add to the scores is added before every inference.
        flipped: B flags.
    """
    checks = FiniteChecks()
    features = network.features(images)
    scores = conditional_scores(network, features, problems, noises, config, flipped, checks)
    with torch.no_grad():
        weights, logs = surrogate_of_scores(_noisy(scores, noises), problems, config, checks)
    loss = torch.stack([(w * s).sum() for w, s in zip(weights, scores, strict=True)]).mean()
    if not config.reach_weight:
        return loss, {"surrogate": float(loss.detach()), **logs}
    reach = config.epsilon * CLAMP
    penalty = torch.stack([reach_penalty(s, reach) for s in scores]).mean()
    surrogate, penalised = torch.stack([loss.detach(), penalty.detach()]).tolist()
    loss = loss + config.reach_weight * penalty
    return loss, {"surrogate": surrogate, **logs, "reach_penalty": penalised}


def surrogate_of_scores(
    scores: Sequence[Tensor],
    problems: Sequence[ImageProblem],
    config: LearningConfig,
    checks: FiniteChecks | None = None,
) -> tuple[list[Tensor], dict[str, float]]:
    """Solve all argmaxes of a batch and return d surrogate / d G per image [K, P, J], and the logs.

    Args:
        scores: per image float [K, P, J], detached.
        checks: of what the scores came from; see `infer`.
    """
    slots = [p.slots for p in problems]
    higher_order = config.higher_order
    labels = infer(scores, slots, higher_order=higher_order, checks=checks)
    drawn = _Drawn.of(labels, problems)
    problems_to_solve = [
        augmented_scores(s, _target_table(p), t, config)
        for s, p, t in zip(scores, problems, drawn.tables, strict=True)
    ]
    solutions = infer(problems_to_solve, slots, higher_order=higher_order)
    weights = [
        surrogate_weights(y, a, s.shape[2], config) for y, a, s in zip(labels, solutions, scores, strict=True)
    ]
    changed = [reached(y, a, config) for y, a in zip(labels, solutions, strict=True)]
    logs, reaches = _logs(drawn, problems, config, changed)
    return weights, logs | {"reach": sum(reaches) / len(reaches)}


def reached(labels: Tensor, augmented: Tensor, config: SurrogateConfig) -> Tensor:
    """Which of the K samples at least one of their loss-augmented inferences changes, bool [K].

    Args:
        labels: int64 [K, P].
        augmented: int64 [Q, P], solutions of `augmented_scores` in its order.
    """
    samples = len(labels)
    changed = (augmented[:samples] != labels).any(1)
    if not config.uses_self_diversity(samples):
        return changed
    own, _ = sample_pairs(samples, labels.device)
    against_samples = (augmented[samples:] != labels[own]).any(1)
    return changed | against_samples.reshape(samples, samples - 1).any(1)


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
    return _logs(_Drawn.of(labels, problems), problems, config)[0]


def _target_table(problem: ImageProblem) -> Tensor:
    if problem.target_table is None:
        raise ValueError("problem: expected a target table, got one made for sampling only")
    return problem.target_table


@dataclass(frozen=True)
class _Drawn:
    """The samples of a batch: per image labels int64 [K, P] on the device and on the host, and the task loss against
    each of them, float [K, P, J] (`sample_loss_tables`)."""

    labels: Sequence[Tensor]
    on_host: Sequence[Tensor]
    tables: Sequence[Tensor]

    @classmethod
    def of(cls, labels: Sequence[Tensor], problems: Sequence[ImageProblem]) -> "_Drawn":
        on_host: list[Tensor] = moved(list(labels), "cpu")
        picks = moved([Picks.of(y) for y in on_host], labels[0].device)
        tables = [
            sample_loss_tables(y, p.graph, 1 + len(p.classes), picked)
            for y, p, picked in zip(labels, problems, picks, strict=True)
        ]
        return cls(labels, on_host, tables)


def _logs(
    drawn: _Drawn,
    problems: Sequence[ImageProblem],
    config: LearningConfig,
    reached_samples: Sequence[Tensor] = (),
) -> tuple[dict[str, float], list[float]]:
    """What is logged of samples, and the share of each image's that were reached (bool [K])."""
    measured = []
    for y, own, table, problem in zip(drawn.labels, drawn.on_host, drawn.tables, problems, strict=True):
        against_targets = labelling_loss(_target_table(problem), y, problem.miss).mean()
        graph = problem.graph
        distance = mean_distance(y, graph.membership, graph.superpixel_areas, used_columns(own))
        measured.append(torch.stack([against_targets, self_diversity(y, table), distance]))
    values, reached_on_host = moved((torch.stack(measured), list(reached_samples)), "cpu")
    names, count = ("div_pc", "div_cc", "diversity"), len(drawn.labels)
    means = {name: sum(of_images) / count for name, of_images in zip(names, values.T.tolist(), strict=True)}
    means["distinct"] = sum(distinct_samples(y) for y in drawn.on_host) / count
    means["instances"] = sum(float((y > 0).float().sum(1).mean()) for y in drawn.on_host) / count
    means["dissimilarity"] = means["div_pc"] - config.gamma * means["div_cc"]
    return means, [int(one.sum()) / max(1, len(one)) for one in reached_on_host]


def self_diversity(labels: Tensor, tables: Tensor) -> Tensor:
    """Return DIV(c, c) of eq. (11b): mean over k != k' of Delta(ŷ^{k'}, ŷ^k), float []; 0 for K = 1.

    Args:
        labels: int64 [K, P].
        tables: float [K, P, J] of `sample_loss_tables`.
    """
    if len(labels) < 2:
        return tables.new_zeros(())
    first, second = sample_pairs(len(labels), labels.device)
    misses = (labels > 0).sum(1).to(tables.dtype) * CLAMP
    return labelling_loss(tables[second], labels[first], misses[second]).mean()
