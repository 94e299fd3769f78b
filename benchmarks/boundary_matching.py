"""Thin contours and their one-to-one matching to drawn boundaries, as in the BSDS benchmark.

Suffix legend: H W image, N predicted pixels, M annotated pixels, D steps of a disc.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsis.errors import InputError

# Neighbours of a pixel as (row, column) steps, counter-clockwise from the east: bit k of a neighbourhood code.
_RING = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


def check_contour(contour: NDArray[np.floating], where: str = "contour") -> NDArray[np.float32]:
    """A contour map as float32 [H, W].

    Raises:
        InputError: not floating [H, W] with H, W >= 1, or with values that are not finite or outside [0, 1].
    """
    if contour.ndim != 2 or contour.size == 0 or not np.issubdtype(contour.dtype, np.floating):
        raise InputError(f"{where}: expected floating [H, W], got {contour.dtype} {contour.shape}")
    if not (contour.min() >= 0 and contour.max() <= 1):  # written so that NaN fails too
        raise InputError(f"{where}: expected values in [0, 1], got {contour.min()} .. {contour.max()}")
    return contour.astype(np.float32, copy=False)


def _smooth_triangle(contour: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """Separable triangle filter of ``2 * radius + 1`` taps, mirrored at the border."""
    taps = np.concatenate([np.arange(1, radius + 2), np.arange(radius, 0, -1)]).astype(np.float32)
    taps /= taps.sum()
    rows = ndimage.convolve1d(contour, taps, axis=0, mode="reflect")
    return ndimage.convolve1d(rows, taps, axis=1, mode="reflect")


def _gradient(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Central differences, one-sided at the border; zero along an axis of length 1."""
    return np.zeros_like(values) if values.shape[axis] < 2 else np.gradient(values, axis=axis)


def normal_angle(contour: NDArray[np.float32]) -> NDArray[np.float32]:
    """Angle in [0, pi) across the contour at each pixel, float32 [H, W], x right and y down.

    From second derivatives of the map under a triangle filter of radius 4, in the approximation of
    Dollár's structured forests (exact along the axes and the diagonals).
    """
    smooth = _smooth_triangle(contour, 4)
    dx, dy = _gradient(smooth, 1), _gradient(smooth, 0)
    dxx, dxy, dyy = _gradient(dx, 1), _gradient(dy, 1), _gradient(dy, 0)
    sign = np.where(dxy > 0, np.float32(-1), np.float32(1))  # 1 at 0, where a horizontal line is exact
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = dyy * sign / (dxx + np.float32(1e-5))  # infinite: an angle of pi / 2
    return np.mod(np.arctan(np.nan_to_num(slope, nan=0.0)), np.float32(np.pi))


