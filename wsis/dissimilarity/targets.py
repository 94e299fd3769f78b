"""Targets: the soft instances that a labelling is compared with (one side of eq. 9).

Detections of the prediction network, seeds and conditional samples all become this one shape.
Suffix legend: N targets, S superpixels, C classes (column 0 = background), H W size of the superpixel map.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wsis.conditional.pooling import pool_matrix, segment_sums
from wsis.errors import InputError


@dataclass(frozen=True)
class Targets:
    """Soft instances of one image.

    Attributes:
        probabilities: float32 [N, C + 1], class probabilities, rows sum to 1.
        masks: float32 [N, S] in [0, 1], mean foreground probability inside each superpixel.
    """

    probabilities: Tensor
    masks: Tensor

    def __post_init__(self) -> None:
        if self.probabilities.ndim != 2 or self.masks.ndim != 2 or len(self.probabilities) != len(self.masks):
            raise InputError(
                "targets: expected probabilities [N, C+1] and masks [N, S], got "
                f"{tuple(self.probabilities.shape)} and {tuple(self.masks.shape)}"
            )

    def __len__(self) -> int:
        return len(self.masks)


def targets_from_labels(labels: Tensor, membership: Tensor, num_classes: int) -> Targets:
    """A labelling as targets: one-hot classes, hard masks.

    Args:
        labels: int64 [P], classes 0..C (0 = background).
        membership: bool [P, S].
        num_classes: C.
    """
    picked = torch.nonzero(labels)[:, 0]
    return one_hot_targets(labels[picked], membership[picked].float(), num_classes)


def one_hot_targets(classes: Tensor, masks: Tensor, num_classes: int) -> Targets:
    """Targets of certain class: classes int64 [N] in 1..C, masks float [N, S] in [0, 1]."""
    if len(classes) and not 1 <= int(classes.min()) <= int(classes.max()) <= num_classes:
        raise InputError(f"classes: expected 1..{num_classes}, got {classes.tolist()}")
    probabilities = torch.zeros(len(classes), num_classes + 1)
    probabilities[torch.arange(len(classes)), classes] = 1.0
    return Targets(probabilities, masks.float())


def join_targets(first: Targets, second: Targets) -> Targets:
    """Both lists of targets as one."""
    return Targets(
        torch.cat([first.probabilities, second.probabilities]), torch.cat([first.masks, second.masks])
    )


def select_targets(targets: Targets, kept: Tensor) -> Targets:
    """The targets at the given positions (int64 or bool)."""
    return Targets(targets.probabilities[kept], targets.masks[kept])


def maps_to_superpixels(maps: np.ndarray, superpixels: np.ndarray, areas: Tensor) -> Tensor:
    """Mean of low-resolution maps [N, h, w] inside each superpixel after bilinear upsampling: float32 [N, S]."""
    matrix = pool_matrix(superpixels, (int(maps.shape[1]), int(maps.shape[2])), len(areas))
    sums = segment_sums(matrix, torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32)))
    return (sums / areas.clamp(min=1)[:, None]).T.contiguous()


def targets_from_seeds(
    classes: np.ndarray,
    peak_response_maps: np.ndarray,
    superpixels: np.ndarray,
    areas: Tensor,
    num_classes: int,
) -> Targets:
    """Peak response maps as soft masks (the paper's reading of "seeds as pseudo labels", 6.2).

    Args:
        classes: int [N], 1..C.
        peak_response_maps: uint8 [N, h, w], each normalised to its maximum 255.
        superpixels: int [H, W].
        areas: float [S], superpixel areas in pixels.
        num_classes: C.
    """
    masks = maps_to_superpixels(peak_response_maps.astype(np.float32) / 255.0, superpixels, areas)
    return one_hot_targets(torch.from_numpy(classes.astype(np.int64)), masks.clamp(0, 1), num_classes)


def targets_from_detections(
    class_probabilities: np.ndarray,
    boxes: np.ndarray,
    masks: np.ndarray,
    superpixels: np.ndarray,
    areas: Tensor,
    image_size: tuple[int, int],
) -> Targets:
    """Detections of the prediction network as targets: class probabilities and soft masks pasted into their boxes.

    Args:
        class_probabilities: float [N, C + 1].
        boxes: float [N, 4] xyxy in original pixels.
        masks: uint8 [N, m, m], soft masks times 255 (m = 28).
        superpixels: int [H, W] at the working size.
        areas: float [S], superpixel areas in pixels of the working size.
        image_size: (H, W) of the original image.

    Raises:
        InputError: the arrays disagree in N.
    """
    if not len(class_probabilities) == len(boxes) == len(masks):
        raise InputError(
            f"detections: {len(class_probabilities)} probabilities, {len(boxes)} boxes, {len(masks)} masks"
        )
    height, width = superpixels.shape
    scale = np.array([width / image_size[1], height / image_size[0]] * 2, dtype=np.float32)
    scaled = torch.from_numpy(boxes.astype(np.float32) * scale)
    soft = torch.from_numpy(masks.astype(np.float32) / 255.0)
    rows = _paste_weights(scaled[:, 1], scaled[:, 3], height, soft.shape[1])
    columns = _paste_weights(scaled[:, 0], scaled[:, 2], width, soft.shape[2])
    segment = torch.from_numpy(superpixels.astype(np.int64)).flatten()
    means = torch.zeros(len(boxes), len(areas))
    for index in range(len(boxes)):  # one [H, W] map at a time bounds memory
        pasted = rows[index] @ soft[index] @ columns[index].T
        means[index].index_add_(0, segment, pasted.flatten())
    probabilities = torch.from_numpy(class_probabilities.astype(np.float32))
    return Targets(probabilities, (means / areas.clamp(min=1)).clamp(0, 1))


def confident_detections(labels: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Detections to take at their word: those at `threshold` or above, and the best one of every class.

    A detection's probabilities are spread by its training (self-diversity), so that as soft targets they pull less than
    the self-diversity of the conditional samples pushes; as one-hot targets they pull like a seed.

    Args:
        labels: int [N], classes.
        scores: float [N].
        threshold: least score.

    Returns:
        bool [N].
    """
    kept = scores >= threshold
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        kept[of_class[np.argmax(scores[of_class])]] = True
    return kept


def _paste_weights(start: Tensor, stop: Tensor, pixels: int, cells: int) -> Tensor:
    """Bilinear weights [N, pixels, cells] that stretch a mask axis over [start, stop), zero outside it.

    The same values as grid_sample (align_corners=False, zero padding), which Mask R-CNN pastes with.
    """
    centre = torch.arange(pixels, dtype=torch.float32)[None] + 0.5
    length = (stop - start).clamp(min=1e-3)[:, None]
    position = (centre - start[:, None]) / length * cells - 0.5
    return (1.0 - (position[:, :, None] - torch.arange(cells)).abs()).clamp(min=0.0)
