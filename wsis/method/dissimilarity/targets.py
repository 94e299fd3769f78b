"""Targets: the soft instances that a labelling is compared with (one side of eq. 9).

Detections of the prediction network, seeds and conditional samples all become this one shape.
Suffix legend: N targets, S superpixels, C classes (column 0 = background), H W size of the superpixel map.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from wsis.errors import InputError
from wsis.method.conditional.pooling import pool_matrix, segment_sums

FLOOR = 0.05  # smallest probability inside a logarithm of the task loss


@dataclass(frozen=True)
class Targets:
    """Soft instances of one image.

    Attributes:
        probabilities: float32 [N, C + 1], class probabilities, rows sum to 1.
        masks: float32 [N, S] in [0, 1], mean foreground probability m inside each superpixel.
        costs: float32 [2, N, S], means inside each superpixel of -log max(m, FLOOR) and of -log max(1 - m, FLOOR).
            Where a mask varies inside a superpixel they are not the logarithms of its mean. None: the masks do not
            vary there.
    """

    probabilities: Tensor
    masks: Tensor
    costs: Tensor = None  # type: ignore[assignment]  # filled below

    def __post_init__(self) -> None:
        if self.probabilities.ndim != 2 or self.masks.ndim != 2 or len(self.probabilities) != len(self.masks):
            raise InputError(
                "targets: expected probabilities [N, C+1] and masks [N, S], got "
                f"{tuple(self.probabilities.shape)} and {tuple(self.masks.shape)}"
            )

        if self.costs is None:
            object.__setattr__(self, "costs", log_costs(self.masks))

    def __len__(self) -> int:
        return len(self.masks)


def log_costs(masks: Tensor) -> Tensor:
    """-log max(m, FLOOR) and -log max(1 - m, FLOOR) of masks [...], float [2, ...]."""
    return -torch.log(torch.stack([masks, 1.0 - masks]).clamp(min=FLOOR))


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
    """Targets of certain class: classes int64 [N] in 1..C, masks float [N, S] in [0, 1], constant in superpixels."""
    return Targets(_one_hot(classes, num_classes), masks.float())


def _one_hot(classes: Tensor, num_classes: int) -> Tensor:
    if len(classes) and not 1 <= int(classes.min()) <= int(classes.max()) <= num_classes:
        raise InputError(f"classes: expected 1..{num_classes}, got {classes.tolist()}")
    probabilities = torch.zeros(len(classes), num_classes + 1)
    probabilities[torch.arange(len(classes)), classes] = 1.0
    return probabilities


def join_targets(first: Targets, second: Targets) -> Targets:
    """Both lists of targets as one."""
    return Targets(
        torch.cat([first.probabilities, second.probabilities]),
        torch.cat([first.masks, second.masks]),
        torch.cat([first.costs, second.costs], 1),
    )


def select_targets(targets: Targets, kept: Tensor) -> Targets:
    """The targets at the given positions (int64 or bool)."""
    return Targets(targets.probabilities[kept], targets.masks[kept], targets.costs[:, kept])


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
    low = torch.from_numpy(peak_response_maps.astype(np.float32) / 255.0)
    size = (int(superpixels.shape[0]), int(superpixels.shape[1]))
    maps = (
        functional.interpolate(m[None, None], size, mode="bilinear", align_corners=False)[0, 0] for m in low
    )
    probabilities = _one_hot(torch.from_numpy(classes.astype(np.int64)), num_classes)
    return _soft_targets(probabilities, maps, superpixels, areas)


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
    probabilities = torch.from_numpy(class_probabilities.astype(np.float32))
    pasted = _pasted(boxes, masks, superpixels, image_size)
    return _soft_targets(probabilities, pasted, superpixels, areas)


def masks_from_detections(
    boxes: np.ndarray, masks: np.ndarray, superpixels: np.ndarray, areas: Tensor, image_size: tuple[int, int]
) -> Tensor:
    """The masks of `targets_from_detections`, float32 [N, S], without their costs, which take most of its time."""
    means = torch.zeros(len(boxes), len(areas), dtype=torch.float64)
    for mean, soft in zip(means, _pasted(boxes, masks, superpixels, image_size), strict=True):
        mean.copy_(_sums(superpixels, soft.double().clamp(0, 1).flatten(), len(areas)))
    return (means / areas.clamp(min=1)).float().clamp(0, 1)


def _pasted(
    boxes: np.ndarray, masks: np.ndarray, superpixels: np.ndarray, image_size: tuple[int, int]
) -> Iterator[Tensor]:
    """Soft masks at the working size, float [H, W], one after the other: together they are large."""
    height, width = superpixels.shape
    scale = np.array([width / image_size[1], height / image_size[0]] * 2, dtype=np.float32)
    scaled = torch.from_numpy(boxes.astype(np.float32) * scale)
    soft = torch.from_numpy(masks.astype(np.float32) / 255.0)
    rows = _paste_weights(scaled[:, 1], scaled[:, 3], height, soft.shape[1])
    columns = _paste_weights(scaled[:, 0], scaled[:, 2], width, soft.shape[2])
    return (rows[n] @ soft[n] @ columns[n].T for n in range(len(boxes)))


def _sums(superpixels: np.ndarray, values: Tensor, number: int) -> Tensor:
    """Sums of values float64 [H * W] over the superpixels, float64 [S]; superpixels can be large."""
    return torch.from_numpy(np.bincount(superpixels.ravel(), values.numpy(), number))


def _soft_targets(
    probabilities: Tensor, maps: Iterable[Tensor], superpixels: np.ndarray, areas: Tensor
) -> Targets:
    """Targets from soft masks float [H, W]."""
    means = torch.zeros(len(probabilities), 3, len(areas), dtype=torch.float64)
    for mean, soft in zip(means, maps, strict=True):
        pixels = soft.double().clamp(0, 1).flatten()
        for row, values in zip(mean, (pixels, *log_costs(pixels)), strict=True):
            row.copy_(_sums(superpixels, values, len(areas)))
    means = (means / areas.clamp(min=1)).float()
    return Targets(probabilities, means[:, 0].clamp(0, 1), means[:, 1:].transpose(0, 1).contiguous())


def detections_of_boxes(
    labels: np.ndarray,
    scores: np.ndarray,
    overlaps: np.ndarray,
    box_labels: np.ndarray,
    threshold: float = 0.5,
) -> np.ndarray:
    """For each annotated box the detection that stands for it: of its class, with the largest score x IoU.

    Args:
        labels: int [N], classes of the detections.
        scores: float [N].
        overlaps: float [N, M], IoU of each detection's box with each annotated box.
        box_labels: int [M].
        threshold: least IoU.

    Returns:
        int64 [M], a detection or -1. A detection stands for the box that it overlaps most, so for one alone.
    """
    result = np.full(len(box_labels), -1, np.int64)
    if not len(labels) or not len(box_labels):
        return result
    allowed = (labels[:, None] == box_labels[None]) & (overlaps >= threshold)
    fit = np.where(allowed, overlaps, 0.0)
    own = np.argmax(fit, axis=1)
    for box in range(len(box_labels)):
        candidates = np.flatnonzero((own == box) & allowed[:, box])
        if len(candidates):
            result[box] = candidates[np.argmax(scores[candidates] * overlaps[candidates, box])]
    return result


def _paste_weights(start: Tensor, stop: Tensor, pixels: int, cells: int) -> Tensor:
    """Bilinear weights [N, pixels, cells] that stretch a mask axis over [start, stop), zero outside it.

    The same values as grid_sample (align_corners=False, zero padding), which Mask R-CNN pastes with.
    """
    centre = torch.arange(pixels, dtype=torch.float32)[None] + 0.5
    length = (stop - start).clamp(min=1e-3)[:, None]
    position = (centre - start[:, None]) / length * cells - 0.5
    return (1.0 - (position[:, :, None] - torch.arange(cells)).abs()).clamp(min=0.0)
