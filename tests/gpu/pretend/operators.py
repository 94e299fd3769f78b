"""torchvision's operators on the pretended device: single operations with the results of the project's plain ones."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch
from torch import Tensor

_LIBRARY: list[torch.library.Library] = []  # lives as long as the process
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor",
    "_roi_align_backward(Tensor grad, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "SymInt batch_size, SymInt channels, SymInt height, SymInt width, int sampling_ratio, bool aligned) -> Tensor",
)


def install() -> None:
    """Put a `torchvision` in place whose operators these are: a real one for CUDA does not load beside a CPU torch."""
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    for name, function in (("nms", _nms), ("roi_align", _roi_align), ("_roi_align_backward", _backward)):
        library.impl(name, function, "CPU")
    _LIBRARY.append(library)
    package, ops = ModuleType("torchvision"), ModuleType("torchvision.ops")
    package.__spec__ = ModuleSpec("torchvision", None, is_package=True)
    package.__path__ = []
    package.__version__ = "0"  # type: ignore[attr-defined]
    ops.nms = torch.ops.torchvision.nms  # type: ignore[attr-defined]
    package.ops = ops  # type: ignore[attr-defined]
    sys.modules.update({"torchvision": package, "torchvision.ops": ops})


def _nms(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    from wsis.method.prediction.ops import plain

    return plain.nms(dets, scores, iou_threshold, 0)


def _roi_align(
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    from wsis.method.prediction.ops import plain

    size = (pooled_height, pooled_width)
    return plain.roi_align_forward(input, rois, size, spatial_scale, sampling_ratio, aligned)


def _backward(
    grad: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    batch_size: int,
    channels: int,
    height: int,
    width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    from wsis.method.prediction.ops import plain

    shape = (batch_size, channels, height, width)
    return plain.roi_align_backward(grad, rois, shape, spatial_scale, sampling_ratio, aligned)
