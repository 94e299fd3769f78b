"""Detections of a trained prediction network, with the whole class distribution and soft masks.

Suffix legend: N detections, C classes, R regions, M mask cells a side, H W image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.datasets.transforms import Resize
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import bbox2roi
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from numpy.typing import NDArray
from torch import Tensor, nn

from wsis.errors import InputError
from wsis.method.finite import FiniteChecks
from wsis.method.masks.network_detections import NetworkDetections
from wsis.method.placement import placed
from wsis.method.prediction.checkpoints import classes_of, load_detector_weights, read_checkpoint
from wsis.method.prediction.config import TRAINING_OBJECTS, image_scale
from wsis.method.prediction.data.dataset import too_thin_named
from wsis.method.prediction.heads.region_outputs import region_outputs, require_known_head, soft_masks
from wsis.method.prediction.heads.rpn import grouped_nms
from wsis.method.prediction.merging import merge_tiles
from wsis.method.prediction.models import build_model, checked_device
from wsis.method.prediction.settings import PredictSettings
from wsis.method.prediction.tiles import Tiling, Window, choose_tiling
from wsis.method.prediction.training_objects import Scale, TrainingObjects
from wsis.method.transfers import moved

MASK_SIZE = 28


@dataclass(frozen=True, eq=False)
class Detector:
    """A model ready to predict; made by :func:`load_detector`.

    Attributes:
        pipeline: from an image to the network's input.
        fits: (longest, shortest) side that images are resized to fit.
        objects: how large training objects were; None: not known.
    """

    model: nn.Module
    pipeline: Compose
    classes: tuple[str, ...]
    device: torch.device
    fits: Scale
    objects: TrainingObjects | None = None

    def predict(
        self,
        images: Sequence[NDArray[np.uint8]],
        settings: PredictSettings | None = None,
        batch_size: int = 1,
    ) -> list[NetworkDetections]:
        """Detections of RGB images uint8 [H, W, 3], in their order.

        Args:
            settings: with `tiles`, large images are looked at in overlapping tiles, of which instances are merged.
            batch_size: images in one forward pass; only images of equal padded size share one, so that no
                image's result depends on its neighbours'.

        Raises:
            InputError: an image of another shape or dtype.
            NonFiniteError: the network gives NaN for an image.
        """
        settings = settings or PredictSettings()
        for index, image in enumerate(images):
            _check_image(index, image)
        tilings = [self.tiling(image.shape[:2], settings) for image in images]
        whole = [i for i, tiling in enumerate(tilings) if not tiling.windows]
        network = self._sized(settings)
        found = dict(
            zip(whole, network._whole([images[i] for i in whole], settings, batch_size), strict=True)
        )
        for i, tiling in enumerate(tilings):
            if tiling.windows:
                found[i] = self._tiled(images[i], tiling, settings, batch_size)
        return [found[i] for i in range(len(images))]

    def tiling(self, size: tuple[int, int], settings: PredictSettings) -> Tiling:
        """How an image (H, W) is looked at."""
        return choose_tiling(size, self.fits, settings, self.objects)

    def _sized(self, settings: PredictSettings) -> "Detector":
        """This one, or one that looks at whole images at the settings' size."""
        if settings.tiles != "whole" or settings.size is None:
            return self
        size = (settings.size, settings.size)
        steps = [
            Resize(size, keep_ratio=True) if isinstance(t, Resize) else t for t in self.pipeline.transforms
        ]
        return replace(self, pipeline=Compose(steps), fits=size)

    def _tiled(
        self, image: NDArray[np.uint8], tiling: Tiling, settings: PredictSettings, batch_size: int
    ) -> NetworkDetections:
        """Detections in tiles, and of the whole image what is longer than tiles overlap and thus whole in none."""
        windows: list[Window] = [*tiling.windows, (0, 0, *tiling.size)]
        tiles = [image[top:bottom, left:right] for top, left, bottom, right in windows]
        found = []
        for start in range(
            0, len(tiles), batch_size
        ):  # the inputs of thousands at once would fill the memory
            found += self._whole(tiles[start : start + batch_size], settings, batch_size)
        boxes = found[-1].boxes
        found[-1] = found[-1].take((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) > tiling.overlap)
        return merge_tiles(found, windows, tiling, settings.nms_iou)

    @torch.inference_mode()
    def _whole(
        self, images: Sequence[NDArray[np.uint8]], settings: PredictSettings, batch_size: int
    ) -> list[NetworkDetections]:
        """Each image as one input of the network."""
        packed = [self._packed(i, image) for i, image in enumerate(images)]
        results: dict[int, NetworkDetections] = {}
        for group in _same_size_batches(packed, batch_size):
            for index, detections in zip(
                group, self._forward([packed[i] for i in group], settings), strict=True
            ):
                results[index] = detections
        return [results[i] for i in range(len(images))]

    def _packed(self, index: int, image: NDArray[np.uint8]) -> dict[str, Any]:
        size = image.shape[:2]
        # The pipeline after loading; MMDetection's loaders give BGR.
        loaded = {
            "img": np.ascontiguousarray(image[..., ::-1]),
            "img_id": index,
            "img_path": "",
            "img_shape": size,
            "ori_shape": size,
        }
        with too_thin_named(f"image {index}", size):
            packed: dict[str, Any] = self.pipeline(loaded)
        return packed

    def _forward(self, batch: list[dict[str, Any]], settings: PredictSettings) -> Iterator[NetworkDetections]:
        data = self.model.data_preprocessor(pseudo_collate(batch), False)  # type: ignore[operator]
        samples = data["data_samples"]
        features = self.model.extract_feat(data["inputs"])  # type: ignore[operator]
        rpn_head: Any = self.model.rpn_head
        regions = rpn_head.predict(features, samples, rescale=False)
        checks = FiniteChecks()
        found = _detect_boxes(self.model.roi_head, features, regions, samples, settings, checks)
        masks = _detect_masks(self.model.roi_head, features, found)
        on_device = [
            _detected(*of_image, soft, sample.metainfo)
            for of_image, soft, sample in zip(found, masks, samples, strict=True)
        ]
        on_host = checks.check_with(on_device)
        for arrays, sample in zip(on_host, samples, strict=True):
            height, width = sample.metainfo["ori_shape"]
            fields = {name: tensor.numpy() for name, tensor in arrays.items()}
            yield NetworkDetections(**fields, size=(int(height), int(width)))


