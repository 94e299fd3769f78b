"""From the arrays of one image to an `ImageProblem`: filtered proposals, slots, targets.

Suffix legend: P proposals, S superpixels, E superpixel-graph edges, N boxes, C classes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from wsis.errors import InputError
from wsis.method.conditional.box_choice import box_candidates, box_fit
from wsis.method.conditional.energy import EnergyConfig
from wsis.method.conditional.graph import MAX_NEIGHBOURS, ProposalGraph, build_graph
from wsis.method.conditional.inference import BOX_THRESHOLD, Slots
from wsis.method.conditional.pooling import pool_matrix
from wsis.method.dissimilarity.object_marks import OVERLAP, ObjectMark, slots_of_marks
from wsis.method.dissimilarity.objective import ImageProblem
from wsis.method.dissimilarity.targets import Targets
from wsis.method.dissimilarity.task_loss import loss_table, miss_cost
from wsis.method.masks.boxes import box_iou

_BOX_PRIOR = 0.3  # weight of what fits a box before anything is learned, beside the learned score
_CONTAINMENT = 0.5  # t of Algorithm 1, line 14; the paper gives none


class ProblemConfig(EnergyConfig):
    """Settings of the problem: those of the score, which decide whether neighbours are listed, and those of slots."""

    slots: Literal["marks", "classes"] = Field(
        "marks",
        description="what gets an instance under image-level labels: each group of seeds that are one object, later "
        "each detection, jointly and beside one another; or each class (the paper)",
    )

    box_threshold: float = Field(
        BOX_THRESHOLD,
        ge=0,
        le=1,
        description="a box draws on proposals whose box has at least this IoU with it",
    )


@dataclass(frozen=True)
class ImageArrays:
    """The stored arrays of one image that a problem is made of.

    Attributes:
        superpixels: int [h, w].
        membership: bool [P, S] of the proposals kept by the filter.
        proposal_boxes: float [P, 4] xyxy in original pixels.
        proposal_scores: float32 [P] in (0, 1].
        edges, edge_contours, edge_lengths: superpixel graph.
        labels: int [A], annotated classes 1..C, sorted.
        boxes: float [N, 4] xyxy in original pixels, empty without box supervision.
        box_labels: int [N].
    """

    superpixels: np.ndarray
    membership: np.ndarray
    proposal_boxes: np.ndarray
    proposal_scores: np.ndarray
    edges: np.ndarray
    edge_contours: np.ndarray
    edge_lengths: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    box_labels: np.ndarray

    def graph(self, config: EnergyConfig) -> ProposalGraph:
        """The kept proposals' graph; neighbours, most of its time, only where the score uses them."""
        neighbours = MAX_NEIGHBOURS if config.uses_neighbours else 0
        edges = (self.edges, self.edge_contours, self.edge_lengths)
        shares = (_CONTAINMENT,) if len(self.boxes) else (_CONTAINMENT, OVERLAP)  # marks have no boxes
        return build_graph(self.superpixels, self.membership, *edges, neighbours, shares)


def build_problem(
    arrays: ImageArrays,
    feature_size: tuple[int, int],
    config: ProblemConfig,
    make_targets: Callable[[ProposalGraph], Targets] | None = None,
    make_marks: Callable[[ProposalGraph], list[ObjectMark]] | None = None,
) -> ImageProblem:
    """Build the problem of one image.

    Args:
        arrays: stored arrays.
        feature_size: (h, w) of the valid part of the network's feature map.
        config: settings.
        make_targets: called with the graph; None when only sampling.
        make_marks: called with the graph under image-level labels, for slots "marks"; None: a slot for each class.

    Raises:
        InputError: no annotated class, or a box of a class that is not annotated.
    """
    if len(arrays.labels) == 0:
        raise InputError("labels: expected at least one annotated class, got none")
    graph = arrays.graph(config)
    classes = torch.from_numpy(np.unique(arrays.labels).astype(np.int64))
    table, miss = None, 0.0
    if make_targets is not None:
        targets = make_targets(graph)
        table, miss = loss_table(graph, targets, classes), miss_cost(targets)
    slots = _slots(arrays, graph, classes, config, make_marks)
    return ImageProblem(
        graph=replace(graph, contained={}),
        matrix=pool_matrix(arrays.superpixels, feature_size, arrays.membership.shape[1]),
        feature_size=feature_size,
        classes=classes,
        slots=slots,
        target_table=table,
        miss=miss,
    )


def _slots(
    arrays: ImageArrays,
    graph: ProposalGraph,
    classes: torch.Tensor,
    config: ProblemConfig,
    make_marks: Callable[[ProposalGraph], list[ObjectMark]] | None,
) -> Slots:
    suppress = graph.contains(_CONTAINMENT)
    if len(arrays.boxes) == 0:
        if config.slots == "marks" and make_marks is not None and graph.num_proposals:
            return slots_of_marks(make_marks(graph), graph, classes, suppress)
        return Slots(torch.arange(1, len(classes) + 1), suppress)
    position = {int(c): i + 1 for i, c in enumerate(classes)}
    if unknown := {int(c) for c in arrays.box_labels} - set(position):
        raise InputError(f"box_labels: classes {sorted(unknown)} are not among the labels {sorted(position)}")
    overlap = torch.from_numpy(box_iou(arrays.proposal_boxes, arrays.boxes).astype(np.float32))
    columns = torch.tensor([position[int(c)] for c in arrays.box_labels], dtype=torch.int64)
    if not graph.num_proposals:
        return Slots(columns, suppress, overlap, config.box_threshold)
    scores = torch.from_numpy(arrays.proposal_scores)
    prior = _BOX_PRIOR * box_fit(scores, overlap, config.box_threshold)
    candidates = box_candidates(graph, overlap, config.box_threshold)
    return Slots(columns, suppress, overlap, config.box_threshold, prior, candidates)


def network_size(image_size: tuple[int, int], max_side: int, multiple: int = 32) -> tuple[int, int]:
    """(h, w) an image is resized to: longer side about `max_side`, both sides multiples of `multiple`.

    Multiples make the strides exact, so that the feature map covers just the image.
    """
    scale = max_side / max(image_size)
    sides = [max(multiple, round(side * scale / multiple) * multiple) for side in image_size]
    return sides[0], sides[1]
