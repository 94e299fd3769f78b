"""Cuts of a box's inside from its outside by colour and contour.

A field x in [0, 1] spreads from outside of the box (x = 0) and from its core (x near 1). It flows where there is no
contour and no step of colour, and is drawn towards what colour and place say (Grady, "Random Walks for Image
Segmentation", PAMI 2006, with priors). Its levels are the candidates.
Suffix legend: h w working size, g the grid of one crop, N boxes, b colour bins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

from wsis.method.proposals.boxes.colours import BINS, bins_of, histogram, log_odds
from wsis.method.proposals.boxes.crop import Crop, IntBox, inscribed

FloatMap = NDArray[np.floating]
_CORE = 0.12  # of the ellipse's field: surely inside
_CONTOUR, _STEP, _LEAK = 12.0, 0.25, 3e-4  # exponents of contour and colour step; least conductance
# (weights of the local colour, of the image's colours of the class and of the place; pull towards what they say)
_FIELDS = ((0.7, 0.5, 1.0, 0.001), (0.7, 0.5, 1.0, 0.004), (0.5, 0.3, 1.5, 0.015))
_TIGHT_LEVELS = (
    0.5,
    0.4,
    0.6,
    0.3,
    0.7,
    0.2,
)  # that which fits the box best, the first unless one is clearly better
_CLEARLY = 0.05
_LEVELS = ((0.5, 0.7), (0.5, 0.7), ())  # of each field, beside that
_SMALL_PART = 0.1  # parts below this share of the largest are dropped


@dataclass(frozen=True)
class ColourContext:
    """What an image's colours say of its boxes.

    Attributes:
        lab: float32 [h, w, 3].
        contour: strength in [0, 1], float32 [h, w].
        cover: how many boxes cover a pixel, int [h, w].
        class_odds: class -> log odds of each colour [b], all boxes of the class against what lies in no box.
    """

    lab: NDArray[np.float32]
    contour: NDArray[np.float32]
    cover: NDArray[np.int64]
    class_odds: dict[int, NDArray[np.float64]]


def colour_context(
    lab: NDArray[np.float32],
    contour: NDArray[np.float32],
    boxes: Sequence[IntBox],
    labels: NDArray[np.integer],
) -> ColourContext:
    """The context of an image's boxes (working pixels) with their classes [N]."""
    bins, cover = bins_of(lab), np.zeros(lab.shape[:2], np.int64)
    found: dict[int, NDArray[np.float64]] = {}
    for (x1, y1, x2, y2), label in zip(boxes, labels.tolist(), strict=True):
        cover[y1:y2, x1:x2] += 1
        core = inscribed(y2 - y1, x2 - x1)
        one = histogram(bins[y1:y2, x1:x2], core / core.sum())
        found[label] = found.get(label, np.zeros(BINS)) + one
    outside = histogram(bins, cover == 0)
    nothing = np.zeros(BINS)
    odds = {label: log_odds(one, outside) if outside.any() else nothing for label, one in found.items()}
    return ColourContext(lab, contour, cover, odds)


def cut_box(crop: Crop, label: int, context: ColourContext) -> list[NDArray[np.bool_]]:
    """Masks of a box, bool [y2 - y1, x2 - x1], the likeliest first; empty ones are left out."""
    inside, ellipse = crop.inside(), crop.ellipse()
    lab, contour = crop(context.lab), crop(context.contour)
    others = _others(crop, context.cover)
    place = np.clip(3 * (1 - ellipse), -6.9, 6.9)
    bins = bins_of(lab)
    local = _local_odds(bins, inside, others, ellipse)[bins]
    of_class = context.class_odds[label][bins]
    weights = _conductances(lab, contour)
    core = inside & (ellipse < _CORE)
    core.ravel()[int(ellipse.argmin())] = True
    masks: list[NDArray[np.bool_]] = []
    for (by_local, by_class, by_place, pull), levels in zip(_FIELDS, _LEVELS, strict=True):
        odds = by_local * local + by_class * of_class + by_place * place
        field = _field(odds, pull, weights, inside, core)
        masks.append(_tight_level(field, inside, crop))
        masks += [_solid((field > level) & inside) for level in levels]
    return [mask for mask in map(crop.in_box, masks) if mask.any()]