def _check_image(index: int, image: NDArray[np.uint8]) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f"image {index}: expected RGB uint8 [H, W, 3], got {image.dtype} {image.shape}")


def load_detector(
    config: Config,
    weights: Path,
    device: str = "cpu",
    objects: TrainingObjects | None = None,
) -> Detector:
    """The model of an exported config (:func:`wsis.method.prediction.config.plain_config`) with its weights.

    Args:
        objects: how large training objects were; None: as the config says, if it does.

    Raises:
        InputError: no such device; the weights are of other classes than `config.metainfo`; a RoI head that
            `require_known_head` does not know.
        MissingWeightsError: absent, truncated, or of another network.
    """
    place = checked_device(device)
    classes = (
        tuple(config.metainfo["classes"]) if "metainfo" in config else classes_of(read_checkpoint(weights))
    )
    if not classes:
        raise InputError(f"{weights}: neither config nor checkpoint tells the classes")
    model = build_model(config)
    load_detector_weights(model, weights, classes)
    detector = detector_of(model, config, classes, place)
    said = config.get(TRAINING_OBJECTS)
    return replace(detector, objects=objects or (TrainingObjects(**said) if said else None))


def detector_of(model: nn.Module, config: Config, classes: tuple[str, ...], device: torch.device) -> Detector:
    """A model that is there already, on a device and in evaluation mode from now on; InputError as `load_detector`."""
    require_known_head(model.roi_head)  # type: ignore[arg-type]
    after_loading = [t for t in config.test_pipeline if not t["type"].startswith("Load")]
    pipeline = Compose([TRANSFORMS.build(t) for t in after_loading])
    return Detector(placed(model, device).eval(), pipeline, classes, device, image_scale(config))


def check_predicts(model: nn.Module, config: Config, classes: tuple[str, ...]) -> None:
    """Take a detection of a grey image from a model, before it is trained for hours.

    Raises:
        InputError: a RoI head that detections cannot be taken from, or masks of another size than 28 x 28.
    """
    grey = np.full((64, 64, 3), 127, np.uint8)
    once = PredictSettings(score_threshold=0.0, max_detections=1)
    detector_of(model, config, classes, torch.device("cpu")).predict([grey], once)


