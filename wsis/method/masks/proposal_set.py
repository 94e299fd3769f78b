"""The proposals of one image: in memory, and as the arrays of a stored record (`data_contracts.schemas.PROPOSALS`).

Legend: H W original image, h w working size, P proposals, S superpixels, E edges, n ids.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.masks.superpixels import (
    areas_of,
    boxes_of,
    boxes_to_image,
    count_superpixels,
    pack_membership,
    proposal_masks,
    superpixel_areas,
    superpixel_boxes,
    unpack_membership,
)

_MOST_STORED = 65_536  # superpixels: their ids are stored in 16 bits


@dataclass(frozen=True)
class Regions:
    """Proposals as sets of superpixels: all that their masks need.

    Attributes:
        superpixels: int [h, w], ids 0..S-1, every one present.
        membership: bool [P, S].
        image_size: (H, W).

    >>> superpixels = np.array([[0, 0, 1], [2, 2, 1]])
    >>> both = Regions(superpixels, np.array([[True, False, True]]), (2, 3))
    >>> both.masks().astype(int)
    array([[[1, 1, 0],
            [1, 1, 0]]])
    """

    superpixels: NDArray[np.integer]
    membership: NDArray[np.bool_]
    image_size: tuple[int, int]

    FIELDS: ClassVar = ("superpixels", "num_superpixels", "membership_bits", "size")
    """The fields of a stored record that `from_record` reads."""

    @classmethod
    def from_record(
        cls, record: Mapping[str, np.ndarray], proposal_ids: NDArray[np.integer] | None = None
    ) -> "Regions":
        """The proposals of a stored record, or of some of its rows alone: int [n], may repeat.

        Raises:
            InputError: an id outside 0..P-1, or a record that contradicts itself.
        """
        bits = record["membership_bits"]
        if proposal_ids is not None:
            _check_ids(proposal_ids, len(bits))
            bits = bits[proposal_ids]
        height, width = record["size"].tolist()
        membership = unpack_membership(bits, int(record["num_superpixels"][0]))
        return Regions(record["superpixels"], membership, (height, width))

    def __len__(self) -> int:
        return len(self.membership)

    def masks(
        self, proposal_ids: NDArray[np.integer] | Sequence[int] | slice = np.s_[:]
    ) -> NDArray[np.bool_]:
        """Dense masks bool [n, H, W] of the given proposals, int [n] (may repeat), at the original size.

        Raises:
            InputError: an id outside 0..P-1.
        """
        if not isinstance(proposal_ids, slice):
            proposal_ids = np.asarray(proposal_ids, np.intp)
            _check_ids(proposal_ids, len(self))
        return proposal_masks(self.superpixels, self.membership[proposal_ids], self.image_size)


def _check_ids(proposal_ids: NDArray[np.integer], count: int) -> None:
    if len(proposal_ids) and not 0 <= int(proposal_ids.min()) <= int(proposal_ids.max()) < count:
        raise InputError(
            f"proposal_ids: expected 0..{count - 1}, got {proposal_ids.min()}..{proposal_ids.max()}"
        )


@dataclass(frozen=True)
class ProposalSet(Regions):
    """What the generator and every importer return: no row of `membership` is empty, P >= 1.

    Attributes:
        scores: float32 [P], descending, in (0, 1].
        boxes: float32 [P, 4] xyxy, original pixels, x2 y2 exclusive: tight boxes of the masks.
        areas: float32 [P], share of the working image, in (0, 1].
        edges: int32 [E, 2], neighbouring superpixels a < b, lexicographic.
        edge_contours: float32 [E], sum of contour strength over the common boundary.
        edge_lengths: float32 [E], pixel pairs of the common boundary.
    """

    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]
    areas: NDArray[np.float32]
    edges: NDArray[np.int32]
    edge_contours: NDArray[np.float32]
    edge_lengths: NDArray[np.float32]

    @classmethod
    def from_record(
        cls, record: Mapping[str, np.ndarray], proposal_ids: NDArray[np.integer] | None = None
    ) -> Self:
        """Inverse of :meth:`to_record`, or some of its rows alone: int [n], may repeat.

        Raises:
            InputError: an id outside 0..P-1, or a record that contradicts itself.
        """
        regions = Regions.from_record(record, proposal_ids)
        rows = np.s_[:] if proposal_ids is None else proposal_ids
        return cls(
            regions.superpixels.astype(np.int32),
            regions.membership,
            regions.image_size,
            *(record[name][rows] for name in ("scores", "boxes", "areas")),
            *(record[name] for name in ("edges", "edge_contours", "edge_lengths")),
        )

    def to_record(self) -> dict[str, np.ndarray]:
        """The arrays of a stored record.

        Raises:
            InputError: more superpixels than 16 bits number.
        """
        count = self.membership.shape[1]
        if count > _MOST_STORED:
            raise InputError(f"superpixels: expected at most 65,536 to store, got {count}")
        return {
            "superpixels": self.superpixels.astype(np.uint16),
            "num_superpixels": np.array([count], np.int32),
            "membership_bits": pack_membership(self.membership),
            "scores": self.scores,
            "boxes": self.boxes,
            "areas": self.areas,
            "edges": self.edges,
            "edge_contours": self.edge_contours,
            "edge_lengths": self.edge_lengths,
            "size": np.array(self.image_size, np.int32),
        }


def make_proposal_set(
    superpixels: NDArray[np.int32],
    membership: NDArray[np.bool_],
    scores: NDArray[np.floating],
    graph: tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]],
    image_size: tuple[int, int],
) -> ProposalSet:
    """Complete a set with boxes and areas, rows sorted by descending score (stable).

    Args: graph: edges, contour sums and lengths, see :func:`wsis.method.masks.superpixels.adjacency`.
    Raises InputError for ids that are not 0..S-1, an empty proposal, no proposal, or scores outside (0, 1].
    """
    count = count_superpixels(superpixels)
    if membership.ndim != 2 or membership.shape[1] != count or not len(membership):
        raise InputError(f"membership: expected bool [P >= 1, {count}], got {membership.shape}")
    if scores.shape != (len(membership),) or not ((scores > 0) & (scores <= 1)).all():
        raise InputError(
            f"scores: expected [{len(membership)}] in (0, 1], got {scores.shape} {scores[:3]}..."
        )
    empty = ~membership.any(axis=1)
    if empty.any():
        raise InputError(f"membership: expected no empty proposal, got row {int(np.argmax(empty))} empty")
    order = np.argsort(-scores, kind="stable")
    membership, scores = membership[order], scores[order]
    shares = areas_of(membership, superpixel_areas(superpixels)) / superpixels.size
    boxes = boxes_of(membership, superpixel_boxes(superpixels))
    edges, sums, lengths = graph
    return ProposalSet(
        superpixels=superpixels.astype(np.int32, copy=False),
        membership=membership,
        scores=scores.astype(np.float32),
        boxes=boxes_to_image(boxes, (superpixels.shape[0], superpixels.shape[1]), image_size),
        areas=shares.astype(np.float32),
        edges=edges,
        edge_contours=sums,
        edge_lengths=lengths,
        image_size=image_size,
    )
