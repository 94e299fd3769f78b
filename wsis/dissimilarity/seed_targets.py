"""From seeds to targets of the pretraining: the peak response map itself, or the proposal it points at.

A peak response map lights the discriminative part of an object (its IoU with the instance is about 0.4). The proposal
that best fits the class response map and has a contour along its perimeter covers the object far better, and uses the
same image-level labels.
Suffix legend: N seeds, P proposals, S superpixels.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from wsis.conditional.graph import ProposalGraph
from wsis.dissimilarity.targets import (
    FLOOR,
    Targets,
    maps_to_superpixels,
    one_hot_targets,
    targets_from_seeds,
)
from wsis.dissimilarity.task_loss import instance_iou
from wsis.errors import InputError


@dataclass(frozen=True)
class SeedTargetConfig:
    """How a seed becomes a target.

    Attributes:
        kind: `prm` = the peak response map as soft mask (the paper's letter); `crm_proposal` = among the proposals that
            contain the peak, the one with the largest soft IoU with the class response map times the mean contour
            strength along its perimeter to the power `contour_power`.
        contour_power: how much a contour along the perimeter counts.
        top: `crm_proposal` averages this many best proposals into a soft mask; 1 = the best alone.
        box_power: under box supervision, how much the IoU with the box counts.
        merge_iou: of two seeds of a class whose targets overlap this much, the weaker one is dropped.
    """

    kind: Literal["prm", "crm_proposal"] = "crm_proposal"
    contour_power: float = 3.0
    top: int = 1
    merge_iou: float = 0.5
    box_power: float = 4.0


def seed_targets(
    graph: ProposalGraph,
    superpixels: np.ndarray,
    peaks: np.ndarray,
    scores: np.ndarray,
    peak_response_maps: np.ndarray,
    class_response_maps: np.ndarray,
    response_classes: np.ndarray,
    image_size: tuple[int, int],
    num_classes: int,
    config: SeedTargetConfig,
    boxes_iou: Tensor | None = None,
    floor: float = FLOOR,
) -> Targets:
    """Targets of one image's seeds.

    Args:
        graph: proposals of the image.
        superpixels: int [h, w].
        peaks: int [N, 3], class 1..C, row, column in original pixels.
        scores: float [N], class response at the peak; decides which of two merged seeds stays.
        peak_response_maps: uint8 [N, h1, w1].
        class_response_maps: uint8 [A, h2, w2].
        response_classes: int [A].
        image_size: (H, W) of the original image.
        num_classes: C.
        config: kind of target.
        boxes_iou: None for image-level labels; under box supervision, where seed n belongs to box n, float [P, N], the
            IoU of each proposal's box with each box: `crm_proposal` then weighs the fit by it and merges nothing.

    Raises:
        InputError: a peak's class has no class response map, or there is not one seed a box.
    """
    areas = graph.superpixel_areas
    if len(peaks) == 0 or graph.num_proposals == 0:
        return one_hot_targets(
            torch.zeros(0, dtype=torch.int64), torch.zeros(0, len(areas)), num_classes, floor
        )
    if config.kind == "prm":
        return targets_from_seeds(peaks[:, 0], peak_response_maps, superpixels, areas, num_classes, floor)
    positions = {int(c): i for i, c in enumerate(response_classes)}
    if missing := {int(c) for c in peaks[:, 0]} - set(positions):
        raise InputError(
            f"class_response_maps: expected one for each peak's class, none for {sorted(missing)}"
        )
    responses = maps_to_superpixels(class_response_maps.astype(np.float32) / 255.0, superpixels, areas)
    fit = response_fit(graph, responses, config.contour_power)
    at_peak = _superpixel_at(superpixels, peaks, image_size)
    columns = torch.tensor([positions[int(c)] for c in peaks[:, 0]], dtype=torch.int64)
    classes = torch.from_numpy(peaks[:, 0].astype(np.int64))
    if boxes_iou is not None:
        if boxes_iou.shape[1] != len(peaks):
            raise InputError(
                f"boxes_iou: expected one seed a box, got {len(peaks)} for {boxes_iou.shape[1]} boxes"
            )
        ranked = (fit[:, columns] + 1e-6) * boxes_iou**config.box_power
        top = torch.topk(ranked, min(config.top, len(ranked)), dim=0).indices
        return one_hot_targets(classes, graph.membership[top].float().mean(0), num_classes, floor)
    chosen = _best_proposals(graph, fit[:, columns], at_peak, config.top)
    masks = torch.stack([graph.membership[c].float().mean(0) for c in chosen])
    kept = _merge(masks, classes, torch.from_numpy(np.asarray(scores, np.float32)), areas, config.merge_iou)
    return one_hot_targets(classes[kept], masks[kept], num_classes, floor)


def response_fit(graph: ProposalGraph, responses: Tensor, contour_power: float) -> Tensor:
    """Soft IoU with each response (float [A, S] in [0, 1]) times a power of the mean contour strength along the
    perimeter, float [P, A]."""
    return instance_iou(graph, responses) * graph.perimeter_strengths[:, None] ** contour_power


def _superpixel_at(superpixels: np.ndarray, peaks: np.ndarray, image_size: tuple[int, int]) -> Tensor:
    rows = (peaks[:, 1].astype(np.int64) * 2 + 1) * superpixels.shape[0] // (2 * image_size[0])
    columns = (peaks[:, 2].astype(np.int64) * 2 + 1) * superpixels.shape[1] // (2 * image_size[1])
    return torch.from_numpy(superpixels[rows, columns].astype(np.int64))


def _best_proposals(graph: ProposalGraph, fit: Tensor, at_peak: Tensor, top: int) -> list[Tensor]:
    """Ids of the `top` best proposals containing each peak (of all proposals, where none contains it)."""
    contains = graph.membership[:, at_peak]  # [P, N]
    allowed = contains | ~contains.any(0)
    ranked = fit.masked_fill(~allowed, float("-inf"))
    result = []
    for index in range(ranked.shape[1]):
        count = min(top, int(allowed[:, index].sum()))
        result.append(torch.topk(ranked[:, index], count).indices)
    return result


def _merge(masks: Tensor, classes: Tensor, scores: Tensor, areas: Tensor, limit: float) -> Tensor:
    """Greedy suppression inside a class by soft IoU, strongest seed first; kept indices in ascending order."""
    mass = masks * areas
    common = mass @ masks.T
    size = mass.sum(1)
    overlap = common / (size[:, None] + size[None] - common).clamp(min=1e-6)
    kept: list[int] = []
    for index in torch.sort(scores, descending=True, stable=True).indices.tolist():
        if all(classes[index] != classes[k] or float(overlap[index, k]) < limit for k in kept):
            kept.append(index)
    return torch.tensor(sorted(kept), dtype=torch.int64)
