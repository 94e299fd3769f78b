"""Masks of training images that a person has drawn or corrected: certain instances among uncertain ones.

They become proposals of their image, so that everything that names proposals can name them.
Legend: N masks, P proposals, S superpixels, E edges, H W image, h w working size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.masks import rle
from wsis.method.masks.proposal_set import ProposalSet
from wsis.method.masks.superpixels import (
    adjacency,
    areas_of,
    boxes_of,
    boxes_to_image,
    resize_nearest,
    superpixel_areas,
    superpixel_boxes,
)

_DRAWN = 1.0  # contour strength where a mask cuts a superpixel: a person saw a boundary there


@dataclass(frozen=True, eq=False)
class GivenMasks:
    """The instances of one image, all of them; none: no instance is there.

    Attributes:
        labels: int32 [N], 1..C.
        masks: N masks with a pixel at least, COCO compressed run lengths.
        size: (H, W).
    """

    labels: NDArray[np.int32]
    masks: tuple[bytes, ...]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.masks):
            raise InputError(f"masks: expected {len(self.labels)}, one a label, got {len(self.masks)}")

    def __len__(self) -> int:
        return len(self.masks)

    @classmethod
    def from_record(cls, record: Mapping[str, np.ndarray]) -> "GivenMasks":
        """Those of a stored record, see `data_contracts.schemas.CORRECTIONS`."""
        data, offsets = record["mask_bytes"].tobytes(), record["mask_offsets"].tolist()
        masks = tuple(data[a:b] for a, b in pairwise(offsets))
        height, width = record["size"].tolist()
        return cls(record["labels"], masks, (height, width))

    def to_record(self) -> dict[str, np.ndarray]:
        """The arrays of a stored record."""
        return {
            "size": np.array(self.size, np.int32),
            "labels": self.labels.astype(np.int32),
            "mask_offsets": np.cumsum([0, *map(len, self.masks)]).astype(np.int64),
            "mask_bytes": np.frombuffer(b"".join(self.masks), np.uint8),
        }

    @property
    def boxes(self) -> NDArray[np.float32]:
        """Tight boxes, float32 [N, 4] xyxy, x2 y2 exclusive."""
        return rle.bboxes(self.masks, self.size)

    def dense(self) -> NDArray[np.bool_]:
        """Masks bool [N, H, W]."""
        return rle.decode_many(self.masks, self.size)

    def rows(self, proposals: int) -> NDArray[np.int64]:
        """Which of the P proposals that `with_masks` has made they are, int64 [N]: the last ones."""
        return np.arange(proposals - len(self), proposals)


def with_masks(proposals: ProposalSet, given: GivenMasks) -> ProposalSet:
    """The proposals, and after them the given masks: rows before keep their numbers and their pixels.

    Superpixels are cut where a mask crosses them. A mask is sampled at the working size; one that falls between its
    pixels gets the pixel at its middle.

    Raises:
        InputError: the masks are of another size than the image.
    """
    if given.size != proposals.image_size:
        raise InputError(f"masks: expected the size {proposals.image_size} of the image, got {given.size}")
    if not len(given):
        return proposals
    shape = proposals.superpixels.shape[0], proposals.superpixels.shape[1]
    drawn = np.stack([_sampled(mask, shape) for mask in given.dense()])
    superpixels, first = _cut(proposals.superpixels, drawn)
    parents = proposals.superpixels.ravel()[first]
    added = drawn.reshape(len(drawn), -1)[:, first]
    membership = np.concatenate([proposals.membership[:, parents], added])
    boxes = boxes_of(added, superpixel_boxes(superpixels))
    shares = areas_of(added, superpixel_areas(superpixels)) / superpixels.size
    return ProposalSet(
        superpixels,
        membership,
        proposals.image_size,
        np.append(proposals.scores, np.full(len(added), proposals.scores.min(), np.float32)),
        np.concatenate([proposals.boxes, boxes_to_image(boxes, shape, proposals.image_size)]),
        np.append(proposals.areas, shares.astype(np.float32)),
        *_graph(superpixels, parents, proposals),
    )


def _sampled(mask: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask [H, W] with a pixel at the working size [h, w], where it has a pixel too."""
    found = resize_nearest(mask, shape)
    if not found.any():
        rows, columns = np.nonzero(mask)
        middle = len(rows) // 2
        found[rows[middle] * shape[0] // mask.shape[0], columns[middle] * shape[1] // mask.shape[1]] = True
    return found


def _cut(
    superpixels: NDArray[np.integer], drawn: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Superpixels [h, w] of pixels that lie in one superpixel and in the same masks, and a pixel of each, int64 [S]."""
    ids = superpixels.ravel().astype(">u4").view(np.uint8).reshape(-1, 4)
    inside = np.packbits(drawn.reshape(len(drawn), -1), axis=0).T
    keys = np.ascontiguousarray(np.concatenate([ids, inside], 1))
    rows: NDArray[Any] = keys.view(np.dtype((np.void, keys.shape[1]))).ravel()
    _, first, numbers = np.unique(rows, return_index=True, return_inverse=True)
    return numbers.reshape(superpixels.shape).astype(np.int32), first


def _graph(
    superpixels: NDArray[np.int32], parents: NDArray[np.integer], proposals: ProposalSet
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Edges, contour sums and lengths: a boundary that was there keeps its mean strength."""
    edges, _, lengths = adjacency(superpixels, np.zeros(superpixels.shape))
    ends = np.sort(parents[edges].astype(np.int64), axis=1)
    count = proposals.membership.shape[1]
    before = proposals.edges.astype(np.int64)
    strengths = proposals.edge_contours / proposals.edge_lengths
    place = np.searchsorted(before[:, 0] * count + before[:, 1], ends[:, 0] * count + ends[:, 1])
    known = ends[:, 0] != ends[:, 1]
    mean = np.full(len(edges), _DRAWN, np.float32)
    mean[known] = strengths[place[known]]
    return edges, (mean * lengths).astype(np.float32), lengths
