"""From seeds to targets of the pretraining: the peak response map itself, or the proposal it points at.

A peak response map lights the discriminative part of an object (its IoU with the instance is about 0.4). The proposal
that best fits the class response map and has a contour along its perimeter covers the object far better, and uses the
same image-level labels.
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
from wsis.method.dissimilarity.targets import (
    Targets,
    maps_to_superpixels,
    one_hot_targets,
    targets_from_seeds,
)
from wsis.method.dissimilarity.task_loss import instance_iou
from wsis.method.masks.superpixels import segment_sums
from wsis.method.settings import Settings

CONTOUR_POWER = 3.0  # how much a contour along its perimeter counts for a seed's proposal
_BOX_CONTOUR = 0.1  # under boxes: contour strength along a perimeter that halves what a contour counts
_MERGE_IOU = 0.5  # seeds of a class whose targets overlap this much share one, that of the strongest
_BESIDE = 0.3  # largest share of the smaller of two proposals in the other for which they are two objects


class SeedTargetConfig(Settings):
    """How a seed becomes a target."""

    seed_target: Literal["prm", "crm_proposal"] = Field(
        "crm_proposal",
        description="prm: the peak response map as soft mask (the paper); crm_proposal: among the proposals that "
        "contain the peak, that of the largest soft IoU with the class response map times a power of the mean contour "
        "strength along its perimeter",
    )
    seed_split: float | None = Field(
        None,
        ge=0,
        description="seeds on one proposal get one each with this share of its contour (try 0.85); null: never",
    )


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
    positions = {int(c): i for i, c in enumerate(response_classes)}
    if missing := {int(c) for c in peaks[:, 0]} - set(positions):
        raise InputError(
            f"class_response_maps: expected one for each peak's class, none for {sorted(missing)}"
        )
    responses = maps_to_superpixels(class_response_maps.astype(np.float32) / 255.0, superpixels, areas)
    fit = response_fit(graph, responses)
    at_peak = _superpixel_at(superpixels, peaks, image_size)
    columns = torch.tensor([positions[int(c)] for c in peaks[:, 0]], dtype=torch.int64)
    classes = torch.from_numpy(peaks[:, 0].astype(np.int64))
    strongest_first = torch.from_numpy(np.asarray(scores, np.float32)).argsort(descending=True, stable=True)
    chosen = _best_proposals(graph, fit[:, columns], at_peak)
    masks = graph.membership[chosen].float()
    kept: list[int] = []
    for seed, sharing in _sharing(masks, classes, strongest_first, areas):
        own: dict[int, int] = {}
        if config.seed_split is not None and len(sharing) > 1:
            response = responses[columns[seed]] * _cells(_centres(graph, superpixels), at_peak[sharing])
            needed = config.seed_split * float(graph.perimeter_strengths[chosen[seed]])
            own = _own_targets(graph, response, at_peak[sharing], needed)
        for position, proposal in own.items():
            masks[sharing[position]] = graph.membership[proposal].float()
        kept += [sharing[position] for position in own] or [seed]
    kept.sort()
    return one_hot_targets(classes[kept], masks[kept], num_classes)


def response_fit(graph: ProposalGraph, responses: Tensor) -> Tensor:
    """Soft IoU with each response (float [A, S] in [0, 1]) times a power of the mean contour strength along the
    perimeter, float [P, A]."""
    return instance_iou(graph, responses) * graph.perimeter_strengths[:, None] ** CONTOUR_POWER


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


def _superpixel_at(superpixels: np.ndarray, peaks: np.ndarray, image_size: tuple[int, int]) -> Tensor:
    rows = (peaks[:, 1].astype(np.int64) * 2 + 1) * superpixels.shape[0] // (2 * image_size[0])
    columns = (peaks[:, 2].astype(np.int64) * 2 + 1) * superpixels.shape[1] // (2 * image_size[1])
    return torch.from_numpy(superpixels[rows, columns].astype(np.int64))


def _best_proposals(graph: ProposalGraph, fit: Tensor, at_peak: Tensor) -> Tensor:
    """Id of the best proposal containing each peak (of all proposals, where none contains it), int64 [N]."""
    contains = graph.membership[:, at_peak]  # [P, N]
    ranked = fit.masked_fill(~(contains | ~contains.any(0)), float("-inf"))
    return torch.cat([torch.topk(column, 1).indices for column in ranked.unbind(1)])


def _sharing(masks: Tensor, classes: Tensor, order: Tensor, areas: Tensor) -> list[tuple[int, list[int]]]:
    """Seeds whose target stays, and with each the seeds of its class (itself first) that share it by soft IoU.

    order: int64 [N], seeds that come first keep theirs.
    """
    mass = masks * areas
    common = mass @ masks.T
    size = mass.sum(1)
    overlap = common / (size[:, None] + size[None] - common).clamp(min=1e-6)
    shared: dict[int, list[int]] = {}
    for seed in order.tolist():
        first = [k for k in shared if classes[k] == classes[seed] and float(overlap[seed, k]) >= _MERGE_IOU]
        shared.setdefault(first[0] if first else seed, []).append(seed)
    return list(shared.items())


def _centres(graph: ProposalGraph, superpixels: np.ndarray) -> Tensor:
    """Mean row and column of each superpixel, float [S, 2]."""
    areas, places = graph.superpixel_areas, np.moveaxis(np.indices(superpixels.shape), 0, -1)
    sums = torch.from_numpy(segment_sums(places, superpixels, len(areas)))
    return (sums / areas.clamp(min=1)[:, None]).float()


def _cells(centres: Tensor, at_peak: Tensor) -> Tensor:
    """Voronoi cells of the superpixels `at_peak` [n] by centres [S, 2]: float [n, S], 1 where one is the nearest."""
    nearest = torch.cdist(centres, centres[at_peak]).argmin(1)
    return (nearest[None] == torch.arange(len(at_peak))[:, None]).float()


def _own_targets(graph: ProposalGraph, responses: Tensor, at_peak: Tensor, needed: float) -> dict[int, int]:
    """Targets of seeds apart, position -> proposal, instead of a common one; empty where they are one object.

    They are several objects where at least two proposals, each the best for a seed's own response (float [n, S]), lie
    beside each other with a perimeter of the strength `needed`: inside one object there is no such contour.
    """
    best = _best_proposals(graph, response_fit(graph, responses), at_peak)
    strengths = graph.perimeter_strengths
    inside = graph.containment(best)[:, best]
    kept: list[int] = []
    for position in strengths[best].argsort(descending=True, stable=True).tolist():
        beside = all(float(max(inside[position, k], inside[k, position])) < _BESIDE for k in kept)
        if beside and float(strengths[best[position]]) >= needed:
            kept.append(position)
    return {position: int(best[position]) for position in kept} if len(kept) > 1 else {}
