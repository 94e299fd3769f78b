"""Measures of one training image, step by step from seeds to predictions. Reads pixel labels: for measuring only.

All overlaps are those of masks at the image's size, pixels without a label (void) counting nowhere. Proposals and all
that is made of them are unions of superpixels, so that their overlaps come from integrals over superpixels and equal
those of dense masks.

Suffixes: D instances, G true instances, N seeds, P proposals, S superpixels, U unique samples, M labelled proposals of
all samples, H W image, h w working size.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsis.method.conditional.label_sets import SampleSet
from wsis.method.evaluation.instance_quality import (
    STATES,
    InstanceQuality,
    Shares,
    instance_states,
    quality_of_shares,
    shares_of_masks,
)
from wsis.method.evaluation.instances import Detections, GroundTruth
from wsis.method.evaluation.sources import network_detections
from wsis.method.evaluation.true_masks import TrueMasks
from wsis.method.masks.network_detections import NetworkDetections
from wsis.method.masks.superpixels import iou_with_masks, mask_integrals

INSIDE, OTHER_CLASS, BACKGROUND, VOID = range(4)


class RegionOverlaps:
    """Overlaps of regions over superpixels with the true instances of an image.

    Args: superpixels int [h, w]; num_superpixels S; truth.
    """

    def __init__(self, superpixels: NDArray[np.integer], num_superpixels: int, truth: TrueMasks) -> None:
        self.areas, inside = mask_integrals(superpixels, truth.masks, truth.void, num_superpixels)
        self.inside = inside
        self._weights = inside.astype(np.float64)

    @cached_property
    def best_unions(self) -> NDArray[np.float64]:
        """See `best_unions`, float64 [G]."""
        return best_unions(self.areas, self.inside)

    def __call__(self, regions: NDArray[np.generic]) -> Shares:
        """Regions [D, S]: bool, or float in [0, 1] for soft masks, where the common area of m and a mask is the sum
        of m inside it and that of m the sum of m."""
        weights = regions.astype(np.float64)
        common, own = weights @ self._weights.T, weights @ self.areas.astype(np.float64)
        true = self._weights.sum(axis=1)
        union = own[:, None] + true[None, :] - common
        return Shares(_share(common, union), _share(common, own[:, None]), _share(common, true[None, :]))


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    whole = np.broadcast_to(whole, part.shape)
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def best_unions(areas: NDArray[np.integer], inside: NDArray[np.integer]) -> NDArray[np.float64]:
    """IoU of each true instance with the best of all unions of superpixels, float64 [G]: no proposal can do better.

    A union grows best by superpixels in the order of their share inside the instance.

    Args: areas int [S], pixels of each superpixel; inside int [G, S], those in each instance.
    """
    best = np.zeros(len(inside))
    for g, own in enumerate(inside):
        there = np.flatnonzero(own)
        order = there[np.argsort(-own[there] / areas[there], kind="stable")]
        common = np.cumsum(own[order])
        union = own.sum() + np.cumsum(areas[order]) - common
        best[g] = (common / union).max(initial=0.0)
    return best


# ------------------------------------------------------------------------------------------ seeds


class SeedPlaces(NamedTuple):
    """Where the seeds of an image lie.

    Attributes:
        places: int [N], INSIDE an instance of their class, in one of an OTHER_CLASS, on BACKGROUND or on VOID pixels.
        hits: int [G], seeds of its class inside each instance.
    """

    places: NDArray[np.int64]
    hits: NDArray[np.int64]


def seed_places(peaks: NDArray[np.integer], truth: TrueMasks) -> SeedPlaces:
    """Places of seeds. peaks: int [N, 3], class, row, column in image pixels."""
    covered = truth.masks[:, peaks[:, 1], peaks[:, 2]].T  # [N, G]
    right = covered & (peaks[:, :1] == truth.labels[None, :])
    places = np.where(covered.any(axis=1), OTHER_CLASS, BACKGROUND)
    if truth.void is not None:
        places[truth.void[peaks[:, 1], peaks[:, 2]]] = VOID
    places[right.any(axis=1)] = INSIDE
    return SeedPlaces(places, right.sum(axis=0))


def response_iou(
    peak_response_maps: NDArray[np.uint8], threshold: float, truth: TrueMasks
) -> NDArray[np.float64]:
    """IoU of {peak response map >= threshold * its maximum} with each true instance, float64 [N, G].

    peak_response_maps: uint8 [N, h, w] over the whole image, maximum 255; enlarged to the image by the nearest-pixel
    rule of `wsis.method.masks.superpixels`. At least one level of 255, as in the filter of proposals.
    """
    count, height, width = peak_response_maps.shape
    if count == 0:
        return np.zeros((0, len(truth.labels)))
    cells = np.arange(height * width).reshape(height, width)
    members = peak_response_maps.reshape(count, -1) >= max(1.0, threshold * 255)
    return iou_with_masks(cells, members, truth.masks, truth.void).astype(np.float64)


# ------------------------------------------------------------------------------------------ instances


def best_iou(iou: NDArray[np.float64], labels: NDArray[np.integer], truth: TrueMasks) -> NDArray[np.float64]:
    """The best IoU of each true instance with an instance of its class, float64 [G]; 0 without any.

    iou: [D, G]; labels: int [D].
    """
    return (iou * (labels[:, None] == truth.labels[None, :])).max(axis=0, initial=0.0)


class SampleMeasures(NamedTuple):
    """The K samples of an image against its true instances.

    Attributes:
        mean: float64 [G], mean over the K samples of the best IoU with an instance of the class in the sample.
        best: float64 [G], the largest of them.
        quality: mean over the K samples of `instance_quality`.
        states: float64 [G, 5], mean over the K samples of `instance_states`.
    """

    mean: NDArray[np.float64]
    best: NDArray[np.float64]
    quality: InstanceQuality
    states: NDArray[np.float64]


def sample_measures(proposals: Shares, samples: SampleSet, truth: TrueMasks) -> SampleMeasures:
    """Measure the samples of one image.

    Args:
        proposals: overlaps of all proposals of the image with its true instances, [P, G].
    """
    weights = samples.shares
    ious, quality = np.zeros((len(weights), len(truth.labels))), InstanceQuality()
    states = np.zeros((len(truth.labels), len(STATES)))
    for sample in range(len(weights)):
        ids, labels, _ = samples.unique(sample)
        ious[sample] = best_iou(proposals.iou[ids], labels, truth)
        own = InstanceQuality(images=1.0)
        for label in np.union1d(labels, truth.labels).tolist():
            columns = np.flatnonzero(truth.labels == label)
            shares = proposals.take(ids[labels == label], columns)
            own = own + quality_of_shares(shares)
            states[columns] += weights[sample] * instance_states(shares)
        quality = quality + own.weighted(float(weights[sample]))
    return SampleMeasures(weights @ ious, ious.max(axis=0, initial=0.0), quality, states)


class DetectionMeasures(NamedTuple):
    """Detections of an image against its true instances.

    Attributes:
        best: float64 [G], best IoU with any detection of the class.
        best_sure: float64 [G], the same among the detections of score `sure` and more.
        quality: `instance_quality` of the latter.
        states: float64 [G, 5], `instance_states` of the latter.
    """

    best: NDArray[np.float64]
    best_sure: NDArray[np.float64]
    quality: InstanceQuality
    states: NDArray[np.float64]


def detection_measures(found: Detections, truth: GroundTruth, sure: float) -> DetectionMeasures:
    """Measure detections of one image. sure: least score of what `best_sure` and `quality` see."""
    best, best_sure = np.zeros(len(truth.labels)), np.zeros(len(truth.labels))
    quality = InstanceQuality(images=1.0)
    states = np.zeros((len(truth.labels), len(STATES)))
    for columns, of_class, shares in _by_class(found, truth):
        every = np.arange(len(columns))
        kept = shares.take(np.flatnonzero(of_class.scores >= np.float32(sure)), every)
        best[columns] = shares.iou.max(axis=0, initial=0.0)
        best_sure[columns] = kept.iou.max(axis=0, initial=0.0)
        quality = quality + quality_of_shares(kept)
        states[columns] = instance_states(kept)
    return DetectionMeasures(best, best_sure, quality, states)


def network_measures(found: NetworkDetections, truth: GroundTruth, sure: float) -> DetectionMeasures:
    """`detection_measures` of the prediction network's detections.

    Those of a class that the image does not show are spurious whatever their masks, which are not pasted.
    """
    seen = np.isin(found.labels, truth.labels)
    measured = detection_measures(network_detections(found.take(seen)), truth, sure)
    others = float(len(found.take(~seen).sure(sure)))
    return measured._replace(quality=measured.quality + InstanceQuality(predicted=others, spurious=others))


def _by_class(
    found: Detections, truth: GroundTruth
) -> Iterator[tuple[NDArray[np.int64], Detections, Shares]]:
    for label in np.union1d(found.labels, truth.labels).tolist():
        columns, of_class = np.flatnonzero(truth.labels == label), found.of_class(label)
        yield columns, of_class, shares_of_masks(of_class, truth.of_class(label))
