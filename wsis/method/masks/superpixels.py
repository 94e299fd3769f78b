"""Algebra of proposals as sets of superpixels; equal to dense masks, at a fraction of their cost.

Suffix legend: H W original image, h w working size, P Q proposals, S superpixels, E edges, G masks,
D channels.

A proposal is a row of ``membership [P, S]``: the union of the superpixels whose entry is true. Areas,
intersections, boxes and integrals of a proposal are then sums (or extrema) over its superpixels.

**From the working size to the original.** Original pixel ``i`` of ``n`` takes working pixel
``((2 i + 1) * m) // (2 n)`` of ``m``: the working pixel that contains the original pixel's centre. Rows and
columns map independently and in integers, so that there is one answer on every machine. Everything in the
project that crosses the two frames goes through :func:`nearest_indices`.
"""

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError

IntArray = NDArray[np.integer]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.floating]

_EXACT_IN_FLOAT32 = 2**24  # integers up to here are exact in float32, so are sums that stay below


def _check_label_map(superpixels: np.ndarray) -> None:
    if superpixels.ndim != 2 or superpixels.size == 0 or superpixels.dtype.kind not in "iu":
        raise InputError(
            "superpixels: expected a non-empty integer map [h, w], "
            f"got shape {superpixels.shape} dtype {superpixels.dtype}"
        )


def _check_membership(membership: np.ndarray, num_superpixels: int | None = None) -> None:
    if membership.ndim != 2 or membership.dtype != np.bool_:
        raise InputError(
            f"membership: expected bool [P, S], got shape {membership.shape} dtype {membership.dtype}"
        )
    if num_superpixels is not None and membership.shape[1] != num_superpixels:
        raise InputError(
            f"membership: expected {num_superpixels} superpixels (columns), got {membership.shape[1]}"
        )


def count_superpixels(superpixels: IntArray) -> int:
    """Number of superpixels S of a map [h, w] with ids 0..S-1 (every id must occur).

    Raises InputError for a negative or an absent id.
    """
    _check_label_map(superpixels)
    low = int(superpixels.min())
    if low < 0:
        raise InputError(f"superpixels: expected ids >= 0, got {low}")
    count = int(superpixels.max()) + 1
    if count > superpixels.size:
        raise InputError(
            f"superpixels: id {count - 1} in a map of {superpixels.size} pixels leaves ids unused"
        )
    present = np.bincount(superpixels.ravel(), minlength=count)
    if (present == 0).any():
        raise InputError(f"superpixels: id {int(np.argmin(present))} of 0..{count - 1} does not occur")
    return count


# --------------------------------------------------------------------------- bits


def pack_membership(membership: BoolArray) -> NDArray[np.uint8]:
    """Membership bool [P, S] -> bits uint8 [P, ceil(S / 8)], superpixel s in bit ``s % 8`` (least first)."""
    _check_membership(membership)
    return np.packbits(membership, axis=1, bitorder="little")


