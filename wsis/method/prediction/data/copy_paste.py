"""Instances pasted into training images: things that stand beside and before others, with known masks.

Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation", CVPR 2021. Here the
instances are pseudo labels that the K samples agree on (:mod:`.confident`), and an image gets several of one class, so
that a network which was taught one mask a class sees crowds whose members are told apart.

Suffix legend: N distinct instances, U unique sets, H W image, h w what is pasted.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from numpy.typing import NDArray

from wsis.method.masks.boxes import box_of_mask
from wsis.method.prediction.data.confident import Donor
from wsis.method.prediction.data.training_images import PseudoLabelSource, SuperpixelMasks

_MOST = 4  # instances pasted into an image
_BESIDE = 0.6  # how often an instance stands at another instead of anywhere
_SIZES = (0.4, 1.25)  # of the size that the instance has in its own image at the network's scale
_LARGEST = 0.3  # share of the image that an instance may cover
_LEAST = 8  # pixels of a side, below which nothing is pasted
_LOST = 0.5  # share that what lies below may lose
_TRIES = 6  # places looked at


class Pasted(NamedTuple):
    """One instance at the network's scale: BGR uint8 [h, w, 3], its mask bool [h, w] tight, its class 0..C-1."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    label: int


class PasteInstances(BaseTransform):
    """Pastes instances of the pool over an image, after resizing and flipping. Draws from numpy's global generator.

    What is pasted belongs to every set. What lies below loses the pixels, its box is made tight again, and an instance
    that has lost all its pixels is dropped.

    Args:
        source: where the instances' pixels and masks are.
        donors: the instances that may be pasted.
        share: of the training images, how many get pasted instances, 0..1.
    """

    def __init__(self, source: PseudoLabelSource, donors: Sequence[Donor], share: float) -> None:
        self.source, self.share = source, share
        self.by_class: dict[int, list[Donor]] = {}
        for donor in donors:
            self.by_class.setdefault(donor.label, []).append(donor)
        self.labels = [donor.label for donor in donors]

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if np.random.rand() >= self.share or not self.labels:
            return results
        scene = Scene(results)
        # a class as often as it has instances; all pasted ones are of it
        label = self.labels[np.random.randint(len(self.labels))]
        for _ in range(np.random.randint(1, _MOST + 1)):
            pool = self.by_class[label]
            pasted = self._drawn(pool[np.random.randint(len(pool))], scene)
            if pasted is not None and (place := _place(pasted, scene)) is not None:
                scene.paste(pasted, *place)
        return scene.into(results)

    def _drawn(self, donor: Donor, scene: "Scene") -> Pasted | None:
        """The donor cut out, at a size and turned as drawn; None where it would be too small to see."""
        size, turned = float(np.exp(np.random.uniform(*np.log(_SIZES)))), np.random.rand() < 0.5
        image = self.source.image(donor.image)
        mask = _mask_of(self.source.instances(donor.image).masks, donor.row)
        x1, y1, x2, y2 = box_of_mask(mask).astype(int).tolist()
        cut, mask = image[y1:y2, x1:x2], mask[y1:y2, x1:x2]
        scale = size * max(scene.size) / max(image.shape[:2])
        scale = min(scale, (_LARGEST * scene.size[0] * scene.size[1] / max(mask.sum(), 1)) ** 0.5)
        scale = min(scale, scene.size[0] / mask.shape[0], scene.size[1] / mask.shape[1])
        width, height = int(mask.shape[1] * scale), int(mask.shape[0] * scale)
        if min(width, height) < _LEAST:
            return None
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        cut = cv2.resize(np.ascontiguousarray(cut), (width, height), interpolation=way)
        seen = cv2.resize(mask.astype(np.float32), (width, height), interpolation=way) >= 0.5
        if turned:
            cut, seen = cut[:, ::-1], seen[:, ::-1]
        if not seen.any():
            return None
        x1, y1, x2, y2 = box_of_mask(seen).astype(int).tolist()
        return Pasted(cut[y1:y2, x1:x2], seen[y1:y2, x1:x2], donor.label - 1)


def _mask_of(masks: NDArray[np.bool_] | SuperpixelMasks, row: int) -> NDArray[np.bool_]:
    if not isinstance(masks, SuperpixelMasks):
        return masks[row]
    one = SuperpixelMasks(
        masks.superpixels, masks.membership[row : row + 1], masks.boxes[row : row + 1], masks.size
    )
    return one.dense()[0]


