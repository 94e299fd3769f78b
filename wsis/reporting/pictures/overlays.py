"""Drawing instances and seeds over photographs: arrays in, arrays out.

Suffixes: N instances or peaks, H W image, h w response map.
"""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from wsis.reporting.pictures.text import Box, contrasting, put_label

Image = NDArray[np.uint8]

# The colours of Okabe and Ito, told apart with every kind of colour vision, without their black; then some of Paul
# Tol's that lie between them. Further ones walk the hue circle, their lightness changing too.
_PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (204, 121, 167),
    (213, 94, 0),
    (136, 34, 85),
    (170, 255, 195),
    (80, 40, 160),
)
_GOLDEN = 0.618033988749895


def instance_colours(count: int) -> NDArray[np.uint8]:
    """`count` RGB colours, neighbours in the list clearly different, uint8 [count, 3]."""
    colours = list(_PALETTE[:count])
    for index in range(len(colours), count):
        value = (1.0, 0.55, 0.75)[index % 3]
        red, green, blue = colorsys.hsv_to_rgb(index * _GOLDEN % 1.0, 0.5 + 0.4 * (index % 2), value)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return np.array(colours, dtype=np.uint8).reshape(-1, 3)


def draw_instances(
    image: Image,
    masks: NDArray[np.bool_],
    colours: NDArray[np.uint8],
    names: Sequence[str] | None = None,
    fill: float = 0.4,
) -> Image:
    """Tint each instance and line its border, first instances on top; name it.

    The line has the instance's colour and a thin one beside it, black or white, so that it is seen on any ground. It
    is thinner in small instances. A name stands on a large instance and beside a small one, and is left out where it
    would hide another.

    Args:
        image: uint8 [H, W, 3]; not changed.
        masks: bool [N, H, W]. colours: uint8 [N, 3].
        names: N texts, or None for none. Without names only pixels inside the masks change.
        fill: weight of the tint in [0, 1].
    """
    drawn = image.copy()
    order = list(range(len(masks)))[::-1]
    for index in order:
        inside, colour = masks[index], colours[index].astype(np.float32)
        drawn[inside] = np.rint((1 - fill) * drawn[inside] + fill * colour).astype(np.uint8)
    for index in order:
        rim, line = border(masks[index], line_width(image.shape))
        drawn[rim] = contrasting(colours[index])
        drawn[line] = colours[index]
    if names is not None:
        _name_instances(drawn, masks, colours, names)
    return drawn


def border(mask: NDArray[np.bool_], width: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two rings inside the mask: a rim of one pixel inside a line of `width`, both bool [H, W].

    The line takes a quarter of what the mask is thick, at most, and a pixel at least: a small object stays visible.
    """
    distance = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    width = max(1, min(width, int(distance.max()) // 2)) if mask.any() else width
    line = mask & (distance <= width)
    return mask & ~line & (distance <= width + 1), line


def draw_seeds(
    image: Image,
    peaks: NDArray[np.integer],
    peak_response_maps: NDArray[np.uint8],
    colours: NDArray[np.uint8],
    names: Sequence[str] | None = None,
    boxes: NDArray[np.floating] | None = None,
) -> Image:
    """Peak response maps as heat in each peak's colour on the darkened image, the peaks as crosses, their boxes.

    Args:
        image: uint8 [H, W, 3]; not changed.
        peaks: int [N, 3], class, row, column in image pixels.
        peak_response_maps: uint8 [N, h, w], over the whole image.
        colours: uint8 [N, 3]. names: N texts for the peaks, or None.
        boxes: float [N, 4], xyxy in image pixels, or None (also [0, 4]): seeds of image-level labels.
    """
    size = (image.shape[1], image.shape[0])
    grey = image.mean(axis=2, keepdims=True)
    drawn = 0.45 * (0.5 * image + 0.5 * grey)
    for response, colour in zip(peak_response_maps, colours.astype(np.float32), strict=True):
        heat = cv2.resize(response.astype(np.float32) / 255, size, interpolation=cv2.INTER_LINEAR)
        # the square root lifts the weak surroundings that the proposals' filter still counts as seed
        weight = 0.75 * np.sqrt(np.clip(heat, 0, 1))[:, :, None]
        drawn = (1 - weight) * drawn + weight * (0.6 * colour + 0.4 * 255)
    result: Image = np.rint(drawn).astype(np.uint8)
    if boxes is not None and len(boxes):
        draw_boxes(result, boxes, colours)
    arm = 4 * line_width(image.shape)
    worth = np.zeros(image.shape[:2])  # of a cross, the share that a label hides
    around = [(c - arm, r - arm, c + arm + 1, r + arm + 1) for _, r, c in peaks.tolist()]
    for left, top, right, bottom in around:
        worth[max(top, 0) : bottom, max(left, 0) : right] = 1 / (2 * arm + 1) ** 2
    taken: list[Box] = []
    for index, name in enumerate(names or ()):
        plate = put_label(result, name, around[index], tuple(colours[index].tolist()), taken, worth)
        taken += [] if plate is None else [plate]
    for index, (_, row, column) in enumerate(peaks.tolist()):
        draw_cross(result, row, column, tuple(colours[index].tolist()))
    return result


def draw_boxes(image: Image, boxes: NDArray[np.floating], colours: NDArray[np.uint8]) -> None:
    """Outlines of boxes float [N, 4], xyxy in image pixels, in colours uint8 [N, 3] with a rim, in place."""
    width = line_width(image.shape)
    for (x1, y1, x2, y2), colour in zip(np.rint(boxes).astype(int).tolist(), colours.tolist(), strict=True):
        for line, thickness in ((contrasting(colour), width + 2), (colour, width)):
            cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), line, thickness)


def draw_cross(image: Image, row: int, column: int, colour: tuple[int, ...]) -> None:
    """A cross with a black or white rim at one pixel, in place."""
    width = line_width(image.shape)
    arm = 3 * width
    for line, thickness in ((contrasting(colour), width + 2), (colour, width)):
        cv2.line(image, (column - arm, row), (column + arm, row), line, thickness)
        cv2.line(image, (column, row - arm), (column, row + arm), line, thickness)


def line_width(shape: Sequence[int]) -> int:
    """Pixels of a line that is seen at a glance in an image of this shape."""
    return max(2, round(max(shape[:2]) / 160))


def size_for(side: int, height: int, width: int) -> tuple[int, int]:
    """(h, w) of an image [H, W] once its longer side has `side` pixels."""
    scale = side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def fit(image: Image, side: int) -> Image:
    """The image uint8 [H, W, 3] resized to `size_for(side, H, W)`, uint8 [h, w, 3].

    Lines and text drawn afterwards are legible whatever size the image came in.
    """
    height, width = size_for(side, *image.shape[:2])
    how = cv2.INTER_AREA if side < max(image.shape[:2]) else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=how).astype(np.uint8)


def _name_instances(
    drawn: Image, masks: NDArray[np.bool_], colours: NDArray[np.uint8], names: Sequence[str]
) -> None:
    """Labels beside small instances and on large ones: hiding a pixel costs its share of its instance."""
    worth = np.zeros(drawn.shape[:2])
    for mask in masks:
        worth[mask] = np.maximum(worth[mask], 1 / max(1, mask.sum()))
    taken: list[Box] = []
    for index, name in enumerate(names):
        rows, columns = np.flatnonzero(masks[index].any(axis=1)), np.flatnonzero(masks[index].any(axis=0))
        if len(rows):
            box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
            plate = put_label(drawn, name, box, tuple(colours[index].tolist()), taken, worth)
            taken += [] if plate is None else [plate]
