"""Images of any size to training and inference tensors of the classifier.

Suffix legend: H W original pixels, h w network input pixels.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError

Image = NDArray[np.uint8]

_LOG_ASPECT = math.log(4 / 3)  # of a crop, at most
_MULTIPLE = 32  # pixels a cell of the class response maps


def _check(image: Image) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise InputError(f"image: expected uint8 [H, W, 3], got {image.dtype} {image.shape}")


@dataclass(frozen=True)
class View:
    """What is random of a training view.

    Attributes:
        rows, columns: the part of the image.
        mirrored: left and right change places.
        factors: of brightness, contrast and saturation, float32 [3].
    """

    rows: slice
    columns: slice
    mirrored: bool
    factors: NDArray[np.float32]


def draw_view(size: tuple[int, int], rng: np.random.Generator) -> View:
    """A view of an image of (H, W)."""
    rows, columns = random_crop(size, rng)
    return View(rows, columns, bool(rng.random() < 0.5), random_factors(rng))


def random_crop(
    size: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[slice, slice]:
    """Rows and columns of a random part of an image of (H, W), covering 0.4 to all of its area."""
    height, width = size
    area = height * width * rng.uniform(0.4, 1.0)
    aspect = math.exp(rng.uniform(-_LOG_ASPECT, _LOG_ASPECT))
    crop_w = min(width, max(1, round(math.sqrt(area * aspect))))
    crop_h = min(height, max(1, round(math.sqrt(area / aspect))))
    top, left = int(rng.integers(height - crop_h + 1)), int(rng.integers(width - crop_w + 1))
    return slice(top, top + crop_h), slice(left, left + crop_w)


def random_factors(rng: np.random.Generator, strength: float = 0.2) -> NDArray[np.float32]:
    """Of brightness, contrast and saturation, each in 1 ± ``strength``."""
    return rng.uniform(1 - strength, 1 + strength, 3).astype(np.float32)


def jitter_colour(image: Image, factors: NDArray[np.float32]) -> Image:
    """The image with factors on its brightness, contrast and saturation."""
    brightness, contrast, saturation = factors
    pixels = image.astype(np.float32) * brightness
    pixels += (contrast - 1) * (pixels - pixels.mean())
    grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    pixels += (saturation - 1) * (pixels - grey[..., None])
    return np.clip(pixels, 0, 255).astype(np.uint8)


def augment(image: Image, size: int, view: View) -> Image:
    """Training view [size, size, 3]: crop, horizontal flip, colour."""
    _check(image)
    part = _resize(image[view.rows, view.columns], (size, size))
    if view.mirrored:
        part = part[:, ::-1]
    return np.ascontiguousarray(jitter_colour(part, view.factors))


def inference_size(size: tuple[int, int], longer_side: int) -> tuple[int, int]:
    """Network input size (h, w) for an image of (H, W): longer side ``longer_side``, aspect kept up to rounding.

    Both are multiples of 32, so that every cell of the class response maps covers real pixels.
    """
    if longer_side < _MULTIPLE or min(size) < 1:
        raise InputError(
            f"longer_side: expected at least {_MULTIPLE} and a non-empty image, got {longer_side}, {size}"
        )
    factor = longer_side / max(size)
    height, width = (max(_MULTIPLE, round(length * factor / _MULTIPLE) * _MULTIPLE) for length in size)
    return height, width


def resize_for_inference(image: Image, longer_side: int) -> Image:
    """The whole image [H, W, 3] at :func:`inference_size`."""
    _check(image)
    return _resize(image, inference_size((image.shape[0], image.shape[1]), longer_side))


def _resize(image: Image, size: tuple[int, int]) -> Image:
    shrinks = size[0] * size[1] < image.shape[0] * image.shape[1]
    # averaging over areas keeps fine texture from aliasing when the image gets smaller
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (size[1], size[0]), interpolation=method).reshape(*size, 3)