class Scene:
    """An image and its instances while others are pasted over them.

    Attributes:
        image: BGR uint8 [H, W, 3], a copy.
        masks, boxes, labels, weights: bool [N, H, W], float32 [N, 4], int64 [N], float32 [N, U]; the columns of
            `weights` sum to 1, because samples without an instance get what is pasted as well.
    """

    def __init__(self, results: dict[str, Any]) -> None:
        self.image = results["img"].copy()
        self.size: tuple[int, int] = self.image.shape[:2]
        self.masks = results["gt_masks"].masks.astype(bool)
        self.boxes = results["gt_bboxes"].tensor.numpy().copy()
        self.labels = results["gt_bboxes_labels"]
        weights: NDArray[np.float32] = results["gt_set_weights"]
        self.shares = weights.max(axis=0) if len(weights) else np.zeros(weights.shape[1], np.float32)
        if (rest := 1.0 - float(self.shares.sum())) > 1e-4:
            self.shares = np.append(self.shares, np.float32(rest))
            weights = np.concatenate([weights, np.zeros((len(weights), 1), np.float32)], axis=1)
        self.weights = weights

    def lost(self, mask: NDArray[np.bool_], y: int, x: int) -> float:
        """The largest share that an instance of half the samples or more would lose below a mask at (y, x)."""
        rows = np.flatnonzero(self.weights.sum(axis=1) >= 0.5)
        if not len(rows):
            return 0.0
        below = self.masks[rows, y : y + mask.shape[0], x : x + mask.shape[1]] & mask
        areas = self.masks[rows].sum(axis=(1, 2))
        return float((below.sum(axis=(1, 2)) / np.maximum(areas, 1)).max())

    def paste(self, pasted: Pasted, y: int, x: int) -> None:
        """Lay the instance over the image with its first row at y and its first column at x."""
        height, width = pasted.mask.shape
        window = slice(y, y + height), slice(x, x + width)
        self.image[window][pasted.mask] = pasted.pixels[pasted.mask]
        below = self.masks[:, *window]
        touched = np.flatnonzero((below & pasted.mask).any(axis=(1, 2)))
        self.masks[touched, *window] &= ~pasted.mask
        for row in touched:
            self.boxes[row] = box_of_mask(self.masks[row])
        own = np.zeros((1, *self.size), bool)
        own[0][window] = pasted.mask
        kept = np.ones(len(self.masks), bool)
        kept[touched] = self.masks[touched].any(axis=(1, 2))
        self.masks = np.concatenate([self.masks[kept], own])
        box = np.array([[x, y, x + width, y + height]], np.float32)
        self.boxes = np.concatenate([self.boxes[kept], box])
        self.labels = np.append(self.labels[kept], pasted.label)
        self.weights = np.concatenate([self.weights[kept], self.shares[None]])

    def into(self, results: dict[str, Any]) -> dict[str, Any]:
        """The results with what was pasted."""
        results["img"] = self.image
        results["gt_masks"] = BitmapMasks(self.masks.astype(np.uint8), *self.size)
        results["gt_bboxes"] = HorizontalBoxes(self.boxes)
        results["gt_bboxes_labels"] = self.labels
        results["gt_set_weights"] = self.weights
        results["gt_ignore_flags"] = np.zeros(len(self.labels), bool)
        return results


def _place(pasted: Pasted, scene: Scene) -> tuple[int, int] | None:
    """First row and column: anywhere, or at an instance of the class; None where it would hide others."""
    height, width = pasted.mask.shape
    free = scene.size[0] - height, scene.size[1] - width
    for _ in range(_TRIES):
        others = np.flatnonzero((scene.labels == pasted.label) & (scene.weights.sum(axis=1) >= 0.5))
        y, x = (int(np.random.randint(room + 1)) for room in free)
        if len(others) and np.random.rand() < _BESIDE:
            y, x = _beside(scene.boxes[others[np.random.randint(len(others))]], height, width)
        y, x = int(np.clip(y, 0, free[0])), int(np.clip(x, 0, free[1]))
        if scene.lost(pasted.mask, y, x) <= _LOST:
            return y, x
    return None


def _beside(box: NDArray[np.float32], height: int, width: int) -> tuple[int, int]:
    """A place at one side of a box: a gap of a tenth to an overlap of two fifths of the smaller side, about level."""
    x1, y1, x2, y2 = box.tolist()
    into, shift = np.random.uniform(-0.1, 0.4), np.random.uniform(-0.3, 0.3)
    side = np.random.randint(4)
    if side < 2:  # left, right
        deep = into * min(width, x2 - x1)
        x = x1 - width + deep if side == 0 else x2 - deep
        return round(y2 - height + shift * height), round(x)
    deep = into * min(height, y2 - y1)
    y = y1 - height + deep if side == 2 else y2 - deep
    return round(y), round((x1 + x2 - width) / 2 + shift * width)