def thin(contour: NDArray[np.floating], border: int = 5, leniency: float = 1.01) -> NDArray[np.float32]:
    """Non-maximum suppression along the normal of the contour (``edgesNms`` of Dollár and Zitnick, 2015).

    A pixel is kept if, times ``leniency``, it is not below the bilinear samples one pixel away on both sides.

    Args:
        contour: strength in [0, 1], floating [H, W].
        border: pixels nearer than this to the image border are weakened linearly, to 0 on the border itself.
    Returns: float32 [H, W], the strength where kept and 0 elsewhere.
    Raises:
        InputError: see :func:`check_contour`.
    """
    strength = check_contour(contour)
    height, width = strength.shape
    angle = normal_angle(strength)
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    kept = strength.copy()
    for side in (-1, 1):
        x, y = columns + side * np.cos(angle), rows + side * np.sin(angle)
        beside = ndimage.map_coordinates(strength, [y, x], order=1, mode="nearest")
        kept[strength * np.float32(leniency) < beside] = 0
    for axis, length in enumerate((height, width)):
        reach = min(border, length // 2)
        if reach:
            distance = np.minimum(np.arange(length), np.arange(length)[::-1])
            weight = np.minimum(distance / reach, 1).astype(np.float32)
            kept *= np.expand_dims(weight, 1 - axis)
    return kept


def _thinning_tables() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For the two half-steps of :func:`thin_binary`: which of the 256 neighbourhoods lose their centre."""
    ring = ((np.arange(256)[:, None] >> np.arange(8)) & 1).astype(bool)  # [256, 8], east first
    after = np.roll(ring, -1, axis=1)
    # A crossing is a side neighbour that is off, followed by a corner or side that is on.
    crossings = (~ring[:, 0::2] & (ring[:, 1::2] | np.roll(ring[:, 0::2], -1, axis=1))).sum(axis=1)
    pairs = ring | after
    fewest = np.minimum(pairs[:, 0::2].sum(axis=1), pairs[:, 1::2].sum(axis=1))
    removable = (crossings == 1) & (fewest >= 2) & (fewest <= 3)
    east, north_east, north, north_west, west, south_west, south, south_east = ring.T
    return (
        removable & ~((north_east | north | ~south_east) & east),
        removable & ~((south_west | south | ~north_west) & west),
    )


_LOSES_CENTRE = _thinning_tables()


def thin_binary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Thin bool [H, W] to lines of one pixel that keep the topology, until nothing changes.

    The parallel algorithm of Lam, Lee and Suen (1992), which is MATLAB's ``bwmorph(mask, 'thin', Inf)``;
    outside the image counts as off.
    """
    padded = np.pad(mask.astype(bool), 1).view(np.uint8)
    flat, width = padded.reshape(-1), padded.shape[1]
    steps = [row * width + column for row, column in _RING]
    on = np.flatnonzero(flat)
    changed = True
    while changed:
        before = len(on)
        for loses_centre in _LOSES_CENTRE:
            code = np.zeros(len(on), np.uint8)
            for bit, step in enumerate(steps):
                code |= flat[on + step] << np.uint8(bit)
            lost = loses_centre[code]
            flat[on[lost]] = 0
            on = on[~lost]
        changed = len(on) < before
    return padded[1:-1, 1:-1].astype(bool)


@dataclass(frozen=True)
class Disc:
    """The steps of at most ``max_distance`` pixels, nearest first, in an image padded by ``pad`` on each side.

    Attributes: steps int64 [D] in flat indices of the padded image of shape ``padded``.
    """

    padded: tuple[int, int]
    pad: int
    steps: NDArray[np.int64]

    @classmethod
    def of(cls, shape: tuple[int, int], max_distance: float) -> "Disc":
        """Disc for images of ``shape`` (H, W). Raises InputError if the distance is negative or not finite."""
        if not 0 <= max_distance < np.inf:
            raise InputError(f"max_distance: expected a finite number of pixels >= 0, got {max_distance}")
        pad = int(max_distance)
        padded = (shape[0] + 2 * pad, shape[1] + 2 * pad)
        rows, columns = np.mgrid[-pad : pad + 1, -pad : pad + 1].reshape(2, -1)
        squared = rows * rows + columns * columns
        order = np.argsort(squared, kind="stable")
        order = order[squared[order] <= max_distance * max_distance]
        return cls(padded, pad, rows[order] * padded[1] + columns[order])

    def flat(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Flat indices [M] in the padded image of the pixels of mask [H, W], in raster order."""
        rows, columns = np.nonzero(mask)
        return (rows + self.pad) * self.padded[1] + columns + self.pad

    def numbers(self, indices: NDArray[np.int64]) -> NDArray[np.int32]:
        """Padded image, flat int32: i at ``indices[i]``, -1 elsewhere."""
        found = np.full(self.padded[0] * self.padded[1], -1, np.int32)
        found[indices] = np.arange(len(indices), dtype=np.int32)
        return found


def match_numbers(
    numbers: NDArray[np.int32], num_predicted: int, annotated: NDArray[np.int64], steps: NDArray[np.int64]
) -> NDArray[np.int32]:
    """For each annotated pixel the number of its predicted partner or -1, int32 [M]; see :func:`match`.

    Nearest first, greedily; then augmenting paths from all annotated pixels left over at once (the
    multi-source search of Azad, Buluç and Pothen, 2017): trees that share no pixel grow level by level and
    each that meets a free predicted pixel swaps along its path, until a whole search meets none. By Berge's
    theorem the matching is then of maximum cardinality.

    Args:
        numbers: flat int32 padded image, n at predicted pixel n and -1 elsewhere.
        annotated: int64 [M] flat indices in the padded image.
        steps: int64 [D], see :class:`Disc`.
    """
    near = numbers[annotated[:, None] + steps]  # [M, D]
    partner = np.full(len(annotated), -1, np.int32)
    owner = np.full(num_predicted + 1, -1, np.int32)  # of predicted pixels; the last stands for "none"
    owner[-1] = 0
    free = np.flatnonzero((near >= 0).any(axis=1)).astype(np.int32)
    for step in range(near.shape[1]):  # one step pairs each pixel at most once, hence no conflicts
        candidate = near[free, step]
        taken = owner[candidate] < 0
        partner[free[taken]] = candidate[taken]
        owner[candidate[taken]] = free[taken]
        free = free[~taken]
    while len(free) and _augment(near, partner, owner, free):
        free = free[partner[free] < 0]
    return partner


def _augment(
    near: NDArray[np.int32], partner: NDArray[np.int32], owner: NDArray[np.int32], roots: NDArray[np.int32]
) -> bool:
    """Grow alternating trees from the free annotated ``roots`` and swap along one path a tree, in place.

    Returns: whether any path was found.
    """
    root = np.full(len(near), -1, np.int32)  # tree of each annotated pixel reached
    root[roots] = roots
    parent = np.full(len(owner), -1, np.int32)  # annotated pixel from which a predicted one was reached
    parent[-1] = 0
    path_end = np.full(len(near), -1, np.int32)  # by root: free predicted pixel where its path ends
    level = roots
    while len(level):
        reached = near[level]
        rows, columns = np.nonzero(parent[reached] < 0)
        pixels, sources = reached[rows, columns], level[rows]
        parent[pixels] = sources  # of several sources one stays, which is all that is needed
        first = np.flatnonzero(parent[pixels] == sources)
        pixels, sources = pixels[first], sources[first]
        owners = owner[pixels]
        ends = owners < 0
        path_end[root[sources[ends]]] = pixels[ends]
        owners, sources = owners[~ends], sources[~ends]
        root[owners] = root[sources]
        level = owners[path_end[root[owners]] < 0]  # trees with a path stop growing
    ends_at = path_end[roots]
    pixels = ends_at[ends_at >= 0]
    found = len(pixels) > 0
    while len(pixels):  # trees share no pixel, so all paths are walked back together
        sources = parent[pixels]
        following = partner[sources]
        partner[sources], owner[pixels] = pixels, sources
        pixels = following[following >= 0]
    return found


def match(
    predicted: NDArray[np.bool_], annotated: NDArray[np.bool_], max_distance: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """One-to-one matching of as many pixels as possible that lie at most ``max_distance`` apart.

    The BSDS code (``correspondPixels``) minimises the sum of distances plus an outlier cost for each pixel
    left alone, which is 100 times the tolerance: cardinality decides, hence the number of matches here is
    its number. Which of the largest matchings it takes is decided by the distances; this one prefers near
    pixels but does not minimise their sum, which can move only the union of several annotators' matches
    (precision), by a few tenths of a per cent.

    Args:
        predicted, annotated: bool [H, W], thin.
        max_distance: pixels, 0.0075 of the image diagonal in the benchmark.
    Returns: the matched pixels of each, bool [H, W].
    Raises:
        InputError: other types, two sizes, or a negative distance.
    """
    for name, mask in (("predicted", predicted), ("annotated", annotated)):
        if mask.ndim != 2 or mask.dtype != np.bool_ or mask.shape != predicted.shape:
            raise InputError(f"{name}: expected bool {predicted.shape}, got {mask.dtype} {mask.shape}")
    disc = Disc.of((predicted.shape[0], predicted.shape[1]), max_distance)
    pixels = disc.flat(predicted)
    partner = match_numbers(disc.numbers(pixels), len(pixels), disc.flat(annotated), disc.steps)
    matched = np.zeros_like(predicted), np.zeros_like(annotated)
    chosen = partner[partner >= 0]
    matched[0].reshape(-1)[np.flatnonzero(predicted)[chosen]] = True
    matched[1].reshape(-1)[np.flatnonzero(annotated)[partner >= 0]] = True
    return matched
