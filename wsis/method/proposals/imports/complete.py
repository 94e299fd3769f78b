"""What the importers of proposals share: their settings, and the way from masks or sets to a `ProposalSet`.

Legend: H W image, h w working size, P proposals, S superpixels, E edges.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.masks.flips import Flips
from wsis.method.masks.proposal_set import ProposalSet, make_proposal_set
from wsis.method.masks.superpixels import adjacency, superpixel_areas
from wsis.method.proposals.contours.detectors import ContourDetector, LabGradient
from wsis.method.proposals.generator.ranking import unlearned_score_of_sets
from wsis.method.proposals.generator.region_tree import border_lengths
from wsis.method.proposals.imports.cells import superpixels_of_masks

Ranking = Literal["unlearned", "file"]
_SCORED_AT_ONCE = 1 << 23  # entries of a proposals x edges table


@dataclass(frozen=True)
class ImportSettings:
    """How proposals from elsewhere become a `ProposalSet`.

    Attributes:
        ranking: "unlearned" scores the sets anew; "file" keeps the file's order (the published MCG and COB
            files have learned theirs from pixel labels of VOC).
        num_proposals: keep the best so many; None: all.
        detector: contour detector for the superpixel graph; None: the Lab gradient.
        max_side: longer side of the working image of COCO results (never enlarged).
        max_cells: most superpixels of COCO results, beyond which masks lose their slivers; see
            `wsis.method.proposals.imports.cells.superpixels_of_masks`.
    """

    ranking: Ranking = "unlearned"
    num_proposals: int | None = None
    detector: ContourDetector | None = None
    max_side: int = 384
    max_cells: int = 4096


def complete_masks(
    masks: Sequence[Flips],
    scores: NDArray[np.float64],
    image: NDArray[np.uint8],
    image_size: tuple[int, int],
    where: str,
    settings: ImportSettings,
) -> ProposalSet:
    """Proposals of masks (flips at the working size), one score each; the empty ones are dropped.

    Args:
        image: the working image uint8 RGB [h, w, 3]; image_size: (H, W) of the original.
    Raises:
        InputError: no mask has a pixel.
    """
    rows = np.flatnonzero([len(mask) > 0 for mask in masks]).astype(np.int64)
    if settings.ranking == "file":
        rows = rows[np.argsort(-scores[rows], kind="stable")[: settings.num_proposals]]
    size = (image.shape[0], image.shape[1])
    superpixels, membership = superpixels_of_masks(
        [masks[row] for row in rows.tolist()], size, settings.max_cells
    )
    return complete(superpixels, membership, scores[rows], image, image_size, where, settings)


def complete(
    superpixels: NDArray[np.int32],
    membership: NDArray[np.bool_],
    scores: NDArray[np.float64],
    image: NDArray[np.uint8],
    image_size: tuple[int, int],
    where: str,
    settings: ImportSettings,
) -> ProposalSet:
    """Contours on the graph, unlearned scores if asked for, empty proposals dropped, scores as ranks 1 - i / P.

    Args:
        superpixels: int32 [h, w]; membership: bool [P, S]; scores: [P], the file's.
        image: the working image uint8 RGB [h, w, 3]; image_size: (H, W) of the original.
    Raises:
        InputError: no proposal has a pixel.
    """
    graph = adjacency(superpixels, (settings.detector or LabGradient())(image, 1.0))
    filled = membership.any(axis=1)
    membership, scores = membership[filled], scores[filled]
    if not len(membership):
        raise InputError(f"{where}: expected at least one proposal with pixels, got none")
    if settings.ranking == "unlearned":
        scores = _unlearned_scores(superpixels, membership, graph)
    order = np.argsort(-scores, kind="stable")[: settings.num_proposals]
    ranks = 1 - np.arange(len(order)) / len(order)
    return make_proposal_set(superpixels, membership[order], ranks, graph, image_size)


def _unlearned_scores(
    superpixels: NDArray[np.int32],
    membership: NDArray[np.bool_],
    graph: tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]],
) -> NDArray[np.float64]:
    areas = superpixel_areas(superpixels)
    border = border_lengths(superpixels, len(areas))
    rows = max(1, _SCORED_AT_ONCE // max(len(areas), len(graph[0])))
    blocks = [membership[start : start + rows] for start in range(0, len(membership), rows)]
    return np.concatenate([unlearned_score_of_sets(block, areas, border, graph) for block in blocks])
