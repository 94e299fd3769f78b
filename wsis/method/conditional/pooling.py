"""Pooling of features over proposals through superpixels (paper 3.2, C.1; method: all linear after the ReLU).

The paper multiplies the feature map by every proposal's mask, applies a 1x1 convolution and averages over the
image. After the ReLU all of it is linear, so the score of a proposal is a sum over its superpixels:
`membership @ segment_sums / (H * W)`, equal to the dense product.
Suffix legend: P proposals, S superpixels, H W size of the superpixel map, h w size of the feature map, D columns.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from wsis.errors import InputError
from wsis.method.transfers import coalesced

Pooling = Literal["image", "root"]


def pool_matrix(superpixels: np.ndarray, feature_size: tuple[int, int], num_superpixels: int) -> Tensor:
    """Return the sparse matrix that sums an upsampled feature map over superpixels.

    Row s holds, for every feature cell, the total weight that the pixels of superpixel s give it when the map is
    upsampled bilinearly (align_corners=False) to the superpixel map: `matrix @ map.reshape(h*w, D)` equals
    upsampling to [H, W] and summing inside each superpixel, without ever upsampling.

    Args:
        superpixels: int [H, W], ids 0..S-1.
        feature_size: (h, w).
        num_superpixels: S.

    Returns:
        Sparse COO float32 [S, h*w], coalesced; row sums are the superpixels' areas.
    """
    if feature_size == superpixels.shape:  # nothing is upsampled: one entry a pixel
        few = num_superpixels <= 1 << 16  # 16 bits are sorted by counting
        order = np.argsort(superpixels.astype(np.uint16) if few else superpixels, axis=None, kind="stable")
        indices = torch.from_numpy(np.stack([superpixels.ravel()[order], order], dtype=np.int64))
        return coalesced(indices, torch.ones(order.size), (num_superpixels, order.size))
    height, width = feature_size
    cells = height * width
    (top, top_weight), (_, bottom_weight) = _axis_weights(superpixels.shape[0], height)
    (left, left_weight), (_, right_weight) = _axis_weights(superpixels.shape[1], width)
    groups, member = _groups(superpixels, top[:, None] * width + left, cells)
    segment, corner = np.divmod(groups, cells)
    row, column = np.divmod(corner, width)
    weights, keys = [], []
    below, beside = np.minimum(row + 1, height - 1), np.minimum(column + 1, width - 1)
    for y, y_weight in ((row, top_weight), (below, bottom_weight)):
        for x, x_weight in ((column, left_weight), (beside, right_weight)):
            weights.append(np.bincount(member, (y_weight[:, None] * x_weight).ravel(), len(groups)))
            keys.append(segment * cells + y * width + x)
    key, value = _summed(np.concatenate(keys), np.concatenate(weights))
    entries = torch.from_numpy(np.stack(np.divmod(key, cells)))
    return coalesced(entries, torch.from_numpy(value.astype(np.float32)), (num_superpixels, cells))


def _groups(superpixels: np.ndarray, corners: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of one superpixel between the same four cells are one group: far fewer entries to sort than pixels.

    Those beside one another in a row mostly are, so that groups are looked up once for each run of them.

    Args:
        superpixels: int [H, W].
        corners: int [H, W], the cell left above each pixel.
        cells: how many there are.

    Returns:
        `superpixel * cells + corner` of each group int64 [G], ascending, and the group of each pixel int64 [H * W].
    """
    group = superpixels.astype(np.int64)
    group *= cells
    group += corners
    group = group.ravel()
    starts = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
    groups, place = np.unique(group[starts], return_inverse=True)
    return groups, np.repeat(place, np.diff(starts, append=len(group)))


def _summed(keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keys in order, each once, with the sum of its values; without those of sum 0. Four ascending rows of keys, one
    behind the other, are merged rather than sorted."""
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], values[order]
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    sums, keys = np.add.reduceat(values, first), keys[first]
    return keys[sums != 0], sums[sums != 0]


def _axis_weights(target: int, source: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Two (index, weight) pairs per target pixel of 1-D bilinear interpolation, as torch's interpolate does."""
    position = np.maximum((np.arange(target) + 0.5) * (source / target) - 0.5, 0.0)
    lower = np.minimum(position.astype(np.int64), source - 1)
    upper = np.minimum(lower + 1, source - 1)
    fraction = position - lower
    return [(lower, 1.0 - fraction), (upper, fraction)]


def segment_sums(matrix: Tensor, features: Tensor) -> Tensor:
    """Sum feature maps over superpixels: sparse [S, h*w] times float [D, h, w] -> float [S, D]; differentiable."""
    flat = features.flatten(1)
    if flat.shape[1] != matrix.shape[1]:
        raise InputError(f"features: expected {matrix.shape[1]} cells, got {tuple(features.shape)}")
    return torch.sparse.mm(matrix.to(flat.dtype), flat.T)


def pool_proposals(
    sums: Tensor, membership: Tensor, areas: Tensor, num_pixels: int, pooling: Pooling = "image"
) -> Tensor:
    """Average features over proposals.

    Args:
        sums: float [S, D], sums over superpixels.
        membership: bool or float [P, S].
        areas: float [P] in pixels.
        num_pixels: H * W.
        pooling: `image` divides by H*W (global average pooling of the masked map, the paper's), `root` by
            sqrt(|r| * H*W), the geometric mean of that and the proposal's own area.

    Returns:
        float [P, D].
    """
    total = membership.to(sums.dtype) @ sums
    if pooling == "image":
        return total / num_pixels
    return total / (areas.to(sums.dtype)[:, None] * num_pixels).sqrt()
