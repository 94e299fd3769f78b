"""How much the K samples of one image differ.

Suffix legend: K samples, P proposals.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DiversityStatistics:
    """Diversity of K label sets.

    Attributes:
        mean_distance: mean over pairs of samples of 1 - IoU of their label maps, in [0, 1]; 0 for K = 1.
        distinct: number of different label sets among the K.
    """

    mean_distance: float
    distinct: int


def used_columns(labels: Tensor) -> int:
    """One more than the largest label, 1 where there is none."""
    return int(labels.max()) + 1 if labels.numel() else 1


def distinct_samples(labels: Tensor) -> int:
    """How many of the label sets int64 [K, P] differ."""
    return len(torch.unique(labels, dim=0)) if labels.numel() else min(1, len(labels))


def label_maps(labels: Tensor, membership: Tensor, columns: int) -> Tensor:
    """Paint label sets onto superpixels, one layer a class: instances of different classes may overlap.

    Returns float32 [K, J, S] with 1 where an instance of class column j covers the superpixel (column 0 unused).
    """
    one_hot = torch.nn.functional.one_hot(labels, columns).float()  # [K, P, J]
    one_hot[..., 0] = 0
    return (one_hot.transpose(1, 2) @ membership.float()).clamp(max=1.0)


def diversity_statistics(labels: Tensor, membership: Tensor, superpixel_areas: Tensor) -> DiversityStatistics:
    """Measure the diversity of K label sets of one image.

    Two label maps are compared as sets of (class, pixel): IoU = common / united pixels, 1 when both are empty.

    Args:
        labels: int64 [K, P], class or score column of every proposal (0 = background).
        membership: bool [P, S].
        superpixel_areas: float [S].
    """
    distance = mean_distance(labels, membership, superpixel_areas, used_columns(labels))
    return DiversityStatistics(float(distance), distinct_samples(labels))


def mean_distance(labels: Tensor, membership: Tensor, superpixel_areas: Tensor, columns: int) -> Tensor:
    """`DiversityStatistics.mean_distance` of labels below `columns`, float32 []; see `diversity_statistics`."""
    samples = len(labels)
    if samples < 2 or labels.numel() == 0:
        return superpixel_areas.new_zeros(())
    maps = label_maps(labels, membership, columns)
    common = (maps * superpixel_areas).flatten(1) @ maps.flatten(1).T
    size = common.diagonal()
    union = size[:, None] + size[None] - common
    overlap = torch.where(union > 0, common / union.clamp(min=1e-6), 1.0)
    distance = (1.0 - overlap).sum() / (samples * (samples - 1))
    return distance.clamp(min=0.0)
