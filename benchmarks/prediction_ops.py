"""roi_align and nms for `benchmarks/prediction.py`: plain torch against per-box loops, and compiled where it is there.

Sizes are those of Mask R-CNN R-50-FPN at 320 px, batch 2: 1,024 regions over four levels of 256 channels.
"""

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conditional_clock import seconds
from numpy.typing import NDArray
from torch import Tensor

from wsis.method.prediction.ops import plain
from wsis.method.prediction.ops.backend import torchvision_operators

# The loops that the tests hold the operators to.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from tests.method.prediction.ops_references import roi_align_reference

STRIDES = (4, 8, 16, 32)
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Row:
    """Seconds of plain torch and of a reference at the same work; the reference's are scaled up from a share."""

    name: str
    ours: float
    reference: str
    theirs: float


def regions(size: int, count: int, images: int = 2) -> Tensor:
    """Random regions [count, 5]: image, x1, y1, x2, y2 in pixels of an image of size x size."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(count, 2, generator=generator) * size * 0.8
    extent = torch.exp(torch.rand(count, 2, generator=generator) * 3.2 + 2.3)
    image = torch.randint(images, (count, 1), generator=generator).float()
    return torch.cat([image, corner, (corner + extent).clamp(max=size)], 1)


def levels(rois: Tensor) -> Tensor:
    """FPN's level of each region, as SingleRoIExtractor maps them."""
    side = ((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2])).sqrt()
    return torch.floor(torch.log2(side / 56 + 1e-6)).clamp(0, 3).long()


def roi_align(device: torch.device, tiny: bool) -> Iterator[Row]:
    """Forward, and forward with backward, over all levels."""
    size, count, channels = (64, 16, 8) if tiny else (320, 1024, 256)
    rois = regions(size, count).to(device)
    of_level = [rois[levels(rois) == level] for level in range(len(STRIDES))]
    maps = [torch.rand(2, channels, size // s, size // s, device=device) for s in STRIDES]
    few = [r[: 1 if tiny else 2] for r in of_level]
    share = sum(map(len, few)) / count
    compiled = torchvision_operators()
    for output in (7, 14):

        def run(which: Any, chosen: list[Tensor], backward: bool, output: int = output) -> list[Tensor]:
            found = []
            for features, rows, stride in zip(maps, chosen, STRIDES, strict=True):
                pooled = which.roi_align_forward(features, rows, (output, output), 1 / stride, 0, True)
                found.append(pooled)
                if backward:
                    which.roi_align_backward(pooled, rows, features.shape, 1 / stride, 0, True)
            return found

        def loop(backward: bool, output: int = output) -> list[Tensor]:
            found = []
            for features, rows, stride in zip(maps, few, STRIDES, strict=True):
                given = features.clone().requires_grad_(backward)
                pooled = roi_align_reference(given, rows, (output, output), 1 / stride, 0, True)
                found.append(pooled.detach())
                if backward:
                    pooled.backward(pooled.detach())
            return found

        _check(run(plain, few, False), loop(False), f"roi_align {output}")
        for backward in (False, True):
            name = f"roi_align {output}x{output}, {count} regions" + (", with backward" if backward else "")
            ours = seconds(lambda run=run, b=backward: run(plain, of_level, b), device)
            slow = seconds(lambda loop=loop, b=backward: loop(b), device, repeats=1, warm=False) / share
            yield Row(name, ours, "loop over boxes and points *", slow)
            if compiled is not None:
                fast = seconds(lambda run=run, b=backward: run(compiled, of_level, b), device)
                yield Row(name, ours, "torchvision, compiled", fast)


def nms(device: torch.device, tiny: bool) -> Iterator[Row]:
    """Greedy NMS at 0.7 of clustered boxes, as the RPN's are."""
    compiled = torchvision_operators()
    for count in (50, 100) if tiny else (100, 1000, 2000, 8000):
        generator = torch.Generator().manual_seed(count)
        centres = torch.rand(max(4, count // 20), 4, generator=generator).cumsum(1) * 80
        boxes = centres[torch.randint(len(centres), (count,), generator=generator)]
        boxes = (boxes + torch.randn(count, 4, generator=generator) * 3).to(device)
        boxes = torch.cat(
            [torch.minimum(boxes[:, :2], boxes[:, 2:]), torch.maximum(boxes[:, :2], boxes[:, 2:])], 1
        )
        scores = torch.rand(count, generator=generator).to(device)
        arrays = boxes.cpu().numpy(), scores.cpu().numpy()
        kept = plain.nms(boxes, scores, 0.7, 0)
        if kept.tolist() != loop_nms(*arrays, 0.7):
            raise SystemExit(f"nms of {count} boxes: the loop keeps others")
        ours = seconds(lambda b=boxes, s=scores: plain.nms(b, s, 0.7, 0), device)
        name = f"nms, {count} boxes, {len(kept)} kept"
        yield Row(name, ours, "NumPy, box by box", seconds(lambda a=arrays: loop_nms(*a, 0.7), device))
        if compiled is not None:
            fast = seconds(lambda b=boxes, s=scores: compiled.nms(b, s, 0.7, 0), device)
            yield Row(name, ours, "torchvision, compiled", fast)


def loop_nms(boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float) -> list[int]:
    """Greedy NMS as it is usually written without compiled code."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order, kept = np.argsort(-scores, kind="stable"), []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low, high = np.maximum(boxes[best, :2], boxes[rest, :2]), np.minimum(boxes[best, 2:], boxes[rest, 2:])
        common = np.clip(high - low, 0, None).prod(1)
        order = rest[common / (areas[best] + areas[rest] - common) <= threshold]
    return kept


def compiled_name() -> str:
    """Which compiled operators are here."""
    return "torchvision" if importlib.util.find_spec("torchvision") is not None else "none"


def _check(ours: list[Tensor], theirs: list[Tensor], name: str) -> None:
    for a, b in zip(ours, theirs, strict=True):
        if len(a) and float((a - b).abs().max()) > _TOLERANCE:
            raise SystemExit(f"{name}: the reference differs from ours by {float((a - b).abs().max())}")
