"""How large objects are at the input of a prediction network, from the images that it was trained on.

Lengths are in network pixels (an image resized to fit the network's input) unless they are said to be an image's own.
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wsis.method.masks.boxes import box_of_mask
from wsis.method.prediction.data.training_images import ImageInstances, PseudoLabelSource, SuperpixelMasks
from wsis.method.settings import Settings

Scale = tuple[int, int]
"""(longest, shortest) side that an image is resized to fit, as MMDetection has it."""
_IMAGES = 300  # that are looked at, evenly spread
_SIZES_DIFFER = (
    0.25  # standard deviation of the logarithm of the images' shorter sides, from which they say something
)
_LEAST_IMAGES = 12  # to tell whether objects grow with images


class TrainingObjects(Settings):
    """Sizes of training objects. That of one object is the square root of its area."""

    smallest: float = Field(gt=0, description="size that one object in ten falls short of")
    quarter: float = Field(gt=0, description="size that one object in four falls short of")
    longest: float = Field(gt=0, description="longer side of the box that one object in ten exceeds")
    shorter_side: float = Field(gt=0, description="of the images, median")
    pixel_scale: float = Field(gt=0, description="network pixels for a pixel of the image, median")
    keeps_pixels: bool = Field(
        description="objects have as many pixels in small images as in large ones (one magnification); false: they "
        "fill as much of them, or all images are of one size"
    )

    def wanted_scale(self, size: tuple[int, int]) -> float:
        """Network pixels for a pixel of an image (H, W), at which its objects are as large as in training."""
        return self.pixel_scale if self.keeps_pixels else self.shorter_side / min(size)

    @classmethod
    def of(cls, source: PseudoLabelSource, scale: Scale) -> Self | None:
        """Sizes of the (pseudo) labels of a source, weighted by their shares of the sets; None: it has none."""
        images = np.unique(np.linspace(0, len(source) - 1, min(_IMAGES, len(source))).round().astype(int))
        sizes, longer, weights, sides, factors, own = [], [], [], [], [], []
        for index in images.tolist():
            size = source.image_size(index)
            factor = fit_factor(size, scale)
            sides.append(min(size) * factor)
            factors.append(factor)
            roots, extents, shares = _lengths(source.instances(index))
            if len(roots):
                sizes.append(roots * factor)
                longer.append(extents * factor)
                weights.append(shares)
                own.append((min(size), float(_quantile(roots, shares, 0.5))))
        if not sizes:
            return None
        every, share = np.concatenate(sizes), np.concatenate(weights)
        return cls(
            smallest=round(float(_quantile(every, share, 0.1)), 2),
            quarter=round(float(_quantile(every, share, 0.25)), 2),
            longest=round(float(_quantile(np.concatenate(longer), share, 0.9)), 2),
            shorter_side=round(float(np.median(sides)), 2),
            pixel_scale=round(float(np.median(factors)), 5),
            keeps_pixels=_keeps_pixels(np.array(own)),
        )


def fit_factor(size: tuple[int, int], scale: Scale) -> float:
    """By how much an image (H, W) is resized to fit a scale, its aspect kept."""
    return min(max(scale) / max(size), min(scale) / min(size))


def _lengths(
    instances: ImageInstances,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of each instance the square root of its area, the longer side of its box, both in the image's pixels, and its
    share of the sets; float64 [N]."""
    masks = instances.masks
    if isinstance(masks, SuperpixelMasks):
        cells = np.bincount(masks.superpixels.ravel(), minlength=masks.membership.shape[1])
        pixels = np.prod(masks.size) / masks.superpixels.size
        areas, boxes = masks.membership @ cells * pixels, masks.boxes
    else:
        areas = masks.sum(axis=(1, 2)).astype(np.float64)
        boxes = np.array([box_of_mask(mask) for mask in masks], np.float32).reshape(-1, 4)
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0.0)
    return np.sqrt(areas), sides.astype(np.float64), instances.set_weights.sum(axis=1).astype(np.float64)


def _quantile(values: NDArray[np.float64], weights: NDArray[np.float64], share: float) -> np.float64:
    """The least value that values of at least this share of the weight do not exceed."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    found: np.float64 = values[order[np.searchsorted(reached, share * reached[-1]).clip(0, len(values) - 1)]]
    return found


def _keeps_pixels(own: NDArray[np.float64]) -> bool:
    """Whether objects stay as large in pixels where images grow: the slope of log(size) over log(shorter side) is
    nearer to 0 than to 1. Rows: an image's shorter side, its median object."""
    sides, sizes = np.log(own).T
    if len(own) < _LEAST_IMAGES or sides.std() < _SIZES_DIFFER:
        return False
    return bool(np.cov(sides, sizes, bias=True)[0, 1] / sides.var() < 0.5)
