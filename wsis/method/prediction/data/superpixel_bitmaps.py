"""MMDetection's masks over sets of superpixels: resizing and mirroring move indices, pixels are made once at the end.

Suffix legend: N masks, S superpixels, h w map of superpixels, H W the masks' present size.
"""

from typing import Any, Self

import cv2
import mmcv
import numpy as np
from mmdet.structures.mask import BitmapMasks
from numpy.typing import NDArray

from wsis.method.masks.superpixels import nearest_indices
from wsis.method.prediction.data.training_images import SuperpixelMasks


class SuperpixelBitmaps(BitmapMasks):
    """Equal to BitmapMasks of the dense masks under every transform.

    `rescale` and `flip` are done on indices; anything else first makes the masks dense, as BitmapMasks does it.

    Args:
        superpixels: int [h, w].
        membership: bool [N, S].
        rows, columns: int [H], [W], the row and column of the map that each pixel shows.
    """

    def __init__(
        self,
        superpixels: NDArray[np.integer],
        membership: NDArray[np.bool_],
        rows: NDArray[np.integer],
        columns: NDArray[np.integer],
    ) -> None:
        self.superpixels, self.membership = superpixels, membership
        self.rows, self.columns = rows, columns
        self.height, self.width = len(rows), len(columns)
        self._dense: NDArray[np.uint8] | None = None

    @classmethod
    def of(cls, masks: SuperpixelMasks) -> Self:
        """The masks at the image's size."""
        height, width = masks.superpixels.shape
        rows, columns = nearest_indices(masks.size[0], height), nearest_indices(masks.size[1], width)
        return cls(masks.superpixels, masks.membership, rows, columns)

    @property
    def masks(self) -> NDArray[np.uint8]:
        """Dense masks uint8 [N, H, W]."""
        if self._dense is None:
            shown = np.take(np.take(self.superpixels, self.rows, axis=0), self.columns, axis=1)
            self._dense = _looked_up(self.membership, shown)
        return self._dense

    def __len__(self) -> int:
        return len(self.membership)

    def __reduce__(self) -> tuple[Any, ...]:
        return _bitmaps, (self.masks, self.height, self.width)

    def rescale(self, scale: Any, interpolation: str = "nearest") -> BitmapMasks:
        """As BitmapMasks.rescale."""
        if interpolation != "nearest":
            return super().rescale(scale, interpolation)
        width, height = mmcv.rescale_size((self.width, self.height), scale)
        return type(self)(
            self.superpixels,
            self.membership,
            self.rows[_resized(self.height, height)],
            self.columns[_resized(self.width, width)],
        )

    def flip(self, flip_direction: str = "horizontal") -> BitmapMasks:
        """As BitmapMasks.flip."""
        if flip_direction not in ("horizontal", "vertical", "diagonal"):
            return super().flip(flip_direction)
        rows = self.rows if flip_direction == "horizontal" else self.rows[::-1]
        columns = self.columns if flip_direction == "vertical" else self.columns[::-1]
        return type(self)(self.superpixels, self.membership, rows, columns)


_TOGETHER = 4  # the most planes that OpenCV splits with vector instructions


def _looked_up(membership: NDArray[np.bool_], shown: NDArray[np.integer]) -> NDArray[np.uint8]:
    """membership[:, shown] as uint8 [N, H, W], four masks at a lookup."""
    masks = np.empty((len(membership), *shown.shape), np.uint8)
    spare = np.empty((_TOGETHER, *shown.shape), np.uint8)
    for start in range(0, len(membership), _TOGETHER):
        some = membership[start : start + _TOGETHER]
        table = np.zeros((membership.shape[1], _TOGETHER), np.uint8)
        table[:, : len(some)] = some.T
        planes = np.take(table.view(np.uint32).ravel(), shown).view(np.uint8).reshape(*shown.shape, _TOGETHER)
        cv2.split(planes, [*masks[start : start + _TOGETHER], *spare[len(some) :]])
    return masks


def _bitmaps(masks: NDArray[np.uint8], height: int, width: int) -> BitmapMasks:
    """BitmapMasks(masks, height, width) without its copy: what a worker process sends is nobody else's."""
    bitmaps = BitmapMasks.__new__(BitmapMasks)
    bitmaps.masks, bitmaps.height, bitmaps.width = masks, height, width
    return bitmaps


def _resized(source: int, target: int) -> NDArray[np.intp]:
    """The index that OpenCV's nearest resize of an axis shows at each of `target` places, by OpenCV itself."""
    axis = np.arange(source, dtype=np.float32)[:, None]  # exact: no image has 2^24 rows
    shown: NDArray[np.float32] = mmcv.imresize(axis, (1, target), interpolation="nearest")
    return shown.reshape(target).astype(np.intp)
