"""Contour detectors: image -> strength of a boundary at each pixel, at several scales.

Suffix legend: h w working size. A detector is anything that satisfies :class:`ContourDetector`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.backbones.efficientnet_lite import fold_batch_norms
from wsis.method.proposals.config import MCGConfig
from wsis.method.proposals.contours.weights import load_network

_BASE_SIGMA = 2.0
_SOFTNESS = 25.0  # Lab units a pixel
_LIGHTNESS = 0.7  # weight of L beside a and b
_ROUNDING = 1e-3  # Lab units: float32 leaves 2e-4 of a single colour; 8-bit colours differ by 0.016


class ContourDetector(Protocol):
    """Contour strength of an image.

    Attributes:
        learned: its strengths are calibrated probabilities; the hierarchy then adds no region contrast.
        scales: the scales it is best at together, finest first.
        smoothing: sigma (pixels) of the Gaussian that its contours want before the watershed.
    """

    learned: bool
    scales: tuple[float, ...]
    smoothing: float

    def __call__(self, image: NDArray[np.uint8], scale: float) -> NDArray[np.float32]:
        """Image uint8 RGB [h, w, 3] -> strength float32 [h, w] in [0, 1] as seen at ``scale``
        (2 = finer, 0.5 = coarser than the image)."""
        ...


def check_image(image: np.ndarray) -> None:
    """Raises InputError unless an image is uint8 [H, W, 3] with pixels."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise InputError(f"image: expected uint8 RGB [H, W, 3], got {image.dtype} {image.shape}")


def rgb_to_lab(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """CIE Lab float32 [h, w, 3] of RGB uint8: L in [0, 100], a and b about [-128, 127]."""
    check_image(image)
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def _at_scale(
    image: NDArray[np.uint8],
    scale: float,
    detect: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """What ``detect`` says of the image [h, w, 3] resized by ``scale``, at the image's size again, in [0, 1]."""
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    strength = detect(cv2.resize(image, size, interpolation=way))
    return np.clip(cv2.resize(strength, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)


class LabGradient:
    """Model-free: largest rate of change of the smoothed Lab colour (Di Zenzo's tensor), nothing learned.

    Scale s smooths with sigma 2 / s, which is what resizing the image by s would do; the
    gradient is multiplied by sigma (scale normalised) and squashed by 1 - exp(-g / 25), so that the
    same colour step gives the same strength in every image.
    """

    learned = False
    scales: tuple[float, ...] = (2.0, 1.0, 0.5)
    smoothing = 0.8

    def __call__(self, image: NDArray[np.uint8], scale: float) -> NDArray[np.float32]:
        """See :class:`ContourDetector`."""
        lab = rgb_to_lab(image) * np.array([_LIGHTNESS, 1, 1], np.float32)
        sigma = _BASE_SIGMA / scale
        smooth = cv2.GaussianBlur(lab, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        border = cv2.BORDER_REPLICATE
        dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8, borderType=border)
        dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8, borderType=border)
        xx, yy, xy = (dx * dx).sum(-1), (dy * dy).sum(-1), (dx * dy).sum(-1)
        root = np.sqrt(np.square(xx - yy) + 4 * xy * xy)
        gradient = np.sqrt((xx + yy + root) / 2) * max(sigma, 1.0)
        gradient[gradient < _ROUNDING] = 0
        return (1 - np.exp(-gradient / _SOFTNESS)).astype(np.float32)


class LearnedContours:
    """The contour network (see :mod:`wsis.method.proposals.contours.network`), on one image at a time.

    Args: model_path: a file of the stage `train_contours`; by default the weights that ship with wsis.

    Raises:
        MissingWeightsError: the file is absent, damaged or of another network.
    """

    learned = True
    scales: tuple[float, ...] = (1.25, 0.75, 0.5)
    smoothing = 0.5

    def __init__(self, model_path: Path | None = None) -> None:
        self._network = load_network(model_path)
        fold_batch_norms(self._network)

    def __call__(self, image: NDArray[np.uint8], scale: float) -> NDArray[np.float32]:
        """See :class:`ContourDetector`."""
        if (image == image[0, 0]).all():  # the network's tiny answers to a single colour would make regions
            return np.zeros(image.shape[:2], np.float32)
        return _at_scale(image, scale, self._detect)

    def _detect(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            # a view of [h, w, 3] in this order is channels_last already
            batch = torch.from_numpy(image.astype(np.float32))[None].permute(0, 3, 1, 2)
            return self._network(batch)[0].sigmoid().numpy()


def contour_supervision(config: MCGConfig) -> str:
    """What annotation is behind the detector that ``config`` names, for the lineage of all that is built on it."""
    if config.contour == "lab_gradient":
        return "none: Lab gradient"
    model = config.contour_model
    return f"human boundaries ({'BSDS500 train+val' if model is None else f'those behind {model.name}'})"


def contour_scales(image: NDArray[np.uint8], detector: ContourDetector) -> NDArray[np.float32]:
    """The detector's contours of an image [h, w, 3] at its scales, float32 [D, h, w]."""
    return np.stack([detector(image, scale) for scale in detector.scales])


def build_detector(config: MCGConfig) -> ContourDetector:
    """The detector that ``config`` names. Raises what the detector's constructor raises."""
    if config.contour == "learned":
        return LearnedContours(config.contour_model)
    return LabGradient()
