"""What the generator and every importer return."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.masks.superpixels import (
    areas_of,
    boxes_of,
    boxes_to_image,
    count_superpixels,
    proposal_masks,
    superpixel_areas,
    superpixel_boxes,
)


@dataclass(frozen=True)
class ProposalSet:
    """The proposals of one image as sets of superpixels.

    Legend: H W original image, h w working size, P proposals, S superpixels, E edges.

    Attributes:
        superpixels: int32 [h, w], ids 0..S-1, every one present.
        membership: bool [P, S], P >= 1, no empty row.
        scores: float32 [P], descending, in (0, 1].
        boxes: float32 [P, 4] xyxy, original pixels, x2 y2 exclusive: tight boxes of the masks.
        areas: float32 [P], share of the working image, in (0, 1].
        edges: int32 [E, 2], neighbouring superpixels a < b, lexicographic.
        edge_contours: float32 [E], sum of contour strength over the common boundary.
        edge_lengths: float32 [E], pixel pairs of the common boundary.
        image_size: (H, W).
    """

    superpixels: NDArray[np.int32]
    membership: NDArray[np.bool_]
    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]
    areas: NDArray[np.float32]
    edges: NDArray[np.int32]
    edge_contours: NDArray[np.float32]
    edge_lengths: NDArray[np.float32]
    image_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.scores)

    def masks(self, rows: NDArray[np.integer] | slice = np.s_[:]) -> NDArray[np.bool_]:
        """Dense masks bool [n, H, W] of the given proposals at the original size."""
        return proposal_masks(self.superpixels, self.membership[rows], self.image_size)


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
