"""Noise of the conditional distribution: z^k ~ U(0, 1) of the network (paper 3.2, appendix C.1), and of its scores.

Suffix legend: K samples, g cells of the noise grid a side, H W size of the feature map, P proposals, J score columns.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from wsis.errors import InputError

_EULER = 0.5772156649015329  # mean of the standard Gumbel distribution


@dataclass(frozen=True)
class Noise:
    """What makes the K samples of one image differ.

    Attributes:
        cells: float [K, g, g] or [K, h, w], z^k, an input of the network once `upsampled` to the feature map. A device
            does that itself: maps are most of what an image would take to it.
        scores: float [K, P, J], added to its refined scores before inference; None: nothing.
    """

    cells: Tensor
    scores: Tensor | None = None


def noise_cells(
    samples: int,
    size: tuple[int, int],
    *,
    grid: int = 4,
    zero: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return the cells of K noise maps, float32 [K, g, g] or [K, H, W] in [0, 1].

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
            f"noise_cells: need samples >= 1, grid >= 0, size >= 1, got {samples}, {grid}, {size}"
        )
    if zero:
        return torch.zeros(samples, *size)
    if grid == 0:
        return torch.rand(samples, *size, generator=generator)
    return torch.rand(samples, grid, grid, generator=generator)


def upsampled(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Noise maps float [K, H, W] of cells float [K, g, g], bilinearly; maps are kept."""
    if cells.shape[1:] == size:
        return cells
    return functional.interpolate(cells[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def score_noise(
    shape: tuple[int, int, int], scale: float, generator: torch.Generator | None = None
) -> Tensor:
    """Return Gumbel noise of mean 0 for the scores of K samples, float32 [K, P, J]; 0 for the background, column 0.

    The argmax of scores with Gumbel noise of scale s is a draw from softmax(scores / s) (Papandreou and Yuille,
    "Perturb-and-MAP random fields", ICCV 2011). Unlike z^k, which passes through weights that learn, it has a size of
    its own that scores must rise above.

    Args:
        shape: (K, P, J).
        scale: at least 0.
        generator: CPU generator; the same state gives the same noise.

    Raises:
        InputError: scale < 0.
    """
    if scale < 0:
        raise InputError(f"score_noise: expected scale >= 0, got {scale}")
    waiting = torch.empty(shape).exponential_(generator=generator).clamp(min=torch.finfo(torch.float32).tiny)
    noise = scale * (-torch.log(waiting) - _EULER)
    noise[..., 0] = 0.0
    return noise
