"""How much a colour speaks for the inside of a box: histograms in Lab, inside against outside.

Suffix legend: h w map size, b = 4096 bins.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_SIDE = 16  # bins a channel
_LOW, _HIGH = np.array([0, -60, -60], np.float32), np.array([100, 60, 60], np.float32)
_SMOOTHING = 0.7  # of histograms, in bins
_FEW = 1e-4  # share of a colour that counts as none
BINS = _SIDE**3


def bins_of(lab: NDArray[np.float32]) -> NDArray[np.int64]:
    """Bin of each pixel of a Lab map [h, w, 3], int64 [h, w]."""
    steps = np.clip((lab - _LOW) / (_HIGH - _LOW) * _SIDE, 0, _SIDE - 1).astype(np.int64)
    return (steps[..., 0] * _SIDE + steps[..., 1]) * _SIDE + steps[..., 2]


def coarse(lab: NDArray[np.float32]) -> tuple[NDArray[np.int64], int]:
    """Bins of half as many a channel for a Lab map [h, w, 3], int64 [h, w], and how many there are."""
    bins, half = bins_of(lab), _SIDE // 2
    light, a, b = bins // _SIDE**2, bins // _SIDE % _SIDE, bins % _SIDE
    return (light // 2 * half + a // 2) * half + b // 2, half**3


def histogram(bins: NDArray[np.int64], weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Weights of the pixels in each bin, float64 [b]; bins and weights [h, w]."""
    return np.bincount(bins.ravel(), weights.ravel(), BINS).astype(np.float64)


def log_odds(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of how much more a colour is of the inside's histogram than of the outside's, [b]; 0 where neither has it."""
    one, other = (_shares(part) + _FEW for part in (inside, outside))
    return np.log(one / other)


def _shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    smooth = ndimage.gaussian_filter(counts.reshape(_SIDE, _SIDE, _SIDE), _SMOOTHING).ravel()
    total = smooth.sum()
    return smooth / total if total > 0 else smooth
