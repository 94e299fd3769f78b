"""Where the objects of an image are said to be: one list, from its seeds or from the last detections (departure D6).

Each mark is a slot of inference: the higher-order term wants an instance of its class there.
Suffix legend: N detections, S superpixels, P proposals.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsis.method.conditional.exclusion import SeedSlots
from wsis.method.conditional.graph import ProposalGraph
from wsis.method.conditional.inference import Slots
from wsis.method.dissimilarity.seed_groups import SeedGroup

OVERLAP = 0.3  # largest share of the smaller of two instances of a class in the other
_SURE = 0.15  # score of a detection that marks an object
_INSIDE = 0.7  # share of a detection in a surer one of its class above which they are one object


@dataclass(frozen=True)
class ObjectMark:
    """One object.

    Attributes:
        label: its class, 1..C.
        superpixels: it holds one of these.
    """

    label: int
    superpixels: tuple[int, ...]


def marks_of_groups(groups: Sequence[SeedGroup], at_peak: Tensor) -> list[ObjectMark]:
    """A mark for each group of seeds, at their superpixels; at_peak: int64, superpixel of each seed."""
    return [ObjectMark(g.label, tuple(sorted(set(at_peak[list(g.seeds)].tolist())))) for g in groups]


def marks_of_detections(
    labels: NDArray[np.integer], scores: NDArray[np.floating], masks: Tensor, areas: Tensor
) -> list[ObjectMark]:
    """A mark for each sure detection and the surest of each class, at the superpixel where most of it lies.

    Args:
        labels: int [N], 1..C.
        scores: float [N].
        masks: float [N, S] in [0, 1], mean of each soft mask inside each superpixel.
        areas: float [S] in pixels.
    """
    mass = masks * areas
    common = torch.minimum(masks[:, None], masks[None]) @ areas if len(masks) else masks.new_zeros(0, 0)
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable").tolist():
        of_class = [k for k in kept if labels[k] == labels[row]]
        sizes = [min(float(mass[row].sum()), float(mass[k].sum())) for k in of_class]
        apart = all(float(common[row, k]) <= _INSIDE * size for k, size in zip(of_class, sizes, strict=True))
        if float(mass[row].sum()) > 0 and apart and (scores[row] >= _SURE or not of_class):
            kept.append(row)
    return [ObjectMark(int(labels[row]), (int(mass[row].argmax()),)) for row in kept]


def marks_of_masks(
    labels: NDArray[np.integer], membership: NDArray[np.bool_], areas: Tensor
) -> list[ObjectMark]:
    """A mark for each mask that is certain, at the largest of its superpixels.

    Args:
        labels: int [N], 1..C.
        membership: bool [N, S].
        areas: float [S] in pixels.
    """
    largest = (membership * areas.numpy()).argmax(1).tolist()
    return [ObjectMark(label, (place,)) for label, place in zip(labels.tolist(), largest, strict=True)]


def slots_of_marks(
    marks: Sequence[ObjectMark], graph: ProposalGraph, classes: Tensor, suppress: Tensor
) -> Slots:
    """A slot for each mark; an annotated class without any gets one that every proposal may fill.

    Args:
        graph: proposals.
        classes: int64 [J - 1], annotated classes in 1..C, the score columns from 1 on.
        suppress: bool [P, P], which proposal contains more than half of which.
    """
    position = {int(label): column for column, label in enumerate(classes, start=1)}
    holds = [graph.membership[:, list(mark.superpixels)].any(1) for mark in marks]
    columns = [position[mark.label] for mark in marks]
    for label, column in position.items():
        if all(mark.label != label for mark in marks):
            columns.append(column)
            holds.append(torch.ones(graph.num_proposals, dtype=torch.bool))
    shared = graph.contains(OVERLAP)
    same = torch.eye(graph.num_proposals, dtype=torch.bool)
    seeds = SeedSlots(torch.stack(holds, 1), same | shared | shared.T, same | (suppress & suppress.T))
    return Slots(torch.tensor(columns), suppress, seeds=seeds)