def unpack_membership(bits: NDArray[np.uint8], num_superpixels: int) -> BoolArray:
    """Inverse of :func:`pack_membership`. Raises InputError if the width is not ceil(S / 8)."""
    if bits.ndim != 2 or bits.dtype != np.uint8 or bits.shape[1] != -(-num_superpixels // 8):
        raise InputError(
            f"membership bits: expected uint8 [P, {-(-num_superpixels // 8)}] for {num_superpixels} "
            f"superpixels, got shape {bits.shape} dtype {bits.dtype}"
        )
    return np.unpackbits(bits, axis=1, count=num_superpixels, bitorder="little").view(np.bool_)


# --------------------------------------------------------------------------- areas and overlaps


def superpixel_areas(superpixels: IntArray, num_superpixels: int | None = None) -> NDArray[np.int64]:
    """Pixels of each superpixel, int64 [S]."""
    _check_label_map(superpixels)
    return np.bincount(superpixels.ravel(), minlength=num_superpixels or 0)


def _exact_dtype(weights: np.ndarray) -> type[np.floating]:
    """Narrowest float type in which every sum of these weights is exact (float64 where none is promised)."""
    integral = weights.dtype.kind in "iub"
    return np.float32 if integral and int(np.abs(weights).sum()) < _EXACT_IN_FLOAT32 else np.float64


def _product(rows: FloatArray, weights: FloatArray) -> FloatArray:
    """``rows @ weights``, silent: a membership and integer areas were flagged "invalid" once, as OpenBLAS is known to
    do for finite numbers and a right product (numpy issue 24067)."""
    with np.errstate(invalid="ignore"):
        product: FloatArray = rows @ weights
    return product


def areas_of(membership: BoolArray, areas: np.ndarray) -> FloatArray:
    """Area of each proposal [P] in the unit of ``areas`` [S] (pixels, or any additive measure).

    Also takes ``areas`` [S, D]: D measures at once -> [P, D]. Exact for integers.
    """
    areas = np.asarray(areas)
    _check_membership(membership, len(areas))
    dtype = _exact_dtype(areas)
    return _product(membership.astype(dtype), areas.astype(dtype))


def intersections(membership_a: BoolArray, membership_b: BoolArray, areas: np.ndarray) -> FloatArray:
    """Common area of every pair, [P, Q], from superpixel areas [S]: one BLAS product, exact for integers."""
    areas = np.asarray(areas)
    _check_membership(membership_a, len(areas))
    _check_membership(membership_b, len(areas))
    dtype = _exact_dtype(areas)
    weighted: FloatArray = membership_a.astype(dtype) * areas.astype(dtype)
    return _product(weighted, membership_b.T.astype(dtype))


def iou_matrix(membership_a: BoolArray, membership_b: BoolArray, areas: np.ndarray) -> FloatArray:
    """Intersection over union of every pair, [P, Q] in [0, 1]; 0 where both are empty.

    >>> left, both = np.array([[True, False]]), np.array([[True, True]])
    >>> iou_matrix(left, both, areas=np.array([30, 10]))
    array([[0.75]], dtype=float32)
    """
    common = intersections(membership_a, membership_b, areas)
    union = areas_of(membership_a, areas)[:, None] + areas_of(membership_b, areas)[None, :] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


# --------------------------------------------------------------------------- frames, masks, boxes


def nearest_indices(target: int, source: int) -> NDArray[np.intp]:
    """Source index of each of ``target`` pixels along one axis: ``((2 i + 1) * source) // (2 * target)``."""
    if target < 1 or source < 1:
        raise InputError(f"sizes: expected >= 1 pixel, got {source} -> {target}")
    return ((2 * np.arange(target, dtype=np.int64) + 1) * source) // (2 * target)


def resize_nearest(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Map [h, w, ...] -> [H, W, ...] by the nearest-neighbour rule of this module (a copy).

    >>> resize_nearest(np.array([[1, 2, 3]]), (1, 5))
    array([[1, 1, 2, 3, 3]])
    """
    rows, columns = nearest_indices(size[0], image.shape[0]), nearest_indices(size[1], image.shape[1])
    return image[rows[:, None], columns[None, :]]


def proposal_masks(superpixels: IntArray, membership: BoolArray, size: tuple[int, int]) -> BoolArray:
    """Dense masks bool [P, H, W] of the given rows of membership [P, S] at the original ``size`` (H, W)."""
    _check_label_map(superpixels)
    _check_membership(membership)
    if int(superpixels.max()) >= membership.shape[1]:
        raise InputError(
            f"superpixels: expected ids below {membership.shape[1]} (membership), got {superpixels.max()}"
        )
    labels = superpixels if superpixels.shape == tuple(size) else resize_nearest(superpixels, size)
    return np.take(membership, labels, axis=1)


def superpixel_boxes(superpixels: IntArray) -> NDArray[np.int64]:
    """Tight boxes of the superpixels, int64 [S, 4] xyxy (x2, y2 exclusive), working pixels.

    An absent id gets the empty box (w, h, 0, 0), neutral in a union of boxes.
    """
    _check_label_map(superpixels)
    count = int(superpixels.max()) + 1
    x1, x2 = _extent(superpixels, count)
    y1, y2 = _extent(superpixels.T, count)
    return np.stack([x1, y1, x2, y2], axis=1)


def _extent(labels: IntArray, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First column and last column + 1 of each id: assigning columns in order leaves the last one written."""
    size = labels.shape[1]
    by_column = labels.T.ravel()
    column = np.repeat(np.arange(size, dtype=np.int64), labels.shape[0])
    last = np.zeros(count, np.int64)
    last[by_column] = column + 1
    first = np.full(count, size, np.int64)
    first[by_column[::-1]] = column[::-1]
    return first, last


def boxes_of(membership: BoolArray, boxes: IntArray) -> NDArray[np.int64]:
    """Tight boxes [P, 4] xyxy of proposals from the boxes [S, 4] of their superpixels, working pixels.

    A proposal without superpixels gets (0, 0, 0, 0).
    """
    _check_membership(membership, len(boxes))
    result = np.zeros((len(membership), 4), np.int64)
    for axis, sign in ((0, 1), (1, 1), (2, -1), (3, -1)):
        # In order of the coordinate the first member is the extremum: argmax stops at the first true.
        order = np.argsort(sign * boxes[:, axis], kind="stable")
        result[:, axis] = boxes[order[membership[:, order].argmax(axis=1)], axis]
    result[~membership.any(axis=1)] = 0
    return result


def boxes_to_image(boxes: IntArray, working: tuple[int, int], size: tuple[int, int]) -> NDArray[np.float32]:
    """Working boxes [P, 4] xyxy -> float32 original pixels: the tight boxes of the masks that
    :func:`proposal_masks` gives (an empty box where upsampling is not onto, i.e. size < working)."""
    rows, columns = nearest_indices(size[0], working[0]), nearest_indices(size[1], working[1])
    mapped = np.empty(boxes.shape, np.float32)
    mapped[:, 0::2] = np.searchsorted(columns, boxes[:, 0::2])
    mapped[:, 1::2] = np.searchsorted(rows, boxes[:, 1::2])
    return mapped


# --------------------------------------------------------------------------- integrals and adjacency


def segment_sums(values: np.ndarray, superpixels: IntArray, num_superpixels: int | None = None) -> FloatArray:
    """Integral of a map over each superpixel: [h, w] -> float64 [S]; [h, w, D] -> [S, D]."""
    _check_label_map(superpixels)
    if values.shape[:2] != superpixels.shape or values.ndim not in (2, 3):
        raise InputError(f"values: expected {superpixels.shape} (+ channels), got {values.shape}")
    labels, count = superpixels.ravel(), max(num_superpixels or 0, int(superpixels.max()) + 1)
    if values.ndim == 2:
        sums: FloatArray = np.bincount(labels, weights=values.ravel(), minlength=count).astype(np.float64)
        return sums
    flat = values.reshape(-1, values.shape[2])
    return np.stack([np.bincount(labels, weights=column, minlength=count) for column in flat.T], axis=1)


def adjacency(
    superpixels: IntArray, contour: FloatArray
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Neighbouring superpixels with the contour between them.

    Args: superpixels [h, w]; contour float [h, w], strength per pixel, or [D, h, w] for D maps at once.
    Returns: edges int32 [E, 2] with a < b, in lexicographic order; contour sums float32 [E] (or [D, E]);
    lengths float32 [E]. A boundary element is a pair of 4-neighbouring pixels with different ids; its
    strength is the mean of the contour at the two pixels.
    """
    _check_label_map(superpixels)
    if contour.shape[-2:] != superpixels.shape or contour.ndim not in (2, 3):
        raise InputError(f"contour: expected {superpixels.shape} (after maps), got {contour.shape}")
    height, width = superpixels.shape
    labels = superpixels.ravel().astype(np.int64)
    index = np.arange(height * width).reshape(height, width)
    one = np.concatenate([index[:, :-1].ravel(), index[:-1].ravel()])
    other = np.concatenate([index[:, 1:].ravel(), index[1:].ravel()])
    differ = labels[one] != labels[other]
    one, other = one[differ], other[differ]
    count = int(labels.max()) + 1
    low, high = np.minimum(labels[one], labels[other]), np.maximum(labels[one], labels[other])
    unique, inverse = np.unique(low * count + high, return_inverse=True)
    edges = np.stack([unique // count, unique % count], axis=1).astype(np.int32)
    lengths = np.bincount(inverse, minlength=len(unique)).astype(np.float32)
    maps = contour.reshape(-1, height * width).astype(np.float64)
    sums = np.zeros((len(maps), len(unique)), np.float32)
    for row, strength in zip(sums, maps, strict=True):
        row[:] = np.bincount(inverse, weights=(strength[one] + strength[other]) / 2, minlength=len(unique))
    return edges, sums.reshape(*contour.shape[:-2], len(unique)), lengths


def iou_with_masks(
    superpixels: IntArray, membership: BoolArray, masks: BoolArray, void: BoolArray | None = None
) -> FloatArray:
    """IoU [P, G] of proposals with dense ground-truth masks at the original size; void pixels count nowhere.

    Args: superpixels [h, w]; membership [P, S]; masks bool [G, H, W]; void bool [H, W] or None.
    For measuring only: nothing that trains may call this with pixel labels.
    """
    areas, inside = mask_integrals(superpixels, masks, void, membership.shape[1])
    common = areas_of(membership, inside.T)
    union = areas_of(membership, areas)[:, None] + inside.sum(axis=1)[None, :] - common
    return np.divide(common, union, out=np.zeros(common.shape), where=union > 0)


def mask_integrals(
    superpixels: IntArray, masks: BoolArray, void: BoolArray | None, num_superpixels: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels of the original size in each superpixel, without void: all of them int64 [S], and those inside each
    mask int64 [G, S].

    Args: superpixels [h, w]; masks bool [G, H, W]; void bool [H, W] or None; num_superpixels S.
    For measuring only, as :func:`iou_with_masks`.
    """
    if masks.ndim != 3 or masks.dtype != np.bool_ or (void is not None and void.shape != masks.shape[1:]):
        shape = None if void is None else void.shape
        raise InputError(f"masks: expected bool [G, H, W] (and void [H, W]), got {masks.shape}, void {shape}")
    labels = resize_nearest(superpixels, (masks.shape[1], masks.shape[2]))
    valid = np.ones(labels.shape, np.bool_) if void is None else ~void
    areas = np.bincount(labels[valid], minlength=num_superpixels)
    inside = np.zeros((len(masks), num_superpixels), np.int64)
    for row, mask in zip(inside, masks, strict=True):
        row += np.bincount(labels[mask & valid], minlength=num_superpixels)
    return areas, inside
