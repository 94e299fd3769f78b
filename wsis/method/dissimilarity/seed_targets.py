"""From seeds to targets of the pretraining: the peak response map itself, or the proposal it points at.

A peak response map lights the discriminative part of an object (its IoU with the instance is about 0.4). The proposal
that best fits the class response map and has a contour along its perimeter covers the object far better, and uses the
same image-level labels. Which seeds are one object says `seed_groups`.
Suffix legend: N seeds, P proposals, S superpixels.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from wsis.errors import InputError
from wsis.method.conditional.box_choice import (
    JointChoice,
    best_candidates,
    box_candidates,
    box_fit,
    choose_jointly,
)
from wsis.method.conditional.graph import ProposalGraph
from wsis.method.conditional.inference import BOX_THRESHOLD
from wsis.method.dissimilarity.seed_groups import SeedGroup, group_seeds, superpixel_at
from wsis.method.dissimilarity.targets import Targets, one_hot_targets, targets_from_seeds
from wsis.method.settings import Settings


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
    boxes: tuple[Tensor, Tensor] | None = None,
    grouped: Callable[[], list[SeedGroup]] | None = None,
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
        boxes: None for image-level labels; under box supervision, where seed n belongs to box n, the proposals' scores
            float [P] and the IoU of their boxes with each box, float [P, N]: `crm_proposal` then chooses one proposal a
            box, all boxes together (`conditional.box_choice`).
        grouped: gives the groups of the seeds, where the caller needs them as well; None: they are made here.

    Raises:
        InputError: a peak's class has no class response map, or there is not one seed a box.
    """
    areas = graph.superpixel_areas
    if len(peaks) == 0 or graph.num_proposals == 0:
        return one_hot_targets(torch.zeros(0, dtype=torch.int64), torch.zeros(0, len(areas)), num_classes)
    if config.seed_target == "prm":
        return targets_from_seeds(peaks[:, 0], peak_response_maps, superpixels, areas, num_classes)
    if boxes is not None:
        if boxes[1].shape[1] != len(peaks):
            raise InputError(
                f"boxes: expected one seed a box, got {len(peaks)} for {boxes[1].shape[1]} boxes"
            )
        masks = graph.membership[_proposals_of_boxes(graph, *boxes)].float()
        return one_hot_targets(torch.from_numpy(peaks[:, 0].astype(np.int64)), masks, num_classes)
    if missing := {int(c) for c in peaks[:, 0]} - {int(c) for c in response_classes}:
        raise InputError(
            f"class_response_maps: expected one for each peak's class, none for {sorted(missing)}"
        )
    if grouped is not None:
        found = grouped()
    else:
        at_peak = superpixel_at(superpixels, peaks, image_size)
        found = group_seeds(
            graph, superpixels, peaks, at_peak, class_response_maps, response_classes, image_size
        )
    groups = sorted(found, key=lambda group: group.seeds)
    labels = torch.tensor([group.label for group in groups], dtype=torch.int64)
    return one_hot_targets(labels, graph.membership[[group.proposal for group in groups]], num_classes)


def _proposals_of_boxes(graph: ProposalGraph, scores: Tensor, boxes_iou: Tensor) -> Tensor:
    """The proposal of each box by `box_fit`, all boxes together, int64 [N]."""
    candidates = box_candidates(graph, boxes_iou, BOX_THRESHOLD)
    fit = box_fit(scores, boxes_iou, BOX_THRESHOLD).T
    start = best_candidates(fit, candidates)
    choice = JointChoice(fit[None], start[None], candidates)
    choose_jointly([choice])
    return choice.picks[0]
