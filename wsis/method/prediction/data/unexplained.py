"""Where a class answers and no pseudo label says so: there the network is not taught background.

Wang et al., "Cut and Learn for Unsupervised Object Detection and Instance Segmentation" (CutLER), CVPR 2023, leave out
the loss of regions that no pseudo label overlaps (DropLoss). Here the class response maps of the image's annotated
classes say which of these regions may hold an object.

Suffix legend: A classes, h w cells of a response map, R rectangles, N instances.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from wsis.method.prediction.data.training_images import ImageInstances, SuperpixelMasks

_EXPLAINED = 0.25  # expected share of a cell that labels of the class cover, from which it is explained


def unexplained_boxes(
    maps: NDArray[np.uint8], classes: NDArray[np.integer], instances: ImageInstances, share: float
) -> NDArray[np.float32]:
    """Disjoint rectangles xyxy in the image's pixels, float32 [R, 4]: cells of high response that no label explains.

    Args:
        maps: class response maps [A, h, w] over the image, each of maximum 255.
        classes: [A], 1..C.
        instances: the pseudo labels.
        share: of a map's maximum, from which a response is high.
    """
    _, rows, columns = maps.shape
    cells = np.zeros((rows, columns), bool)
    for response, label in zip(maps, classes.tolist(), strict=True):
        cells |= (response >= share * 255) & (_cover(instances, label, rows, columns) < _EXPLAINED)
    _, height, width = instances.masks.shape
    scale = np.array([width / columns, height / rows] * 2)
    return (rectangles(cells) * scale).astype(np.float32)


def _cover(instances: ImageInstances, label: int, height: int, width: int) -> NDArray[np.float32]:
    """Of every cell the share that a sample's instances of a class are expected to cover, float32 [h, w]."""
    own = instances.labels == label
    weights = instances.set_weights[own].sum(axis=1, dtype=np.float32)
    masks = instances.masks
    if isinstance(masks, SuperpixelMasks):
        dense = (weights @ masks.membership[own].astype(np.float32))[masks.superpixels]
    else:
        dense = np.tensordot(weights, masks[own].astype(np.float32), 1)
    shown = np.minimum(dense, 1).astype(np.float32)
    return np.asarray(cv2.resize(shown, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def rectangles(cells: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Disjoint rectangles xyxy int64 [R, 4] whose union are the cells bool [h, w]: equal runs of rows that follow."""
    found: list[list[int]] = []
    open_runs: dict[tuple[int, int], list[int]] = {}
    for y, row in enumerate(cells):
        edges = np.flatnonzero(np.diff(row.astype(np.int8), prepend=0, append=0))
        runs = [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
        for run in runs:
            if run in open_runs:
                open_runs[run][3] = y + 1
            else:
                open_runs[run] = [run[0], y, run[1], y + 1]
                found.append(open_runs[run])
        open_runs = {run: open_runs[run] for run in runs}
    return np.array(found, np.int64).reshape(-1, 4)
