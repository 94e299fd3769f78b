"""How large the training objects are at the network's scale, and which anchors reach them.

Suffix legend: N distinct instances of all images, L levels of a feature pyramid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.prediction.data.training_images import PseudoLabelSource, boxes_of

REACHED = 0.3  # IoU with an anchor from which Mask R-CNN's RPN learns an object (its `min_pos_iou`)


@dataclass(frozen=True)
class ObjectSizes:
    """The objects of all training images; each counts as often as samples have it.

    Attributes:
        width, height: float64 [N], of their boxes in pixels of the network's input.
        weights: float64 [N], the share of the samples of its image that have it, in (0, 1].
        most: the most objects that a sample of an image is expected to have.
    """

    width: NDArray[np.float64]
    height: NDArray[np.float64]
    weights: NDArray[np.float64]
    most: float

    @property
    def median(self) -> float:
        """Of the square roots of the boxes' areas, as often as samples have them; NaN without objects."""
        if not len(self.width):
            return float("nan")
        sides = np.sqrt(self.width * self.height)
        order = np.argsort(sides, kind="stable")
        reached = self.weights[order].cumsum()
        return float(sides[order][np.searchsorted(reached, reached[-1] / 2)])


@dataclass(frozen=True)
class Anchors:
    """As MMDetection's AnchorGenerator: at every `stride` pixels, squares of stride x scale and their ratios."""

    strides: Sequence[float]
    scales: Sequence[float]
    ratios: Sequence[float]


def object_sizes(source: PseudoLabelSource, scale: tuple[int, int]) -> ObjectSizes:
    """Measure every instance of a source.

    Args:
        scale: (longest, shortest) side that images are resized to fit, keeping the aspect.
    """
    sizes, weights, most = [np.zeros((0, 2))], [np.zeros(0)], 0.0
    for index in range(len(source)):
        instances = source.instances(index)
        boxes = boxes_of(instances.masks).astype(np.float64)
        sides = source.image_size(index)
        factor = min(max(scale) / max(sides), min(scale) / min(sides))
        sizes.append((boxes[:, 2:] - boxes[:, :2]) * factor)
        weights.append(instances.set_weights.sum(axis=1, dtype=np.float64))
        most = max(most, float(weights[-1].sum()))
    width, height = np.concatenate(sizes).T
    return ObjectSizes(width, height, np.concatenate(weights), most)


def reached_share(objects: ObjectSizes, anchors: Anchors) -> float:
    """Of the objects, the share that some anchor overlaps by `REACHED`, at the mean distance between centres.

    Raises:
        InputError: there are no objects.
    """
    if not len(objects.width):
        raise InputError("object sizes: expected at least one object, got none")
    best = np.zeros(len(objects.width))
    for stride in anchors.strides:
        for scale in anchors.scales:
            for ratio in anchors.ratios:
                sides = stride * scale / ratio**0.5, stride * scale * ratio**0.5
                best = np.maximum(best, _shifted_iou(objects, sides, stride / 4))
    return float(objects.weights[best >= REACHED].sum() / objects.weights.sum())


def _shifted_iou(objects: ObjectSizes, anchor: tuple[float, float], shift: float) -> NDArray[np.float64]:
    """IoU of every object with an anchor (width, height) whose centre is `shift` pixels away on both axes."""
    common = np.ones(len(objects.width))
    for own, side in ((objects.width, anchor[0]), (objects.height, anchor[1])):
        common *= np.clip(np.minimum(np.minimum(own, side), (own + side) / 2 - shift), 0, None)
    return common / (objects.width * objects.height + anchor[0] * anchor[1] - common)
