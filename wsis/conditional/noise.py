"""Noise z^k ~ U(0, 1) of the conditional network (paper 3.2, appendix C.1).

Suffix legend: K samples, g cells of the noise grid a side, H W size of the feature map.
"""

import torch
from torch import Tensor
from torch.nn import functional

from wsis.errors import InputError


def noise_maps(
    samples: int,
    size: tuple[int, int],
    *,
    grid: int = 4,
    zero: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return K noise maps, float32 [K, H, W] in [0, 1].

    Noise drawn for each pixel by itself averages out over a proposal (its mean over n pixels has a standard
    deviation of 0.29 / sqrt(n)), and then all K samples are equal. A coarse grid of U(0, 1) values, upsampled
    bilinearly, differs between regions of the size of an object.

    Args:
        samples: K >= 1.
        size: (H, W) of the feature map.
        grid: cells a side; 0 = independent noise at every pixel (the paper's letter).
        zero: all-zero noise (the pointwise PW_c of Table 3).
        generator: CPU generator; the same state gives the same maps.

    Raises:
        InputError: samples < 1, grid < 0 or an empty size.
    """
    if samples < 1 or grid < 0 or min(size) < 1:
        raise InputError(
            f"noise_maps: need samples >= 1, grid >= 0, size >= 1, got {samples}, {grid}, {size}"
        )
    if zero:
        return torch.zeros(samples, *size)
    if grid == 0:
        return torch.rand(samples, *size, generator=generator)
    coarse = torch.rand(samples, 1, grid, grid, generator=generator)
    return functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)[:, 0]
