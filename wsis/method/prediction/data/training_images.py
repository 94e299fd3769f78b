"""Where training images and their pseudo labels come from, as a protocol; the stages bring the adapter."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wsis.method.masks.boxes import box_of_mask
from wsis.method.masks.superpixels import proposal_masks


@dataclass(frozen=True, eq=False)
class SuperpixelMasks:
    """N masks as sets of superpixels: what is seen of them is built once, at the size that is wanted.

    | field       | type             | meaning                                                                    |
    | ----------- | ---------------- | -------------------------------------------------------------------------- |
    | superpixels | int [h, w]       | ids 0..S-1, every one present                                              |
    | membership  | bool [N, S]      | no empty row                                                               |
    | boxes       | float32 [N, 4]   | tight boxes xyxy of the masks at the image's size                          |
    | size        | (int, int)       | H >= h, W >= w of the image: every superpixel then has a pixel             |
    """

    superpixels: NDArray[np.integer]
    membership: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the dense masks."""
        return (len(self.membership), *self.size)

    def __len__(self) -> int:
        return len(self.membership)

    def dense(self) -> NDArray[np.bool_]:
        """Masks bool [N, H, W]."""
        return proposal_masks(self.superpixels, self.membership, self.size)


def boxes_of(masks: NDArray[np.bool_] | SuperpixelMasks) -> NDArray[np.float32]:
    """Tight boxes xyxy float32 [N, 4] of masks without an empty one."""
    if isinstance(masks, SuperpixelMasks):
        return masks.boxes
    return np.array([box_of_mask(mask) for mask in masks], np.float32).reshape(-1, 4)


@dataclass(frozen=True, eq=False)
class ImageInstances:
    """The pseudo labels of one image: its distinct instances, and which of the U unique sets has which.

    | field       | type           | meaning                                                              |
    | ----------- | -------------- | -------------------------------------------------------------------- |
    | masks       | bool [N, H, W] | at the image's size, none empty; or SuperpixelMasks                  |
    | labels      | int [N]        | class, 1..C                                                          |
    | set_weights | float [N, U]   | w_u = multiplicity / K where set u has the instance, else 0; U >= 1  |

    The columns' maxima sum to at most 1; what is missing belongs to sets without instances. Ground truth is
    one column of ones.
    """

    masks: NDArray[np.bool_] | SuperpixelMasks
    labels: NDArray[np.integer]
    set_weights: NDArray[np.floating]


class PseudoLabelSource(Protocol):
    """Training images with K sets of pseudo labels each. Read from several processes when workers > 0."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; the class of index j is number j + 1."""
        ...

    def __len__(self) -> int: ...

    def image_id(self, index: int) -> str: ...

    def image_size(self, index: int) -> tuple[int, int]:
        """Height and width."""
        ...

    def image(self, index: int) -> NDArray[np.uint8]:
        """BGR [H, W, 3], as MMDetection's own loaders give it."""
        ...

    def instances(self, index: int) -> ImageInstances: ...


@dataclass(frozen=True, eq=False)
class InstanceSet:
    """One sample of pseudo labels: `instances` are keys into a table of masks, with their classes."""

    instances: NDArray[np.integer]
    labels: NDArray[np.integer]
    weight: float


def unite_sets(sets: list[InstanceSet]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Distinct (mask key, class) pairs of several sets, so that each mask is built and augmented once.

    Args:
        sets: unique sets; a pair occurs at most once in each.

    Returns:
        Keys int64 [N], labels int64 [N] (sorted by key, then label), set_weights float32 [N, U].
    """
    pairs = np.concatenate(
        [np.empty((0, 2), np.int64), *(np.stack([s.instances, s.labels], 1).astype(np.int64) for s in sets)]
    )
    distinct, row = np.unique(pairs, axis=0, return_inverse=True)
    column = np.repeat(np.arange(len(sets)), [len(s.labels) for s in sets])
    weights = np.zeros((len(distinct), max(len(sets), 1)), np.float32)
    weights[row.ravel(), column] = np.array([s.weight for s in sets], np.float32)[column]
    return distinct[:, 0], distinct[:, 1], weights
