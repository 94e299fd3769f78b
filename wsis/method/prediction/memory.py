"""How much of a GPU's memory a training step takes, counted before it on tensors that hold no data.

Autograd keeps what layers give until the backward pass: by far the most of it, and a function of shapes alone. Of
MMDetection's R-50 at 16 images of 800 x 1216 it is 22 GiB.
"""

from collections.abc import Iterable
from typing import Any

import mmcv
import torch
from mmengine.config import Config
from torch import Tensor, nn

from wsis.method.prediction.config import Scale
from wsis.method.prediction.models import build_model

_DIVISOR = 32  # images are padded to multiples of it
_HALF = 0.55  # of float32 under autocast: normalisations and losses stay in it
_MORE = 1.05  # gradients of activations, and what convolutions need beside


def step_bytes(config: Config, size: tuple[int, int], images: int, moments: int, low_precision: bool) -> int:
    """Bytes of a step.

    Args:
        config: MMDetection's, of a two-stage detector.
        size: height and width of the padded batch.
        images: of one pass; parts of a batch that follow one another count once.
        moments: numbers that the optimiser keeps for each weight.
        low_precision: float16 or bfloat16.
    """
    with torch.device("meta"):
        model: Any = build_model(config)
        picture = torch.empty(1, 3, *size)
    model.train()
    kept = _Kept()
    with torch.autograd.graph.saved_tensors_hooks(kept.add, lambda tensor: tensor):
        features = model.extract_feat(picture)
        model.rpn_head(features)
        _regions(model, features[0].shape[1])
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    weights = sum(p.numel() for p in model.parameters())
    activations = images * kept.bytes * (_HALF if low_precision else 1)
    return int(_MORE * activations + 4 * (weights + (1 + moments) * trained))


class _Kept:
    """Bytes that autograd keeps, each storage once; weights are not its own."""

    def __init__(self) -> None:
        self._storages: dict[int, Any] = {}

    @property
    def bytes(self) -> int:
        return sum(storage.nbytes() for storage in self._storages.values())

    def add(self, tensor: Tensor) -> Tensor:
        """A hook of `saved_tensors_hooks`."""
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            self._storages[storage._cdata] = storage  # which keeps its address from being used again
        return tensor


def _regions(model: Any, channels: int) -> None:
    """The heads of regions, on as many as are sampled of an image. Parts of a cascade follow one another."""
    head = model.roi_head
    if head.with_shared_head:  # whose regions have other channels
        return
    settings = model.train_cfg.rcnn
    for part, boxes, masks in zip(
        _listed(settings), _listed(head.bbox_head), _listed(head.mask_head), strict=True
    ):
        sampler = part.sampler.get("sampler", part.sampler)
        for one, extractor, count in (
            (boxes, head.bbox_roi_extractor, sampler.num),
            (masks, head.mask_roi_extractor, int(sampler.num * sampler.pos_fraction)),
        ):
            cells = _listed(extractor)[0].roi_layers[0].output_size
            one(torch.empty(count, channels, *cells, device="meta", requires_grad=True))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | nn.ModuleList) else [value]


def largest_batch(sizes: Iterable[tuple[int, int]], scales: Iterable[Scale]) -> tuple[int, int]:
    """Height and width of the largest batch: images high and wide meet in the last of an epoch.

    Args:
        sizes: (H, W) of the images.
        scales: (longest, shortest) sides that they are resized to fit.
    """
    limits, heights, widths = list(scales), [], []
    for height, width in set(sizes):
        for scale in limits:
            new_width, new_height = mmcv.rescale_size((width, height), scale)
            heights.append(new_height)
            widths.append(new_width)
    return _padded(max(heights)), _padded(max(widths))


def _padded(side: int) -> int:
    return -(-side // _DIVISOR) * _DIVISOR
