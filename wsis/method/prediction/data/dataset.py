"""MMDetection data set and transforms over a :class:`~wsis.method.prediction.data.training_images.PseudoLabelSource`.

Suffix legend: N distinct instances of all sets, U unique sets, H W image.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform, Compose
from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import DATASETS, TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from numpy.typing import NDArray
from torch.utils.data import Dataset

from wsis.errors import InputError
from wsis.method.prediction.data.superpixel_bitmaps import SuperpixelBitmaps
from wsis.method.prediction.data.training_images import (
    ImageInstances,
    PseudoLabelSource,
    SuperpixelMasks,
    boxes_of,
)


class SampleKey(NamedTuple):
    """What determines one training sample: the image, and the seed of its augmentation."""

    image: int
    seed: int


@DATASETS.register_module()
class PseudoLabelDataset(Dataset[dict[str, Any]]):
    """Images with all their pseudo-label sets, through MMDetection's transforms once.

    Args:
        source: images and sets.
        pipeline: MMDetection transforms; they see `img` (BGR uint8, as MMDetection's own loaders give it),
            `gt_bboxes`, `gt_bboxes_labels` (0..C-1), `gt_masks` of the N distinct instances, and
            `gt_set_weights` [N, U]. The last one must be :class:`PackPseudoLabels`.
    """

    def __init__(self, source: PseudoLabelSource, pipeline: Sequence[Any]) -> None:
        if not len(source):
            raise InputError("pseudo labels: expected at least one image, got none")
        self.source = source
        self.pipeline = Compose(list(pipeline))
        self.metainfo = {"classes": tuple(source.classes)}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        """The augmented sample of `key`: a function of the key alone.

        Raises:
            InputError: naming the image and what is wrong with its pseudo labels.
        """
        sample = self.unaugmented(key.image)
        with seeded(key.seed), too_thin_named(f"image {sample['img_id']}", sample["img_shape"]):
            packed = self.pipeline(sample)
        if packed is None:
            raise InputError(f"image {sample['img_id']}: a transform dropped it; training needs every sample")
        return packed

    def unaugmented(self, index: int) -> dict[str, Any]:
        """Input of the transforms."""
        image_id = self.source.image_id(index)
        image = self.source.image(index)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(
                f"image {image_id}: expected BGR uint8 [H, W, 3], got {image.dtype} {image.shape}"
            )
        size = image.shape[:2]
        instances = self.source.instances(index)
        check_instances(instances, size, len(self.source.classes), image_id)
        boxes, masks = boxes_and_masks(instances.masks, size)
        return {
            "img": image,
            "img_shape": size,
            "ori_shape": size,
            "img_id": image_id,
            "img_path": image_id,
            "gt_bboxes": HorizontalBoxes(boxes),
            "gt_bboxes_labels": instances.labels.astype(np.int64) - 1,
            "gt_masks": masks,
            "gt_set_weights": instances.set_weights.astype(np.float32),
            "gt_ignore_flags": np.zeros(len(boxes), bool),
        }


def boxes_and_masks(
    masks: NDArray[np.bool_] | SuperpixelMasks, size: tuple[int, int]
) -> tuple[NDArray[np.float32], BitmapMasks]:
    """Tight boxes float32 [N, 4] of checked masks, and the masks as transforms take them."""
    boxes = boxes_of(masks)
    if isinstance(masks, SuperpixelMasks):
        return boxes.copy(), SuperpixelBitmaps.of(masks)
    return boxes, BitmapMasks(masks.astype(np.uint8), *size)


def check_instances(instances: ImageInstances, size: tuple[int, int], classes: int, image_id: str) -> None:
    """InputError naming the image unless shapes, classes 1..C, masks and weights are as documented."""
    masks, labels, weights = instances.masks, instances.labels, instances.set_weights
    where = f"pseudo labels of image {image_id}"
    stored = masks.membership if isinstance(masks, SuperpixelMasks) else masks
    if stored.dtype != np.bool_ or len(masks.shape) != 3 or masks.shape[1:] != tuple(size):
        raise InputError(
            f"{where}: masks: expected bool [N, {size[0]}, {size[1]}], got {stored.dtype} {masks.shape}"
        )
    if labels.shape != (len(masks),) or weights.ndim != 2 or len(weights) != len(masks):
        raise InputError(
            f"{where}: expected labels [N] and set_weights [N, U] for {len(masks)} masks, "
            f"got {labels.shape} and {weights.shape}"
        )
    if not len(masks):
        return
    if (outside := (labels < 1) | (labels > classes)).any():
        raise InputError(f"{where}: labels: expected classes 1..{classes}, got {labels[outside].tolist()}")
    if (empty := ~stored.any(axis=tuple(range(1, stored.ndim)))).any():
        raise InputError(f"{where}: masks {np.flatnonzero(empty).tolist()} have no pixel")
    total = float(weights.max(axis=0).sum())
    if not (weights >= 0).all() or not (weights.max(axis=1) > 0).all() or not total <= 1 + 1e-4:
        raise InputError(
            f"{where}: set_weights: expected >= 0, every instance in a set, column maxima summing to at most 1, "
            f"got sum {total:.4f}"
        )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators that MMDetection's transforms draw from, and restore them after."""
    states = np.random.get_state(), random.getstate()
    np.random.seed(seed & 0xFFFF_FFFF)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])


