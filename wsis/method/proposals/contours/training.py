"""Targets, views and loss of the contour network (BSDS500: several annotators draw each image).

Suffix legend: B images, H W image size, A annotators.
"""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from wsis.errors import InputError
from wsis.method.proposals.contours.network import ContourNetwork

_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def soft_target(annotators: NDArray[np.uint8], side: float) -> NDArray[np.float32]:
    """Mean over the annotators of their boundaries, float32 [H, W] in [0, 1].

    Annotators draw the same boundary a pixel or two apart; ``side`` is what the four neighbours of a drawn
    pixel count, so that such boundaries agree.

    Args: annotators: [H, W], bit i of a pixel: annotator i drew a boundary there.

    Raises:
        InputError: nobody drew anything.
    """
    highest = int(annotators.max()).bit_length()
    if highest == 0:
        raise InputError("boundaries: expected at least one annotator's boundary pixel, got none")
    total = np.zeros(annotators.shape, np.float32)
    for index in range(highest):
        drawn = (annotators >> index) & 1
        total += np.maximum(drawn, side * cv2.dilate(drawn, _CROSS))
    return (total / highest).astype(np.float32)


def training_view(
    image: NDArray[np.uint8],
    target: NDArray[np.float32],
    size: int,
    scales: tuple[float, float],
    rotation: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
    """A random square of a scaled, rotated, flipped and relit photograph.

    Args:
        image: RGB uint8 [H, W, 3]; target: float32 [H, W].
        scales: range of the factor (drawn uniformly in its logarithm); rotation: largest angle in degrees.

    Returns:
        uint8 [size, size, 3], float32 [size, size], and where the photograph reaches, bool [size, size].
    """
    factor = float(np.exp(rng.uniform(np.log(scales[0]), np.log(scales[1]))))
    height, width = image.shape[:2]
    if factor < 1:  # area averaging; the warp below would alias
        small = (max(1, round(width * factor)), max(1, round(height * factor)))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        # thin lines fade when they are averaged: bring their strength back
        target = np.minimum(cv2.resize(target, small, interpolation=cv2.INTER_AREA) / factor, 1)
        height, width = image.shape[:2]
    zoom = max(factor, 1.0)
    centre = (_centre(width, size / zoom, rng), _centre(height, size / zoom, rng))
    matrix = cv2.getRotationMatrix2D(centre, rng.uniform(-rotation, rotation), zoom)
    matrix[:, 2] += size / 2 - np.array(centre)
    if rng.random() < 0.5:
        matrix[0] = np.array([0, 0, size]) - matrix[0]
    shape = (size, size)
    view = cv2.warpAffine(image, matrix, shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    seen = cv2.warpAffine(np.ones((height, width), np.uint8), matrix, shape, flags=cv2.INTER_NEAREST)
    drawn = cv2.warpAffine(target, matrix, shape, flags=cv2.INTER_LINEAR)
    return _relit(view, rng), drawn, seen.astype(bool)


def _centre(length: int, window: float, rng: np.random.Generator) -> float:
    """Centre of a window inside [0, length]; the middle where it does not fit."""
    return length / 2 if length <= window else float(rng.uniform(window / 2, length - window / 2))


def _relit(view: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Random contrast and brightness of each channel, sometimes grey: contours must not depend on them."""
    gain = rng.uniform(0.8, 1.2) * rng.uniform(0.95, 1.05, 3)
    lit = (view - 127.0) * gain + 127.0 + rng.uniform(-20, 20)
    if rng.random() < 0.1:
        lit = np.repeat(lit.mean(axis=2, keepdims=True), 3, axis=2)
    return np.clip(lit, 0, 255).astype(np.uint8)


def boundary_loss(logits: Tensor, target: Tensor, seen: Tensor, positive_weight: float) -> Tensor:
    """Cross-entropy with soft targets; a boundary counts ``positive_weight`` times; mean over seen pixels.

    Args: logits, target [B, H, W], target in [0, 1]; seen bool [B, H, W].
    """
    weight = 1 + (positive_weight - 1) * target
    every = functional.binary_cross_entropy_with_logits(
        logits, positive_weight * target / weight, weight, reduction="none"
    )
    return (every * seen).sum() / seen.sum().clamp(min=1)


def contour_loss(
    network: ContourNetwork,
    images: Tensor,
    target: Tensor,
    seen: Tensor,
    positive_weight: float,
    side_weight: float,
) -> Tensor:
    """:func:`boundary_loss` of the output plus ``side_weight`` times that of every side output, enlarged.

    Args: images uint8 [B, 3, H, W]; target float [B, H, W]; seen bool [B, H, W]; sides a multiple of 32.
    """
    logits, sides = network.with_sides(images)
    loss = boundary_loss(logits, target, seen, positive_weight)
    for side in sides:
        size = (target.shape[-2], target.shape[-1])
        large = functional.interpolate(side[:, None], size=size, mode="bilinear", align_corners=False)
        loss = loss + side_weight * boundary_loss(large[:, 0], target, seen, positive_weight)
    return loss


def stack_views(
    views: list[tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]],
) -> tuple[Tensor, Tensor, Tensor]:
    """Views of :func:`training_view` -> images uint8 [B, 3, H, W], targets float32 and seen bool [B, H, W]."""
    images, targets, seen = (np.stack(part) for part in zip(*views, strict=True))
    return (
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last),
        torch.from_numpy(targets),
        torch.from_numpy(seen),
    )
