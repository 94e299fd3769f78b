"""What the paper words, computed densely: the references of `benchmarks/conditional.py`.

Suffix legend: P proposals, K samples, D channels, J score columns, N neighbours, h w size of the map, n = h*w pixels.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

# Algorithm 1 read line by line is the one that the tests hold `infer` to.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from tests.method.conditional.inference_references import plain_algorithm as plain_algorithm


def masked_means(maps: Tensor, masks: Tensor, chunk: int = 16) -> Tensor:
    """Means of mask x feature map, as the paper words it: maps [K, D, n], masks [P, n] -> [K, P, D]."""
    result = maps.new_empty(len(maps), len(masks), maps.shape[1])
    for k, features in enumerate(maps):
        for start in range(0, len(masks), chunk):
            part = masks[start : start + chunk].to(maps.dtype)
            result[k, start : start + chunk] = (part[:, None] * features).mean(2)
    return result


def multiplied_means(maps: Tensor, masks: Tensor, chunk: int = 128) -> Tensor:
    """`masked_means` as matrix products."""
    result = maps.new_empty(len(maps), len(masks), maps.shape[1])
    for start in range(0, len(masks), chunk):
        part = masks[start : start + chunk].to(maps.dtype)
        for k, features in enumerate(maps):
            result[k, start : start + chunk] = part @ features.T / maps.shape[2]
    return result


def pixel_neighbours(
    masks: Tensor, contour: Tensor, max_neighbours: int, block: int = 16384
) -> tuple[Tensor, Tensor]:
    """N_u and I_uv of eq. (1)-(2) from pixels: masks bool [P, h, w], contour [h, w] -> bool and float [P, P].

    I_uv sums the contour over the pairs of 4-neighbouring pixels that separate u from v (`separation_of_pairs`).
    """
    count = len(masks)
    flat = masks.flatten(1).float()
    common = flat @ flat.T
    area = flat.sum(1)
    affinity = common / (area[:, None] + area[None] - common)
    reach = masks.clone()
    reach[:, 1:] |= masks[:, :-1]
    reach[:, :-1] |= masks[:, 1:]
    reach[:, :, 1:] |= masks[:, :, :-1]
    reach[:, :, :-1] |= masks[:, :, 1:]
    touches = (reach.flatten(1).float() @ flat.T) > 0
    affinity = torch.where(common > 0, affinity, touches.float() - 1.0)
    affinity.fill_diagonal_(-2.0)
    order = torch.sort(affinity, dim=1, descending=True, stable=True)
    listed = torch.zeros_like(touches)
    listed.scatter_(1, order.indices[:, :max_neighbours], order.values[:, :max_neighbours] >= 0)
    separation = flat.new_zeros(count, count)
    for one, other in (
        ((slice(None), slice(0, -1)), (slice(None), slice(1, None))),
        ((slice(0, -1), slice(None)), (slice(1, None), slice(None))),
    ):
        strength = ((contour[one] + contour[other]) / 2).flatten()
        first, second = masks[:, *one].flatten(1), masks[:, *other].flatten(1)
        for start in range(0, len(strength), block):
            part = slice(start, start + block)
            a, b, w = first[:, part], second[:, part], strength[part]
            both, left, right = (a & b).float(), (a & ~b).float(), (b & ~a).float()
            inner = (both * w) @ (left + right).T
            outer = (left * w) @ right.T
            separation += inner + inner.T + outer + outer.T
    return listed, separation


def dense_diffusion(
    scores: Tensor, listed: Tensor, separation: Tensor, delta: float, iterations: int
) -> Tensor:
    """The updates of `diffuse` over all P^2 pairs, one [P, P] table for each sample and class: [K, P, J]."""
    weight = torch.exp(-separation) * listed
    degree = listed.sum(1).clamp(min=1)
    for _ in range(iterations):
        updated = torch.empty_like(scores)
        for k, j in np.ndindex(scores.shape[0], scores.shape[2]):
            own = scores[k, :, j]
            difference = own[None] - own[:, None]
            flow = weight * difference * (delta / (difference.square() + delta))
            updated[k, :, j] = own + flow.sum(1) / degree
        scores = updated
    return scores
