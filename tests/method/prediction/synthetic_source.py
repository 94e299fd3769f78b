"""Synthetic images with pseudo labels. No conftest, so that processes can be sent a source under one name."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from wsis.method.prediction.data.training_images import ImageInstances

CLASSES = ("square", "disc", "bar")


class SyntheticSource:
    """Noise with coloured rectangles; the sets of an image are given by `make(index) -> ImageInstances`."""

    def __init__(
        self,
        make: Callable[[int], ImageInstances] | None = None,
        count: int = 6,
        classes: tuple[str, ...] = CLASSES,
    ) -> None:
        self.classes, self.count = classes, count
        self._make = make or rectangles

    def __len__(self) -> int:
        return self.count

    def image_id(self, index: int) -> str:
        return f"image-{index}"

    def image_size(self, index: int) -> tuple[int, int]:
        return (64, 96) if index % 3 else (96, 64)

    def image(self, index: int) -> NDArray[np.uint8]:
        size = self.image_size(index)
        image = np.random.default_rng(index).integers(0, 80, (*size, 3), dtype=np.uint8)
        image[rectangle(index, size)] += np.array([120, 60, 0], np.uint8)
        return image

    def instances(self, index: int) -> ImageInstances:
        return self._make(index)


def rectangle(index: int, size: tuple[int, int], shift: int = 0) -> NDArray[np.bool_]:
    mask = np.zeros(size, bool)
    top, left = 6 + 3 * (index % 4) + shift, 4 + 5 * (index % 5) + shift
    mask[top : top + 30, left : left + 28] = True
    return mask


def rectangles(index: int) -> ImageInstances:
    """Two unique sets out of K = 4: (3x) a rectangle; (1x) it moved, and a second object."""
    size = (64, 96) if index % 3 else (96, 64)
    corner = np.zeros(size, bool)
    corner[40:60, 40:60] = True
    masks = np.stack([rectangle(index, size), rectangle(index, size, 5), corner])
    weights = np.array([[0.75, 0], [0, 0.25], [0, 0.25]], np.float32)
    return ImageInstances(masks, np.array([1 + index % 3, 1 + index % 3, 2]), weights)
