"""RoIAlign and NMS in plain torch, for machines without compiled mmcv or torchvision.

Average RoIAlign is separable. The sample points of one bin form a grid, and bilinear weights are a product
of a row and a column factor, so `pooled = A_y @ feature @ A_x.T` with A_y [bins, H], A_x [bins, W]: exact
for every sampling ratio, also the adaptive one (0). Only the rows and columns that a region touches enter
the product, so the cost follows the region and not the map.

Greedy NMS is the fixed point of the suppression matrix, computed block by block to bound memory.

Suffix legend: B images, R regions, C channels, H W feature map, P bins, G sample points a bin, N boxes.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from wsis.errors import InputError, NonFiniteError

_MAX_POINTS = 4_000_000  # sample points of one chunk of regions
_BLOCK = 512  # boxes of one block of NMS


def roi_align_forward(
    features: Tensor,
    rois: Tensor,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Average RoIAlign: [B, C, H, W] and rois [R, 5] (image, x1, y1, x2, y2) -> [R, C, P_y, P_x].

    Raises:
        InputError: an image index outside 0..B-1.
        NonFiniteError: a coordinate is NaN or infinite: the network has diverged.
    """
    channels, width = features.shape[1], features.shape[3]
    pooled = torch.empty(len(rois), *output_size, channels, dtype=torch.float32, device=features.device)
    rows_of = features.detach().float().permute(0, 2, 3, 1).contiguous()
    for r, image, (ys, a_y), (xs, a_x) in _regions(
        rois, features.shape, output_size, spatial_scale, sampling_ratio, aligned
    ):
        window = rows_of[image, ys]
        if xs.stop - xs.start < width and (xs.stop - xs.start) * 2 < width:
            window = window[:, xs]
            columns = a_x[:, xs]
        else:
            columns = a_x
        by_row = (a_y[:, ys] @ window.reshape(window.shape[0], -1)).view(len(a_y), -1, channels)
        torch.matmul(columns, by_row, out=pooled[r])
    return pooled.permute(0, 3, 1, 2).to(features.dtype)


