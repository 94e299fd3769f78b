"""How much data a run has, as far as its cost depends on it.

Suffix legend: N boxes.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsis.method.proposals import MCGConfig
from wsis.method.proposals.contours.detectors import build_detector
from wsis.method.proposals.generator.generation import looks_enlarged
from wsis.readers.shared.records import Role
from wsis.views.run import spread

_SIZED = 16  # images whose size is looked at
_BOXED = 64  # training images whose boxes are looked at
_DECODED = 4  # images whose superpixels are counted


@dataclass(frozen=True)
class DataSize:
    """How much data a run has.

    Attributes:
        train, negatives, val: images; `train` does not count the negatives.
        with_masks: images with masks, of train and val together.
        megapixels: of an image, mean.
        file_bytes: of an image file, mean.
        boxes: annotated boxes of all training images together; 0 where nothing says them.
        small_side: root of a box's area that one box in ten falls short of, in longer sides of its image.
        alike: whether all training images show the same classes.
        smooth: share of the images with few superpixels, whose proposals are looked for on a finer grid.
    """

    train: int
    negatives: int
    val: int
    with_masks: int
    megapixels: float
    file_bytes: float
    boxes: float = 0.0
    small_side: float = 1.0
    alike: bool = False
    smooth: float = 0.0

    @property
    def images(self) -> int:
        return self.train + self.negatives + self.val


@dataclass(frozen=True, eq=False)
class SizedImage:
    """An image as far as its size counts: (height, width), bytes of its file, boxes float [N, 4], xyxy."""

    size: tuple[int, int]
    file_bytes: int
    boxes: NDArray[np.floating]


def sized(
    ids: Mapping[Role, Sequence[str]],
    labels: Sequence[NDArray[np.integer]],
    with_masks: int,
    read: Callable[[str], SizedImage],
    decode: Callable[[str], NDArray[np.uint8]] | None,
    proposals: MCGConfig,
) -> DataSize:
    """The size of a data set from some images spread over it, the same ones for whoever asks.

    Args:
        ids: of the images of train and val. labels: of the training images. with_masks: see `DataSize`.
        read: an image by its id. decode: its pixels, RGB [H, W, 3]; None: superpixels are not counted.

    Raises: as `smooth_share`, and what `read` and `decode` raise.
    """
    some = spread([*ids["train"], *ids["val"]], _SIZED)
    looked_at = [read(image_id) for image_id in some]
    boxed = [read(image_id) for image_id in spread(ids["train"], _BOXED)]
    negatives = sum(not len(one) for one in labels)
    decoded = some[:: max(1, len(some) // _DECODED)] if decode is not None else []
    return DataSize(
        train=len(labels) - negatives,
        negatives=negatives,
        val=len(ids["val"]),
        with_masks=with_masks,
        megapixels=statistics.fmean(one.size[0] * one.size[1] / 1e6 for one in looked_at),
        file_bytes=statistics.fmean(one.file_bytes for one in looked_at),
        boxes=len(labels) * statistics.fmean(len(one.boxes) for one in boxed) if boxed else 0.0,
        small_side=small_side([one.boxes for one in boxed], [one.size for one in boxed]),
        alike=all_alike(labels),
        smooth=smooth_share([decode(image_id) for image_id in decoded] if decode else [], proposals),
    )


def small_side(boxes: Sequence[NDArray[np.floating]], sizes: Sequence[tuple[int, int]]) -> float:
    """`DataSize.small_side` of images (H, W) with boxes [N, 4]; 1 where there are none."""
    sides = [
        np.sqrt((one[:, 2:] - one[:, :2]).prod(axis=1)) / max(size)
        for one, size in zip(boxes, sizes, strict=True)
    ]
    every = np.concatenate([np.zeros(0), *sides])
    return float(np.quantile(every, 0.1)) if len(every) else 1.0


def all_alike(labels: Sequence[NDArray[np.integer]]) -> bool:
    """Whether all images have the same sorted labels."""
    return len({tuple(one.tolist()) for one in labels}) == 1


def smooth_share(images: Sequence[NDArray[np.uint8]], config: MCGConfig) -> float:
    """`DataSize.smooth` of RGB images [H, W, 3]; some .2 CPU seconds an image.

    Raises:
        MissingWeightsError: see `contours.detectors`.
    """
    if not images:
        return 0.0
    detector = build_detector(config)
    return float(np.mean([looks_enlarged(image, config, detector) for image in images]))
