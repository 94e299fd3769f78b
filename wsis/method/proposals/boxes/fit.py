"""How well masks stand for a box before anything is learned.

Suffix legend: h w working size, M masks of one box, b coarse colour bins.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsis.method.proposals.boxes.colours import coarse
from wsis.method.proposals.boxes.crop import Crop
from wsis.method.proposals.boxes.cuts import ColourContext, extent

_NOTHING = 0.1  # contour or contrast that halves what none at all would leave


def fit_of_masks(
    masks: Sequence[NDArray[np.bool_]], crop: Crop, context: ColourContext
) -> NDArray[np.float64]:
    """Fit of a box's masks (bool [y2 - y1, x2 - x1], none empty), float64 [M] in (0, 1], 1 for the best.

    The product of: the mean IoU with all of them (those made in different ways agree where they are right), the share
    of the box that their extent fills, the squared mean contour along the perimeter, and the root of the colour
    contrast to the surroundings.
    """
    dense = np.stack([mask.ravel() for mask in masks]).astype(np.float32)
    common, areas = dense @ dense.T, dense.sum(axis=1)
    agreement = (common / (areas[:, None] + areas - common)).mean(axis=1)
    extents = np.array([extent(mask) for mask in masks]) / masks[0].size
    contour = np.array([_mean_contour(mask, crop, context.contour) for mask in masks])
    contrast = _contrasts(masks, crop, context)
    fit = agreement * extents * (_NOTHING + contour) ** 2 * (_NOTHING + contrast) ** 0.5
    result: NDArray[np.float64] = fit / fit.max()
    return result


def _mean_contour(mask: NDArray[np.bool_], crop: Crop, contour: NDArray[np.float32]) -> float:
    """Mean contour over the pairs of neighbouring pixels of the image of which one is in the mask; 0 without any."""
    (x1, y1, x2, y2), (height, width) = crop.box, contour.shape
    top, left = min(1, y1), min(1, x1)
    bottom, right = min(1, height - y2), min(1, width - x2)
    whole = np.pad(mask, ((top, bottom), (left, right)))
    part = contour[y1 - top : y2 + bottom, x1 - left : x2 + right]
    total, count = 0.0, 0
    for axis in (0, 1):
        one, other = (np.take(part, range(start, part.shape[axis] - 1 + start), axis) for start in (0, 1))
        cut = np.diff(whole, axis=axis)
        total += float(((one + other) / 2)[cut].sum(dtype=np.float64))
        count += int(cut.sum())
    return total / count if count else 0.0


def _contrasts(masks: Sequence[NDArray[np.bool_]], crop: Crop, context: ColourContext) -> NDArray[np.float64]:
    """1 - overlap (Bhattacharyya) of the colours of each mask and those of the rest of the window, [M] in [0, 1]."""
    left, top, right, bottom = crop.window
    x1, y1, x2, y2 = crop.box
    bins, count = coarse(context.lab[top:bottom, left:right])
    every = np.bincount(bins.ravel(), minlength=count).astype(np.float64)
    inside = bins[y1 - top : y2 - top, x1 - left : x2 - left]
    result = np.zeros(len(masks))
    for index, mask in enumerate(masks):
        own = np.bincount(inside[mask], minlength=count)
        rest = every - own
        result[index] = 1 - np.sqrt(own / max(own.sum(), 1) * rest / max(rest.sum(), 1)).sum()
    return np.clip(result, 0, 1)
