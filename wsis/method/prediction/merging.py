"""One list of instances from the detections of overlapping tiles.

A tile cuts what crosses its border. Two detections of a class in different tiles are of one instance where their masks
agree in the part that both tiles see. Then, of the two,

- one that its tile cuts, on a side where the other goes on, loses to the other;
- two that are cut towards each other are joined;
- and whatever is left twice falls to a mask NMS of each class, in which parts lose to what covers them.

Masks are compared at network pixels: nothing of the photograph's size is held.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsis.method.masks.network_detections import NetworkDetections
from wsis.method.masks.paste import soft_windows
from wsis.method.prediction.tiles import Tiling, Window

_AGREE = 0.5  # IoU in the common part, above which two masks are of one instance
_COVERED = 0.5  # share of a part that lies in another instance, above which it is of that one
_MARGIN = 0.03  # of the tile's longer side: a box that ends so near to a border is cut by it
_SIDES = ((1, 1), (0, 0), (1, 3), (0, 2))  # left, top, right, bottom: axis of a box, and index into a window


class Area(NamedTuple):
    """A mask within a window of the canvas, in network pixels."""

    window: Window
    mask: NDArray[np.bool_]

    def within(self, other: Window) -> NDArray[np.bool_]:
        """The mask in another window, which may reach beyond its own."""
        top, left, bottom, right = other
        found = np.zeros((max(0, bottom - top), max(0, right - left)), bool)
        common = intersection(self.window, other)
        if common is not None:
            found[_slices(common, other)] = self.mask[_slices(common, self.window)]
        return found


@dataclass(eq=False)
class Piece:
    """A detection in one tile, or what several were joined to.

    Attributes:
        rows: of the detections of all tiles, those that it is made of, the best first.
        tile: window of the tile, in network pixels; of a joined one the window of all its tiles.
        cut: whether the tile's border cuts it: left, top, right, bottom.
    """

    rows: list[int]
    label: int
    score: float
    area: Area
    tile: Window
    cut: NDArray[np.bool_]
    pixels: int = field(init=False)

    def __post_init__(self) -> None:
        self.pixels = int(self.area.mask.sum())


def merge_tiles(
    found: Sequence[NetworkDetections], windows: Sequence[Window], tiling: Tiling, nms_iou: float
) -> NetworkDetections:
    """Detections of a photograph, best first, of what each of its tiles shows.

    Args:
        found: of each tile, in the tile's own pixels.
        windows: where the tiles lie in the photograph.
        nms_iou: IoU of masks from which the weaker of two instances of a class goes.
    """
    placed = _in_photograph(found, windows, tiling.size)
    owners = np.repeat(np.arange(len(found)), [len(one) for one in found])
    pieces = list(_pieces(placed, owners, windows, tiling))
    kept = suppress(join(pieces), nms_iou)
    return _joined(placed, kept)


def join(pieces: Sequence[Piece]) -> list[Piece]:
    """Those that no other goes beyond, the cut ones that agree as one."""
    linked = [(a, b) for a, b in _pairs(pieces) if _agree(pieces[a], pieces[b])]
    lost, group = set(), list(range(len(pieces)))
    for a, b in linked:
        ahead, behind = _goes_on(pieces[a], pieces[b]), _goes_on(pieces[b], pieces[a])
        if ahead and not behind and pieces[b].pixels > pieces[a].pixels:
            lost.add(a)
        if behind and not ahead and pieces[a].pixels > pieces[b].pixels:
            lost.add(b)
    for a, b in linked:
        both = _goes_on(pieces[a], pieces[b]) and _goes_on(pieces[b], pieces[a])
        if both and not {a, b} & lost:
            old, new = sorted((group[a], group[b]))
            group = [new if g == old else g for g in group]
    members: dict[int, list[Piece]] = {}
    for index, piece in enumerate(pieces):
        if index not in lost:
            members.setdefault(group[index], []).append(piece)
    return [_union(parts) for parts in members.values()]


def suppress(pieces: Sequence[Piece], nms_iou: float) -> list[Piece]:
    """A greedy NMS of each class by masks, best first: whole ones before parts, then by score.

    A part goes also where most of it lies in one that stays.
    """
    order = sorted(pieces, key=lambda piece: (bool(piece.cut.any()), -piece.score, piece.rows))
    meeting, stays = _meeting(order), np.zeros(len(order), bool)
    for index, piece in enumerate(order):
        near = np.flatnonzero(meeting[index] & stays).tolist()
        stays[index] = not any(_is_of(piece, order[other], nms_iou) for other in near)
    kept = [piece for piece, stay in zip(order, stays, strict=True) if stay]
    return sorted(kept, key=lambda piece: (-piece.score, piece.rows))


def _is_of(piece: Piece, other: Piece, nms_iou: float) -> bool:
    common = intersection(piece.area.window, other.area.window)
    if common is None:
        return False
    shared = int((piece.area.within(common) & other.area.within(common)).sum())
    union = piece.pixels + other.pixels - shared
    return shared >= nms_iou * union > 0 or bool(piece.cut.any() and shared > _COVERED * piece.pixels)


def _pairs(pieces: Sequence[Piece]) -> Iterator[tuple[int, int]]:
    """Those of different tiles that may be of one instance."""
    for a, b in np.argwhere(np.triu(_meeting(pieces), 1)).tolist():
        if pieces[a].tile != pieces[b].tile:
            yield a, b


def _meeting(pieces: Sequence[Piece]) -> NDArray[np.bool_]:
    """Which pieces are of one class and have windows that meet, bool [N, N]."""
    windows = np.array([piece.area.window for piece in pieces]).reshape(-1, 4)
    labels = np.array([piece.label for piece in pieces])
    before = (windows[:, None, :2] < windows[None, :, 2:]).all(axis=2)
    return before & before.T & (labels[:, None] == labels[None])


def _agree(a: Piece, b: Piece) -> bool:
    """Whether the masks are nearly one in what both tiles see."""
    common = intersection(a.tile, b.tile)
    if common is None:
        return False
    one, other = a.area.within(common), b.area.within(common)
    return bool((one & other).sum() > _AGREE * (one | other).sum())


def _goes_on(piece: Piece, other: Piece) -> bool:
    """Whether `piece` is cut by a border that lies inside the other's tile."""
    for cut, (axis, index) in zip(piece.cut.tolist(), _SIDES, strict=True):
        if cut and other.tile[axis] < piece.tile[index] < other.tile[axis + 2]:
            return True
    return False


