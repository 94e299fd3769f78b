"""The operators behind `mmcv.ops`, in mmcv's own calling convention, on the backend that is there.

Order: a compiled `mmcv._ext`, torchvision's operators, plain torch. Chosen once and logged.
"""

import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from wsis.errors import UnsupportedOpError
from wsis.method.prediction.ops import plain

EXTENSION = "mmcv._ext"
Backend = Literal["mmcv", "torchvision", "plain"]
_log = logging.getLogger("wsis.method.prediction.ops")


class _Operators(Protocol):
    """What a backend provides; shapes as in :mod:`wsis.method.prediction.ops.plain`."""

    def roi_align_forward(
        self,
        features: Tensor,
        rois: Tensor,
        output_size: tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool,
    ) -> Tensor: ...

    def roi_align_backward(
        self,
        grad_pooled: Tensor,
        rois: Tensor,
        feature_shape: torch.Size,
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool,
    ) -> Tensor: ...

    def nms(self, boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor: ...


class _TorchvisionOperators:
    """torchvision's operators under the same signatures."""

    def __init__(self) -> None:
        self._ops = importlib.import_module("torchvision.ops")

    def roi_align_forward(
        self,
        features: Tensor,
        rois: Tensor,
        output_size: tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool,
    ) -> Tensor:
        pooled: Tensor = torch.ops.torchvision.roi_align(
            features, rois.to(features.dtype), spatial_scale, *output_size, max(sampling_ratio, 0), aligned
        )
        return pooled

    def roi_align_backward(
        self,
        grad_pooled: Tensor,
        rois: Tensor,
        feature_shape: torch.Size,
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool,
    ) -> Tensor:
        grad: Tensor = torch.ops.torchvision._roi_align_backward(
            grad_pooled,
            rois.to(grad_pooled.dtype),
            spatial_scale,
            grad_pooled.shape[2],
            grad_pooled.shape[3],
            *feature_shape,
            max(sampling_ratio, 0),
            aligned,
        )
        return grad

    def nms(self, boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
        grown = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], 1) if offset else boxes
        kept: Tensor = self._ops.nms(grown.float(), scores.float(), iou_threshold)
        return kept


class OpsModule(ModuleType):
    """Stands at ``mmcv._ext``: the operators Mask R-CNN needs; any other name gives a function that refuses."""

    def __init__(self, operators: _Operators, backend: Backend) -> None:
        super().__init__(EXTENSION, f"nms and roi_align of mmcv.ops by {backend}")
        self.__spec__ = ModuleSpec(EXTENSION, loader=None, origin=f"wsis ({backend})")
        self.backend: Backend = backend
        self._operators = operators

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(f"module {EXTENSION!r} has no attribute {name!r}")

        def refuse(*args: object, **kwargs: object) -> Any:
            raise UnsupportedOpError(
                f"mmcv operator '{name}': the {self.backend} backend of wsis provides nms and average "
                "roi_align only; install a compiled mmcv to use it"
            )

        refuse.__name__ = name
        return refuse

    def nms(self, boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
        """mmcv's `nms`: kept indices, best first."""
        return self._operators.nms(boxes, scores, iou_threshold, offset)

    def roi_align_forward(
        self,
        input: Tensor,
        rois: Tensor,
        output: Tensor,
        argmax_y: Tensor,
        argmax_x: Tensor,
        aligned_height: int,
        aligned_width: int,
        spatial_scale: float,
        sampling_ratio: int,
        pool_mode: int,
        aligned: bool,
    ) -> None:
        """mmcv's `roi_align_forward`: fills ``output`` [R, C, P_y, P_x]. Only average pooling (mode 1)."""
        self._require_average(pool_mode)
        output.copy_(
            self._operators.roi_align_forward(
                input, rois, (aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned
            )
        )

    def roi_align_backward(
        self,
        grad_output: Tensor,
        rois: Tensor,
        argmax_y: Tensor,
        argmax_x: Tensor,
        grad_input: Tensor,
        aligned_height: int,
        aligned_width: int,
        spatial_scale: float,
        sampling_ratio: int,
        pool_mode: int,
        aligned: bool,
    ) -> None:
        """mmcv's `roi_align_backward`: fills ``grad_input`` [B, C, H, W]."""
        self._require_average(pool_mode)
        grad_input.copy_(
            self._operators.roi_align_backward(
                grad_output, rois, grad_input.shape, spatial_scale, sampling_ratio, aligned
            )
        )

    def _require_average(self, pool_mode: int) -> None:
        if pool_mode != 1:
            raise UnsupportedOpError(
                f"mmcv operator 'roi_align' with pool_mode='max': the {self.backend} backend of wsis "
                "provides average pooling only; install a compiled mmcv to use it"
            )


def torchvision_operators() -> _Operators | None:
    """torchvision's operators, or None where it is absent or broken (a CUDA build beside a CPU torch)."""
    if importlib.util.find_spec("torchvision") is None:
        return None
    try:
        operators = _TorchvisionOperators()
        _ = torch.ops.torchvision.roi_align
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        _log.warning("torchvision is installed but cannot be used (%s)", error)
        return None
    return operators


def _compiled_mmcv() -> bool:
    """Whether mmcv brings its own compiled operators; found without importing mmcv."""
    package = importlib.util.find_spec("mmcv")
    locations = package.submodule_search_locations if package is not None else None
    return locations is not None and PathFinder.find_spec(EXTENSION, list(locations)) is not None


def install_ops() -> Backend:
    """Make `mmcv.ops` importable; idempotent. To be called before mmdet is imported.

    Returns:
        The backend in use.
    """
    present = sys.modules.get(EXTENSION)
    if isinstance(present, OpsModule):
        return present.backend
    if present is not None or _compiled_mmcv():
        _log.info("mmcv operators: compiled mmcv._ext")
        return "mmcv"
    operators = torchvision_operators()
    module = OpsModule(operators, "torchvision") if operators else OpsModule(plain, "plain")
    sys.modules[EXTENSION] = module
    _log.info("mmcv operators: %s", module.backend)
    return module.backend
