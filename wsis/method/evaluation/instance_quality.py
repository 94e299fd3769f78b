"""How good a set of instances is, instance by instance; for pseudo labels, where mAP hides the failure modes.

Every regular ground-truth instance is one of (classes must agree, first that applies):
- found: some instance has IoU >= 0.5 with it;
- merged: some instance covers at least half of it and of another true instance of the class;
- split: at least two instances lie mainly (half of their area) in it and together cover half of it;
- missed: none of these.
An instance is spurious when its IoU with every true instance of its class is below 0.5. Of several instances that have
IoU >= 0.5 with the same true one, all but one are duplicates.

Suffixes: D instances, G ground-truth instances.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsis.method.evaluation.instances import Detections, GroundTruth
from wsis.method.masks import rle

FOUND_IOU = 0.5
COVERED = 0.5
STATES = ("found", "merged", "split", "missed", "duplicates")
"""What may be said of a true instance: one of the first four, and how many duplicates it has."""


class Shares(NamedTuple):
    """How instances and true instances overlap, each float64 [D, G] in [0, 1].

    Attributes:
        iou: intersection over union.
        inside: share of instance d that lies in g.
        covers: share of g that d covers.
    """

    iou: NDArray[np.float64]
    inside: NDArray[np.float64]
    covers: NDArray[np.float64]

    def take(self, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> "Shares":
        """Those of some instances with some true ones; rows may repeat."""
        return Shares(*(table[rows[:, None], columns[None, :]] for table in self))


@dataclass
class InstanceQuality:
    """Sums over images (and samples, weighted). Add with +; divide counts by `images` for means."""

    images: float = 0.0
    instances: float = 0.0
    best_iou_sum: float = 0.0
    found: float = 0.0
    merged: float = 0.0
    split: float = 0.0
    missed: float = 0.0
    predicted: float = 0.0
    spurious: float = 0.0
    duplicates: float = 0.0

    @property
    def mean_best_iou(self) -> float:
        """Mean over ground-truth instances of the best IoU with an instance of the class; NaN without any."""
        return self.best_iou_sum / self.instances if self.instances else float("nan")

    def __add__(self, other: "InstanceQuality") -> "InstanceQuality":
        return InstanceQuality(
            *(getattr(self, one.name) + getattr(other, one.name) for one in fields(InstanceQuality))
        )

    def weighted(self, weight: float) -> "InstanceQuality":
        """Every sum times `weight` (for example a sample's multiplicity / K)."""
        return InstanceQuality(*(getattr(self, one.name) * weight for one in fields(InstanceQuality)))


def instance_quality(predicted: Detections, truth: GroundTruth) -> InstanceQuality:
    """Quality of one set of instances of one image (scores are not used). Void counts nowhere."""
    quality = InstanceQuality(images=1.0)
    for label in np.union1d(predicted.labels, truth.labels).tolist():
        shares = shares_of_masks(predicted.of_class(label), truth.of_class(label))
        quality = quality + quality_of_shares(shares)
    return quality


def shares_of_masks(predicted: Detections, truth: GroundTruth) -> Shares:
    """Overlaps of masks, whatever their classes; without void, and without crowd regions in G."""
    size = truth.size
    masks, regions = list(predicted.counts), list(truth.counts)
    if truth.crowd is not None:
        regions = [one for one, crowd in zip(regions, truth.crowd, strict=True) if not crowd]
    if truth.void is not None:
        masks, regions = rle.subtract(masks, truth.void, size), rle.subtract(regions, truth.void, size)
    iou = rle.iou(masks, regions, size)
    inside = rle.iou(masks, regions, size, np.ones(len(regions), dtype=bool))  # share of d inside g
    covers = rle.iou(regions, masks, size, np.ones(len(masks), dtype=bool)).T  # share of g that d covers
    return Shares(iou, inside, covers)


def quality_of_shares(shares: Shares) -> InstanceQuality:
    """Quality of instances of one class, from their overlaps with the true ones; counts no image."""
    iou = shares.iou
    states = dict(zip(STATES, instance_states(shares).sum(axis=0).tolist(), strict=True))
    return InstanceQuality(
        instances=float(iou.shape[1]),
        best_iou_sum=float(iou.max(axis=0, initial=0.0).sum()),
        predicted=float(len(iou)),
        spurious=float((iou.max(axis=1, initial=0.0) < FOUND_IOU).sum()),
        **states,
    )


def instance_states(shares: Shares) -> NDArray[np.float64]:
    """How each true instance of a class ends, float64 [G, 5] in the order of STATES: 1 in one of the first four
    columns, then how many duplicates it has."""
    count = shares.iou.shape[1]
    covered = shares.covers >= COVERED
    merged = (covered & (covered.sum(axis=1, keepdims=True) >= 2)).any(axis=0)
    parts = shares.inside >= COVERED
    # Parts may overlap, so their sum bounds the union from above; disjoint pseudo labels meet it.
    split = (parts.sum(axis=0) >= 2) & ((shares.covers * parts).sum(axis=0) >= COVERED)
    found = shares.iou.max(axis=0, initial=0.0) >= FOUND_IOU
    state = np.select([found, merged, split], [0, 1, 2], default=3)
    states = np.zeros((count, len(STATES)))
    states[np.arange(count), state] = 1
    finders = np.flatnonzero(shares.iou.max(axis=1, initial=0.0) >= FOUND_IOU)
    if len(finders):
        claims = np.bincount(shares.iou[finders].argmax(axis=1), minlength=count)
        states[:, 4] = np.maximum(claims - 1, 0)
    return states