def roi_align_backward(
    grad_pooled: Tensor,
    rois: Tensor,
    feature_shape: torch.Size | tuple[int, ...],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Gradient [B, C, H, W] of the features for grad_pooled [R, C, P_y, P_x]."""
    images, channels, height, width = feature_shape
    output_size = (grad_pooled.shape[2], grad_pooled.shape[3])
    grad = torch.zeros(images, height, width, channels, dtype=torch.float32, device=grad_pooled.device)
    grad_rows = grad_pooled.float().permute(0, 2, 3, 1).contiguous()
    for r, image, (ys, a_y), (xs, a_x) in _regions(
        rois, tuple(feature_shape), output_size, spatial_scale, sampling_ratio, aligned
    ):
        by_column = torch.matmul(a_x[:, xs].T, grad_rows[r])  # [P_y, w, C]
        window = a_y[:, ys].T @ by_column.view(len(a_y), -1)
        grad[image, ys, xs] += window.view(ys.stop - ys.start, xs.stop - xs.start, channels)
    return grad.permute(0, 3, 1, 2).to(grad_pooled.dtype)


Axis = tuple[slice, Tensor]


def _regions(
    rois: Tensor,
    feature_shape: torch.Size | tuple[int, ...],
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Iterator[tuple[int, int, Axis, Axis]]:
    """Per region: its number, its image, and for each axis the touched slice and the weights [P, length]."""
    _check_rois(rois, feature_shape[0])
    if not len(rois):
        return
    corners = rois[:, 1:].double() * spatial_scale - (0.5 if aligned else 0.0)
    start, extent = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not aligned:
        extent = extent.clamp(min=1.0)
    images = rois[:, 0].long().tolist()
    for first, last in _chunks(extent, output_size, sampling_ratio):
        chunk = slice(first, last)
        x_slices, a_x = _axis(
            start[chunk, 0], extent[chunk, 0], output_size[1], feature_shape[3], sampling_ratio
        )
        y_slices, a_y = _axis(
            start[chunk, 1], extent[chunk, 1], output_size[0], feature_shape[2], sampling_ratio
        )
        for i in range(last - first):
            yield first + i, images[first + i], (y_slices[i], a_y[i]), (x_slices[i], a_x[i])


def _check_rois(rois: Tensor, images: int) -> None:
    if rois.ndim != 2 or rois.shape[1] != 5:
        raise InputError(f"rois: expected [R, 5] (image, x1, y1, x2, y2), got {tuple(rois.shape)}")
    if not torch.isfinite(rois).all():
        broken = rois[~torch.isfinite(rois).all(1)][0].tolist()
        raise NonFiniteError(f"regions of interest became non-finite: {broken}")
    if len(rois) and not (rois[:, 0].min() >= 0 and rois[:, 0].max() < images):
        raise InputError(f"rois: expected image indices 0..{images - 1}, got {rois[:, 0].unique().tolist()}")


def _chunks(extent: Tensor, output_size: tuple[int, int], sampling_ratio: int) -> Iterator[tuple[int, int]]:
    """Ranges of regions whose sample points fit in memory together."""
    bins = torch.tensor([output_size[1], output_size[0]], dtype=torch.float64, device=extent.device)
    grid = torch.full_like(extent, sampling_ratio) if sampling_ratio > 0 else (extent / bins).ceil()
    points = int((grid.clamp(min=1) * bins).max())
    step = max(1, _MAX_POINTS // max(points, 1))
    for first in range(0, len(extent), step):
        yield first, min(first + step, len(extent))


def _axis(
    start: Tensor, extent: Tensor, bins: int, length: int, sampling_ratio: int
) -> tuple[list[slice], Tensor]:
    """Weights float32 [R, P, length] of one axis, and the slice of it that each region touches."""
    size = extent / bins
    grid = torch.full_like(size, sampling_ratio) if sampling_ratio > 0 else size.ceil().clamp(min=0)
    points = torch.arange(int(grid.max().clamp(min=1)), device=start.device)
    share = (points + 0.5) / grid.clamp(min=1)[:, None]  # [R, G]
    bin_index = torch.arange(bins, device=start.device)
    at = start[:, None, None] + (bin_index[:, None] + share[:, None]) * size[:, None, None]  # [R, P, G]
    counts = (points < grid[:, None])[:, None] & (at >= -1) & (at <= length)
    at = at.clamp(0, length - 1)
    low = at.long().clamp(max=length - 1)
    high = (low + 1).clamp(max=length - 1)
    fraction = at - low
    weight = counts / grid.clamp(min=1)[:, None, None]
    axis = torch.zeros(len(start), bins, length, dtype=torch.float64, device=start.device)
    axis.scatter_add_(2, low, weight * (1 - fraction))
    axis.scatter_add_(2, high, weight * fraction)
    return _touched(axis), axis.float()


def _touched(axis: Tensor) -> list[slice]:
    """First to last non-zero column of each region's weights (one column where there is none)."""
    used = (axis != 0).any(dim=1).long()
    length = used.shape[1]
    first = used.argmax(dim=1)
    last = length - used.flip(1).argmax(dim=1)
    last = torch.where(used.any(dim=1), last, first + 1)
    return [slice(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True)]


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy NMS of boxes [N, 4]: int64 indices of the kept, best score first (ties: lower index first).

    Args:
        offset: 1 if x2, y2 are the last pixel of the box, 0 if they are exclusive.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    ranked = boxes.detach().float()[order]
    kept: list[Tensor] = []
    survivors = ranked.new_zeros(0, 4)
    for start in range(0, len(ranked), _BLOCK):
        block = ranked[start : start + _BLOCK]
        free = ~(_overlaps(survivors, block, offset) > iou_threshold).any(dim=0)
        suppresses = (_overlaps(block, block, offset) > iou_threshold).triu(1)
        keep = _fixed_point(suppresses, free)
        kept.append(order[start : start + _BLOCK][keep])
        survivors = torch.cat([survivors, block[keep]])
    return torch.cat(kept) if kept else order


def _fixed_point(suppresses: Tensor, free: Tensor) -> Tensor:
    """keep = free and not suppressed by a kept one; the matrix is triangular, so this ends."""
    matrix = suppresses.float()
    keep = free
    while True:
        after = free & ~((keep.float() @ matrix) > 0)
        if torch.equal(after, keep):
            return keep
        keep = after


def _overlaps(a: Tensor, b: Tensor, offset: int) -> Tensor:
    """IoU [len(a), len(b)]; 0 where both boxes have no area."""
    left, top, right, bottom = a.T[:, :, None]
    # axis by axis: a last dimension of two is not vectorised
    width = torch.minimum(right, b[:, 2]).sub_(torch.maximum(left, b[:, 0])).add_(offset).clamp_(min=0)
    height = torch.minimum(bottom, b[:, 3]).sub_(torch.maximum(top, b[:, 1])).add_(offset).clamp_(min=0)
    common = width.mul_(height)
    area_a, area_b = (a[:, 2:] - a[:, :2] + offset).prod(1), (b[:, 2:] - b[:, :2] + offset).prod(1)
    union = area_a[:, None] + area_b[None] - common
    return torch.where(union == 0, torch.zeros_like(common), common / union)
