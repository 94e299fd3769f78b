"""RoIAlign and NMS as loops that follow the definitions: slow, for tests and benchmarks only.

Suffix legend: R regions, C channels, H W feature map, N boxes.
"""

import math

import torch
from torch import Tensor


def roi_align_reference(
    features: Tensor,
    rois: Tensor,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Average RoIAlign (He et al., ICCV 2017), one sample point after another; differentiable.

    Args:
        features: [B, C, H, W].
        rois: [R, 5] rows (image, x1, y1, x2, y2) in input pixels.
        sampling_ratio: sample points per bin and axis; 0 takes ceil(region / bins).

    Returns:
        [R, C, *output_size].
    """
    pooled = [
        _roi_align_one(features[int(roi[0])], roi, output_size, spatial_scale, sampling_ratio, aligned)
        for roi in rois
    ]
    if not pooled:
        return features.new_zeros(0, features.shape[1], *output_size) + 0 * features.sum()
    return torch.stack(pooled)


def _roi_align_one(
    feature: Tensor,
    roi: Tensor,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    x1, y1, x2, y2 = (float(v) * spatial_scale - (0.5 if aligned else 0.0) for v in roi[1:])
    width, height = x2 - x1, y2 - y1
    if not aligned:
        width, height = max(width, 1.0), max(height, 1.0)
    bin_h, bin_w = height / output_size[0], width / output_size[1]
    grid_h = sampling_ratio if sampling_ratio > 0 else math.ceil(bin_h)
    grid_w = sampling_ratio if sampling_ratio > 0 else math.ceil(bin_w)
    rows = []
    for i in range(output_size[0]):
        cells = []
        for j in range(output_size[1]):
            total = feature.new_zeros(feature.shape[0])
            for a in range(grid_h):
                for b in range(grid_w):
                    y = y1 + i * bin_h + (a + 0.5) * bin_h / grid_h
                    x = x1 + j * bin_w + (b + 0.5) * bin_w / grid_w
                    total = total + _bilinear(feature, y, x)
            cells.append(total / max(grid_h * grid_w, 1))
        rows.append(torch.stack(cells, dim=-1))
    return torch.stack(rows, dim=-2)


def _bilinear(feature: Tensor, y: float, x: float) -> Tensor:
    """Value [C] at a point; 0 beyond one pixel outside the map, clamped up to there."""
    height, width = feature.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return feature.new_zeros(feature.shape[0])
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    y0, x0 = min(int(y), height - 1), min(int(x), width - 1)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    dy, dx = y - y0, x - x0
    top = (1 - dx) * feature[:, y0, x0] + dx * feature[:, y0, x1]
    bottom = (1 - dx) * feature[:, y1, x0] + dx * feature[:, y1, x1]
    return (1 - dy) * top + dy * bottom


def nms_reference(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy NMS: indices int64 of the kept boxes [N, 4], best score first (ties: lower index first).

    Args:
        offset: 1 if x2, y2 are the last pixel of the box, 0 if they are exclusive.
    """
    order = torch.argsort(scores, descending=True, stable=True).tolist()
    kept: list[int] = []
    for index in order:
        if all(_iou(boxes[index].tolist(), boxes[k].tolist(), offset) <= iou_threshold for k in kept):
            kept.append(index)
    return torch.tensor(kept, dtype=torch.long)


def _iou(a: list[float], b: list[float], offset: int) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]) + offset, 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]) + offset, 0.0)
    area_a = (a[2] - a[0] + offset) * (a[3] - a[1] + offset)
    area_b = (b[2] - b[0] + offset) * (b[3] - b[1] + offset)
    union = area_a + area_b - width * height
    return width * height / union if union != 0 else 0.0