def _same_size_batches(packed: Sequence[dict[str, Any]], batch_size: int) -> Iterator[list[int]]:
    """Indices of images that share a padded shape, at most `batch_size` at once."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, item in enumerate(packed):
        shape = tuple(-(-side // 32) for side in item["inputs"].shape[1:])
        groups.setdefault(shape, []).append(index)
    for group in groups.values():
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


Found = tuple[Tensor, Tensor, Tensor, Tensor]


def _detect_boxes(
    head: Any,
    features: Any,
    regions: list[Any],
    samples: list[Any],
    settings: PredictSettings,
    checks: FiniteChecks,
) -> list[Found]:
    """Per image: boxes [N, 4] in network pixels, scores [N], labels [N] 0-based, probabilities [N, C + 1]."""
    rois = bbox2roi([r.bboxes for r in regions])
    counts = [len(r) for r in regions]
    metas = [sample.metainfo for sample in samples]
    if not len(rois):
        return [_nothing(rois, head)] * len(samples)
    outputs = region_outputs(head, features, rois, counts, metas)
    raw = outputs.bbox_head.predict_by_feat(
        rois=outputs.rois,
        cls_scores=outputs.scores,
        bbox_preds=outputs.deltas,
        batch_img_metas=metas,
        rcnn_test_cfg=None,  # boxes and scores of every region, before NMS
        rescale=False,
    )
    nms = ConfigDict(head.test_cfg.nms, iou_threshold=settings.nms_iou)
    most = settings.limit(head.test_cfg.max_per_img)
    found = []
    for image, sample in zip(raw, samples, strict=True):
        checks.add(image.scores, f"image {sample.img_id}: the network gives class scores that are not finite")
        dets, labels, region = _best_of_classes(
            image.bboxes, image.scores, settings.score_threshold, nms, most
        )
        found.append((dets[:, :4], dets[:, 4], labels, image.scores[region]))
    return found


def _best_of_classes(
    boxes: Tensor, scores: Tensor, threshold: float, nms: ConfigDict, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes with scores [N, 5], labels [N] 0-based and regions [N] of what stays of each class, best first.

    Args:
        boxes: float [R, C * 4], or [R, 4] for all classes.
        scores: float [R, C + 1], the background last.
    """
    classes = scores.shape[1] - 1
    places = (scores[:, :-1] > threshold).flatten().nonzero()[:, 0]
    region, labels = places // classes, places % classes
    wide = boxes.shape[1] > 4
    own = boxes.view(len(boxes), -1, 4)[region, labels if wide else torch.zeros_like(labels)]
    likely = scores[region, labels]
    if not len(places):
        return torch.cat([own, likely[:, None]], 1), labels, region
    dets, kept = grouped_nms(own, likely, labels, nms)
    kept = kept[:most]
    return dets[:most], labels[kept], region[kept]


def _nothing(rois: Tensor, head: Any) -> Found:
    last: Any = head.bbox_head[-1] if isinstance(head.bbox_head, nn.ModuleList) else head.bbox_head
    labels = torch.zeros(0, dtype=torch.long, device=rois.device)
    return rois[:, 1:], rois[:, 0], labels, rois.new_zeros(0, last.num_classes + 1)


def _detect_masks(head: Any, features: Any, found: Sequence[Found]) -> Sequence[Tensor]:
    """Per image: soft masks [N, M, M] of the predicted classes."""
    counts = [len(boxes) for boxes, *_ in found]
    if not sum(counts):
        return [features[0].new_zeros(0, MASK_SIZE, MASK_SIZE)] * len(found)
    labels = torch.cat([labels for _, _, labels, _ in found])
    masks = soft_masks(head, features, bbox2roi([boxes for boxes, *_ in found]), labels)
    if masks.shape[1:] != (MASK_SIZE, MASK_SIZE):
        raise InputError(f"mask_head: expected masks {MASK_SIZE} x {MASK_SIZE}, got {tuple(masks.shape[1:])}")
    return masks.split(counts)


def _detected(
    boxes: Tensor, scores: Tensor, labels: Tensor, probabilities: Tensor, soft: Tensor, meta: dict[str, Any]
) -> dict[str, Tensor]:
    """Fields of `NetworkDetections`: boxes in original pixels; the background, MMDetection's last column, first."""
    height, width = meta["ori_shape"]
    borders = torch.tensor([[*meta["scale_factor"]] * 2, [width, height] * 2], dtype=boxes.dtype)
    scale, limits = moved(borders, boxes.device)
    return {
        "class_probabilities": torch.cat([probabilities[:, -1:], probabilities[:, :-1]], 1).float(),
        "boxes": torch.minimum((boxes / scale).clamp(min=0), limits).float(),
        "masks": (soft * 255).round().byte(),
        "labels": (labels + 1).int(),
        "scores": scores.float(),
    }
