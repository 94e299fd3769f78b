"""Superpixels of an enlarged image, where the image itself has few: small things on smooth ground.

Suffix legend: H W original image, h w working size, D scales.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from wsis.method.masks.superpixels import nearest_indices
from wsis.method.proposals.contours.detectors import ContourDetector, contour_scales
from wsis.method.proposals.generator.hierarchies import watershed
from wsis.method.proposals.imports.cells import connected_cells

_ENLARGED = 2  # a detector then sees a nucleus of ten pixels as one of twenty
_FEW = (
    0.4  # share of the regions an image may have, below which its ground is smooth and there is room for more
)
_LONGEST = (
    512  # pixels; a larger working image shows small things as it is, and four times as much takes memory
)


def has_room(superpixels: int, max_regions: int, size: tuple[int, int]) -> bool:
    """Whether a working image of so many superpixels and size (h, w) is looked at enlarged: it is not large, they are
    few, but more than a single colour has."""
    return 1 < superpixels < _FEW * max_regions and max(size) <= _LONGEST


def finer_basins(
    image: NDArray[np.uint8], size: tuple[int, int], detector: ContourDetector
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Basins and contours of the image at twice the working size, brought back to it.

    Args:
        image: uint8 RGB [H, W, 3], original; size: (h, w).
    Returns: basins int32 [h, w], ids 0.. in scan order, each 4-connected: of every working pixel the one at its
        centre; contours float32 [D, h, w], means over the pixels.
    """
    height, width = size
    larger = (height * _ENLARGED, width * _ENLARGED)
    way = cv2.INTER_AREA if larger[0] < image.shape[0] else cv2.INTER_LINEAR
    enlarged = cv2.resize(np.ascontiguousarray(image), larger[::-1], interpolation=way)
    contours = contour_scales(enlarged, detector)
    basins = watershed(contours.mean(axis=0), detector.smoothing)
    rows, columns = (nearest_indices(n, n * _ENLARGED) for n in size)
    back = [cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA) for one in contours]
    return connected_cells(basins[np.ix_(rows, columns)]), np.stack(back)