@contextmanager
def too_thin_named(where: str, size: tuple[int, int]) -> Iterator[None]:
    """OpenCV's failure to resize to zero rows or columns as an InputError."""
    try:
        yield
    except cv2.error as error:
        raise InputError(
            f"{where}: {size[0]} x {size[1]} pixels cannot be resized with its aspect ({error.err})"
        ) from error


@TRANSFORMS.register_module()
class KeepSmallInstances(BaseTransform):
    """After resizing: no instance vanishes. Boxes get at least one pixel of extent inside the image (an
    empty box has no logarithm to regress), and a mask that lost all its pixels gets its box's."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        height, width = results["img_shape"][:2]
        boxes = results["gt_bboxes"].tensor.numpy()
        results["gt_bboxes"] = HorizontalBoxes(_at_least_one_pixel(boxes, height, width))
        masks: NDArray[np.uint8] = results["gt_masks"].masks
        if len(masks) and (lost := ~masks.reshape(len(masks), -1).view(np.bool_).any(axis=1)).any():
            masks = masks.copy()
            for row in np.flatnonzero(lost):
                x1, y1, x2, y2 = results["gt_bboxes"].tensor[row].tolist()
                masks[row, int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = 1
            results["gt_masks"] = BitmapMasks(masks, height, width)
        return results


def _at_least_one_pixel(boxes: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    grown = boxes.copy()
    for low, high, length in ((0, 2, width), (1, 3, height)):
        short = grown[:, high] - grown[:, low] < 1
        middle = np.clip((grown[short, low] + grown[short, high]) / 2, 0.5, length - 0.5)
        grown[short, low], grown[short, high] = middle - 0.5, middle + 0.5
    return grown


@TRANSFORMS.register_module()
class PackPseudoLabels(PackDetInputs):
    """PackDetInputs that keeps `set_weights` [N, U] beside boxes, labels and masks.

    Without ignored instances it copies no mask.
    """

    mapping_table: ClassVar[dict[str, str]] = {
        **PackDetInputs.mapping_table,
        "gt_set_weights": "set_weights",
    }

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if results["gt_ignore_flags"].any():
            return dict(super().transform(results))
        packed = dict(super().transform({k: v for k, v in results.items() if k != "gt_ignore_flags"}))
        sample = packed["data_samples"]
        sample.ignored_instances = sample.gt_instances[:0]  # MMDetection's assigners look for its boxes
        return packed