def _others(crop: Crop, cover: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Grid pixels that other boxes cover."""
    x1, y1, x2, y2 = crop.box
    rest = cover.astype(np.float32)
    rest[y1:y2, x1:x2] -= 1
    return crop(rest) > 0.5


def _local_odds(
    bins: NDArray[np.int64], inside: NDArray[np.bool_], others: NDArray[np.bool_], ellipse: FloatMap
) -> NDArray[np.float64]:
    """Log odds of each colour [b], the box's own middle against its surroundings; told apart in two more rounds."""
    around = ~inside & ~others
    if not around.any():
        around = ~inside if not inside.all() else ellipse > 1
    corners = inside & (ellipse > 1.3)  # of the box, seldom of the object
    outside = histogram(bins, around + 0.5 * corners)
    own = np.where(inside, np.clip(1.3 - ellipse, 0, 1), 0) * np.where(others, 0.3, 1)
    odds = log_odds(histogram(bins, own), outside)
    for _ in range(2):
        odds = log_odds(histogram(bins, own * (0.2 + 1 / (1 + np.exp(-odds[bins])))), outside)
    return odds


def _conductances(lab: NDArray[np.float32], contour: NDArray[np.float32]) -> tuple[FloatMap, FloatMap]:
    """How easily the field flows to the right [g, g - 1] and down [g - 1, g]."""
    steps = [(np.diff(lab, axis=axis) ** 2).sum(-1) for axis in (1, 0)]
    usual = 2 * max(float(np.mean(np.concatenate([step.ravel() for step in steps]))), 1.0)
    walls = np.maximum(contour[:, 1:], contour[:, :-1]), np.maximum(contour[1:], contour[:-1])
    across, down = (
        np.exp(-_CONTOUR * wall - _STEP * step / usual) + _LEAK
        for wall, step in zip(walls, steps, strict=True)
    )
    return across, down


def _field(
    odds: FloatMap,
    pull: float,
    weights: tuple[FloatMap, FloatMap],
    inside: NDArray[np.bool_],
    core: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """x [g, g] that minimises sum w_ij (x_i - x_j)^2 + sum l_i (x_i - u_i)^2 with x = 0 outside of the box."""
    wanted = 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
    pulls = pull * (0.1 + np.abs(2 * wanted - 1))
    pulls = np.where(core, np.maximum(pulls, 0.05), pulls)
    wanted = np.where(core, np.maximum(wanted, 0.8), wanted)
    count, index = inside.size, np.arange(inside.size).reshape(inside.shape)
    one = np.concatenate([index[:, :-1].ravel(), index[:-1].ravel()])
    other = np.concatenate([index[:, 1:].ravel(), index[1:].ravel()])
    weight = np.concatenate([part.ravel() for part in weights]).astype(np.float64)
    degree = np.bincount(one, weight, count) + np.bincount(other, weight, count) + pulls.ravel()
    rows = np.concatenate([np.arange(count), one, other])
    columns = np.concatenate([np.arange(count), other, one])
    matrix = sparse.csc_array((np.concatenate([degree, -weight, -weight]), (rows, columns)), (count, count))
    free = np.flatnonzero(inside)
    field = np.zeros(count)
    right = (pulls * wanted).ravel()[free]
    field[free] = spsolve(matrix[free][:, free], right, permc_spec="MMD_AT_PLUS_A")
    return field.reshape(inside.shape)


def _tight_level(field: FloatMap, inside: NDArray[np.bool_], crop: Crop) -> NDArray[np.bool_]:
    """The level set whose box fills the annotated one best."""
    x1, y1, x2, y2 = crop.on_grid()
    best, result = -1.0, inside
    for level in _TIGHT_LEVELS:
        mask = _solid((field > level) & inside)
        fit = extent(mask) / max((x2 - x1) * (y2 - y1), 1.0)
        if fit > best + (_CLEARLY if best >= 0 else 0):
            best, result = fit, mask
    return result


def extent(mask: NDArray[np.bool_]) -> int:
    """Pixels of the tight box of a mask; 0 where it is empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int((columns[-1] + 1 - columns[0]) * (rows[-1] + 1 - rows[0])) if len(rows) else 0


def _solid(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without small parts and without holes."""
    parts, count = ndimage.label(mask)
    if count == 0:
        return mask
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    kept: NDArray[np.bool_] = ndimage.binary_fill_holes((areas >= _SMALL_PART * areas.max())[parts] & mask)
    return kept
