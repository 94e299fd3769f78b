"""From seeds to targets of the pretraining: the peak response map itself, or the proposal it points at.

A peak response map lights the discriminative part of an object (its IoU with the instance is about 0.4). The proposal
that best fits the class response map and has a contour along its perimeter covers the object far better, and uses the
same image-level labels. Which seeds are one object says `seed_groups`.
Suffix legend: N seeds, P proposals, S superpixels.
"""

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from wsis.errors import InputError
from wsis.method.conditional.box_choice import box_candidates, choose_jointly
from wsis.method.conditional.graph import ProposalGraph
from wsis.method.conditional.inference import BOX_THRESHOLD
from wsis.method.dissimilarity.seed_groups import group_seeds, superpixel_at
from wsis.method.dissimilarity.targets import Targets, one_hot_targets, targets_from_seeds
from wsis.method.settings import Settings

_BOX_CONTOUR = 0.1  # under boxes: contour strength along a perimeter that halves what a contour counts


class SeedTargetConfig(Settings):
    """How a seed becomes a target."""

    seed_target: Literal["prm", "crm_proposal"] = Field(
        "crm_proposal",
        description="prm: the peak response map as soft mask (the paper); crm_proposal: for each group of seeds that "
        "are one object, the proposal that holds one and fits its part of the class response map best, times a power "
        "of the mean contour strength along the perimeter",
    )


def seed_targets(
    graph: ProposalGraph,
    superpixels: np.ndarray,
    peaks: np.ndarray,
    peak_response_maps: np.ndarray,
    class_response_maps: np.ndarray,
    response_classes: np.ndarray,
    image_size: tuple[int, int],
    num_classes: int,
    config: SeedTargetConfig,
    boxes_iou: Tensor | None = None,
) -> Targets:
    """Targets of one image's seeds.

    Args:
        graph: proposals of the image.
        superpixels: int [h, w].
        peaks: int [N, 3], class 1..C, row, column in original pixels.
        peak_response_maps: uint8 [N, h1, w1].
        class_response_maps: uint8 [A, h2, w2].
        response_classes: int [A].
        image_size: (H, W) of the original image.
        num_classes: C.
        config: kind of target.
        boxes_iou: None for image-level labels; under box supervision, where seed n belongs to box n, float [P, N], the
            IoU of each proposal's box with each box: `crm_proposal` then chooses one proposal a box (`box_fit`).

    Raises:
        InputError: a peak's class has no class response map, or there is not one seed a box.
    """
    areas = graph.superpixel_areas
    if len(peaks) == 0 or graph.num_proposals == 0:
        return one_hot_targets(torch.zeros(0, dtype=torch.int64), torch.zeros(0, len(areas)), num_classes)
    if config.seed_target == "prm":
        return targets_from_seeds(peaks[:, 0], peak_response_maps, superpixels, areas, num_classes)
    if boxes_iou is not None:
        if boxes_iou.shape[1] != len(peaks):
            raise InputError(
                f"boxes_iou: expected one seed a box, got {len(peaks)} for {boxes_iou.shape[1]} boxes"
            )
        classes = torch.from_numpy(peaks[:, 0].astype(np.int64))
        return one_hot_targets(classes, _masks_of_boxes(graph, boxes_iou), num_classes)
    if missing := {int(c) for c in peaks[:, 0]} - {int(c) for c in response_classes}:
        raise InputError(
            f"class_response_maps: expected one for each peak's class, none for {sorted(missing)}"
        )
    at_peak = superpixel_at(superpixels, peaks, image_size)
    groups = group_seeds(
        graph, superpixels, peaks, at_peak, class_response_maps, response_classes, image_size
    )
    groups.sort(key=lambda group: group.seeds)
    labels = torch.tensor([group.label for group in groups], dtype=torch.int64)
    return one_hot_targets(labels, graph.membership[[group.proposal for group in groups]], num_classes)


def box_fit(graph: ProposalGraph, boxes_iou: Tensor, threshold: float = BOX_THRESHOLD) -> Tensor:
    """How well proposals stand for boxes without anything learned, float [P, N].

    The mean IoU with all proposals that fit the box (those made in different ways agree where they are right), times
    the IoU of the boxes, times the contour strength along the perimeter.
    """
    fits = (boxes_iou >= threshold).float()
    agreement = (graph.iou() @ fits) / fits.sum(0).clamp(min=1)
    agreement[:, fits.sum(0) == 0] = 1.0
    return agreement * boxes_iou * (_BOX_CONTOUR + graph.perimeter_strengths[:, None])


def _masks_of_boxes(graph: ProposalGraph, boxes_iou: Tensor) -> Tensor:
    """Mask of each box's proposal by `box_fit`, all boxes together, float [N, S]."""
    fit = box_fit(graph, boxes_iou)
    candidates = box_candidates(graph, boxes_iou, BOX_THRESHOLD)
    own = fit.T.gather(1, candidates.ids).masked_fill(~candidates.listed, -1.0)
    start = candidates.ids.gather(1, own.argmax(1, keepdim=True))[:, 0]
    highest = own.amax(1).clamp(min=1e-6)
    chosen = choose_jointly((fit.T / highest[:, None])[None], start[None], candidates)
    return graph.membership[chosen[0]].float()