def _union(parts: Sequence[Piece]) -> Piece:
    """One piece of several; a border cuts it still where it does not go beyond it."""
    if len(parts) == 1:
        return parts[0]
    best = sorted(parts, key=lambda piece: (-piece.score, piece.rows))
    window = _hull([piece.area.window for piece in parts])
    mask = np.logical_or.reduce([piece.area.within(window) for piece in parts])
    cut = np.zeros(4, bool)
    for side, (_, index) in enumerate(_SIDES):
        borders = [piece.tile[index] for piece in parts if piece.cut[side]]
        outer = (min, min, max, max)[side]
        cut[side] = bool(borders) and outer(borders) == outer(piece.tile[index] for piece in parts)
    rows = [row for piece in best for row in piece.rows]
    tile = _hull([piece.tile for piece in parts])
    return Piece(rows, best[0].label, best[0].score, Area(window, mask), tile, cut)


def _pieces(
    placed: NetworkDetections, owners: NDArray[np.integer], windows: Sequence[Window], tiling: Tiling
) -> Iterator[Piece]:
    canvas = (_scaled(tiling.size[0], tiling.scale), _scaled(tiling.size[1], tiling.scale))
    height, width = canvas
    tiles = [tuple(_scaled(at, tiling.scale) for at in window) for window in windows]
    boxes = placed.boxes * np.float32(tiling.scale)
    for row, ((rows, columns), soft) in enumerate(soft_windows(placed.masks, boxes, canvas)):
        top, left, bottom, right = tile = tiles[owners[row]]
        own = (rows.start, columns.start, rows.stop, columns.stop)
        area = Area(own, soft >= 0.5)
        inside = intersection(own, tile) or (top, left, top, left)
        margin = _MARGIN * max(bottom - top, right - left)
        x1, y1, x2, y2 = boxes[row].tolist()
        near = (x1 - left, y1 - top, right - x2, bottom - y2)
        border = (left > 0, top > 0, right < width, bottom < height)
        cut = np.array([b and n <= margin for b, n in zip(border, near, strict=True)])
        label, score = int(placed.labels[row]), float(placed.scores[row])
        yield Piece([row], label, score, Area(inside, area.within(inside)), tile, cut)


