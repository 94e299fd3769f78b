"""Run-length masks in COCO's compressed form: typed wrappers around pycocotools.

A mask is the `counts` byte string of COCO's compressed RLE (column-major runs, background first) and its
size (H, W) is kept beside it, once per image. Every byte string is checked against its size before the C
code sees it, because counts that come from a file may be damaged.

Suffixes: H height, W width, N D G numbers of masks (any, detections, ground truth).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
from numpy.typing import NDArray

from wsis.errors import InputError

Size = tuple[int, int]


def encode(mask: NDArray[np.bool_]) -> bytes:
    """Compress one mask. mask: bool (or 0/1 uint8) [H, W]. InputError on another shape or dtype.

    >>> counts = encode(np.array([[0, 1], [0, 1]], bool))
    >>> run_lengths(counts)
    array([2, 2])
    >>> decode(counts, (2, 2)).astype(int)
    array([[0, 1],
           [0, 1]])
    """
    _check_mask(mask, ndim=2)
    return bytes(coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"])


def encode_many(masks: NDArray[np.bool_]) -> list[bytes]:
    """Compress a stack of masks. masks: bool (or 0/1 uint8) [N, H, W], N may be 0."""
    _check_mask(masks, ndim=3)
    if len(masks) == 0:
        return []
    stack = np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8)
    return [bytes(one["counts"]) for one in coco_mask.encode(stack)]


def decode(counts: bytes, size: Size) -> NDArray[np.bool_]:
    """Expand one mask to bool [H, W]. InputError if the counts are not a mask of that size."""
    return decode_many([counts], size)[0]


def decode_many(counts: Sequence[bytes], size: Size) -> NDArray[np.bool_]:
    """Expand N masks of one image to bool [N, H, W]; an empty sequence gives [0, H, W]."""
    height, width = _check_size(size)
    masks = np.zeros((len(counts), height, width), dtype=bool)
    for index, one in enumerate(counts):  # not pycocotools' decode: it warns under NumPy 2
        runs = _checked_runs(one, height, width, index)
        foreground = np.arange(len(runs)) % 2 == 1
        masks[index] = np.repeat(foreground, runs).reshape(width, height).T
    return masks


def area(counts: bytes, size: Size) -> int:
    """Number of mask pixels."""
    return int(areas([counts], size)[0])


def areas(counts: Sequence[bytes], size: Size) -> NDArray[np.int64]:
    """Numbers of mask pixels, int64 [N]."""
    objects = _as_coco(counts, size)
    if not objects:
        return np.zeros(0, dtype=np.int64)
    return np.asarray(coco_mask.area(objects), dtype=np.int64)


def bbox(counts: bytes, size: Size) -> NDArray[np.float32]:
    """Tight box, float32 [4] xyxy in pixels, x2/y2 exclusive; all zeros for an empty mask."""
    return bboxes([counts], size)[0]


def bboxes(counts: Sequence[bytes], size: Size) -> NDArray[np.float32]:
    """Tight boxes, float32 [N, 4] xyxy in pixels, x2/y2 exclusive; a row of zeros for an empty mask."""
    objects = _as_coco(counts, size)
    if not objects:
        return np.zeros((0, 4), dtype=np.float32)
    boxes_xywh = np.asarray(coco_mask.toBbox(objects), dtype=np.float32).reshape(-1, 4)
    boxes_xywh[:, 2:] += boxes_xywh[:, :2]
    return boxes_xywh


def iou(
    detections: Sequence[bytes],
    ground_truth: Sequence[bytes],
    size: Size,
    crowd: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Intersection over union of every detection with every ground-truth mask of one image.

    crowd: bool [G] or None; for a crowd region the union is the detection's own area (COCO).
    Returns float64 [D, G] in [0, 1]; two empty masks have IoU 0.
    """
    objects_d, objects_g = _as_coco(detections, size), _as_coco(ground_truth, size)
    if crowd is None:
        crowd = np.zeros(len(objects_g), dtype=bool)
    if crowd.shape != (len(objects_g),):
        raise InputError(f"crowd: expected shape ({len(objects_g)},), got {crowd.shape}")
    if not objects_d or not objects_g:
        return np.zeros((len(objects_d), len(objects_g)), dtype=np.float64)
    values = coco_mask.iou(objects_d, objects_g, crowd.astype(np.uint8).tolist())
    return np.asarray(values, dtype=np.float64)


def subtract(counts: Sequence[bytes], removed: bytes, size: Size) -> list[bytes]:
    """The masks without the pixels of `removed` (for example void)."""
    kept = encode(~decode(removed, size))
    keep = _as_coco([kept], size)[0]
    objects = _as_coco(counts, size)
    return [bytes(coco_mask.merge([one, keep], intersect=True)["counts"]) for one in objects]


def run_lengths(counts: bytes) -> NDArray[np.int64]:
    """Column-major run lengths, background first, int64 [R]. InputError on bytes that are no RLE.

    The compressed form: each run is a little-endian base-32 signed number, six bits a character (offset
    48, bit 32 = more follows, bit 16 of the last = sign); from the fourth run on it is the difference to
    the run before the previous one.
    """
    if not isinstance(counts, bytes):
        raise InputError(f"counts: expected bytes of a compressed RLE, got {type(counts).__name__}")
    codes = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    if len(codes) == 0 or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise InputError(f"counts: expected a compressed RLE, got {counts[:20]!r} ({len(counts)} bytes)")
    last = (codes & 32) == 0
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    digits = ends - starts + 1
    if digits.max() > 7:
        raise InputError(f"counts: a run of {digits.max()} characters exceeds 32 bits")
    place = np.arange(len(codes)) - np.repeat(starts, digits)
    values = np.add.reduceat((codes & 31) << (5 * place), starts)
    values -= np.where(codes[ends] & 16, np.int64(1) << (5 * digits), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _check_mask(mask: NDArray[Any], ndim: int) -> None:
    if not isinstance(mask, np.ndarray) or mask.ndim != ndim:
        raise InputError(f"mask: expected an array of {ndim} dimensions, got {np.shape(mask)}")
    if mask.dtype != np.bool_ and not (mask.dtype == np.uint8 and (mask.size == 0 or mask.max() <= 1)):
        raise InputError(f"mask: expected bool or uint8 of 0 and 1, got {mask.dtype}")
    if 0 in mask.shape[-2:]:
        raise InputError(f"mask: expected height and width of at least 1, got {mask.shape[-2:]}")


def _check_size(size: Size) -> Size:
    height, width = int(size[0]), int(size[1])
    if height < 1 or width < 1:
        raise InputError(f"size: expected (height, width) of at least 1, got {size}")
    return height, width


def _checked_runs(counts: bytes, height: int, width: int, index: int) -> NDArray[np.int64]:
    runs = run_lengths(counts)
    if runs.min() < 0 or runs.sum() != height * width:
        raise InputError(
            f"counts[{index}]: expected runs that cover {height} x {width} = {height * width} pixels, "
            f"got {runs.sum()} pixels, shortest run {runs.min()}"
        )
    return runs


def _as_coco(counts: Sequence[bytes], size: Size) -> list[dict[str, Any]]:
    height, width = _check_size(size)
    for index, one in enumerate(counts):
        _checked_runs(one, height, width, index)
    return [{"size": [height, width], "counts": one} for one in counts]