def _scaled(at: int, scale: float) -> int:
    return max(1, round(at * scale)) if at else 0


def _in_photograph(
    found: Sequence[NetworkDetections], windows: Sequence[Window], size: tuple[int, int]
) -> NetworkDetections:
    """All detections of all tiles, their boxes in the photograph."""
    names = ("class_probabilities", "masks", "labels", "scores")
    boxes = [
        one.boxes + np.array([x, y, x, y], np.float32) for one, (y, x, *_) in zip(found, windows, strict=True)
    ]
    some = [one for one in found if len(one)] or list(found[:1])  # of none the rows may be of another width
    stacked = {name: np.concatenate([getattr(one, name) for one in some]) for name in names}
    return NetworkDetections(boxes=np.concatenate(boxes), size=size, **stacked)


def _joined(placed: NetworkDetections, pieces: Sequence[Piece]) -> NetworkDetections:
    """The detection of each piece: of a joined one class and score are the best one's, box and mask those of all."""
    best = placed.take(np.array([piece.rows[0] for piece in pieces], np.int64))
    boxes, masks = best.boxes.copy(), best.masks.copy()
    for index, piece in enumerate(pieces):
        if len(piece.rows) > 1:
            parts = placed.boxes[piece.rows]
            boxes[index] = (*parts[:, :2].min(axis=0), *parts[:, 2:].max(axis=0))
            masks[index] = _resampled(placed.masks[piece.rows], parts, boxes[index])
    return NetworkDetections(best.class_probabilities, boxes, masks, best.labels, best.scores, best.size)


def _resampled(
    masks: NDArray[np.uint8], boxes: NDArray[np.float32], hull: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """The largest of several soft masks [N, M, M] of their boxes [N, 4] at the cells [M, M] of a box around them."""
    cells = masks.shape[1]
    soft = np.zeros((cells, cells))
    for mask, box in zip(masks, boxes.astype(np.float64), strict=True):
        weights = []
        for axis in (1, 0):
            start, extent = float(hull[axis]), float(hull[axis + 2] - hull[axis])
            centres = start + (np.arange(cells) + 0.5) / cells * extent
            u = (centres - box[axis]) / max(box[axis + 2] - box[axis], 1e-6) * cells - 0.5
            weights.append(np.maximum(0.0, 1.0 - np.abs(u[:, None] - np.arange(cells))))
        soft = np.maximum(soft, weights[0] @ mask.astype(np.float64) @ weights[1].T)
    return soft.round().clip(0, 255).astype(np.uint8)


def intersection(a: Window, b: Window) -> Window | None:
    """What two windows share; None where that is nothing."""
    top, left, bottom, right = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (top, left, bottom, right) if top < bottom and left < right else None


def _hull(windows: Sequence[Window]) -> Window:
    tops, lefts, bottoms, rights = zip(*windows, strict=True)
    return min(tops), min(lefts), max(bottoms), max(rights)


def _slices(part: Window, whole: Window) -> tuple[slice, slice]:
    top, left = whole[:2]
    return slice(part[0] - top, part[2] - top), slice(part[1] - left, part[3] - left)
