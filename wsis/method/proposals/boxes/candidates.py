"""Proposals of an image with annotated boxes: each box's own candidates, as sets of superpixels that they cut.

A box gets the image's proposals cut to it, cuts of its inside against its outside (`cuts`) and ellipses inscribed in
it; all lie in the box and nearly reach its sides.
Suffix legend: H W original image, h w working size, P proposals, S superpixels, N boxes.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.masks.boxes import check_boxes
from wsis.method.masks.flips import Flips, flips_of_mask
from wsis.method.masks.proposal_set import ProposalSet, make_proposal_set
from wsis.method.masks.superpixels import adjacency, resize_nearest
from wsis.method.proposals.boxes.crop import Crop, IntBox, inscribed, pixel_boxes
from wsis.method.proposals.boxes.cuts import ColourContext, colour_context, cut_box, extent
from wsis.method.proposals.boxes.fit import fit_of_masks
from wsis.method.proposals.contours.detectors import ContourDetector, contour_scales, rgb_to_lab
from wsis.method.proposals.imports.cells import superpixels_of_masks

CANDIDATES = 16  # of a box at most
_ALL_CANDIDATES = 1000  # of an image, where that leaves a box `_FEWEST`
_FEWEST = 4
_MAX_CELLS = 4096
_LEAST_SCORE = 1e-6
_TILTS = (0.6, -0.6, 0.0)  # of inscribed ellipses; the last resort is the last
_LEAST_EXTENT = 0.8  # share of the box that a candidate's own box must fill
_SAME = 0.95  # IoU from which two candidates of a box are one
_CUT_PROPOSALS = 8
_LOOKED_AT = 40  # proposals that are cut before those that come out equal are dropped
_FULL = 0.98  # share of the box from which a cut proposal is the box and no object
_BOX_SIDE, _MAX_SIDE = (
    24,
    1024,
)  # working size: small boxes get so many pixels a side while the image has them
_CONTOUR_SIDE, _MAX_ENLARGED, _MAX_CONTOUR_SIDE = (
    48,
    3.0,
    1152,
)  # contours are looked for on an enlarged image


def box_proposals(
    image: NDArray[np.uint8],
    boxes: NDArray[np.floating],
    labels: NDArray[np.integer],
    proposals: ProposalSet,
    detector: ContourDetector,
) -> ProposalSet:
    """Candidates of every box with their fit to it as scores (`fit_of_masks`), equal bytes for equal input.

    Every box has at least one row of its own, of score 1; boxes that are equal have equal rows, one each.

    Args:
        image: uint8 RGB [H, W, 3]; boxes: float [N >= 1, 4] xyxy in its pixels; labels: int [N], their classes.
        proposals: of the image, of any origin; they are cut to the boxes.
        detector: of contours.

    Raises:
        InputError: no box, boxes that are no boxes, or not one class a box.
    """
    check_boxes(boxes)
    if not len(boxes) or len(labels) != len(boxes):
        raise InputError(f"boxes: expected one class for each of N >= 1, got {len(labels)} for {len(boxes)}")
    full = (image.shape[0], image.shape[1])
    size = working_size(boxes, full, proposals.superpixels.shape)
    small = image if size == full else cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    whole = pixel_boxes(boxes, (size[0] / full[0], size[1] / full[1]), size)
    contour = _contours(small, whole, detector)
    context = colour_context(rgb_to_lab(small), contour, whole, labels)
    superpixels = resize_nearest(proposals.superpixels, size)
    scale = np.array([size[1] / full[1], size[0] / full[0]] * 2)
    before = _Before(superpixels, proposals.membership, proposals.boxes * scale)
    most = max(_FEWEST, min(CANDIDATES, _ALL_CANDIDATES // len(boxes)))
    masks: list[Flips] = []
    fits: list[NDArray[np.float64]] = []
    for box, label in zip(whole, labels.tolist(), strict=True):
        crop = Crop.around(box, size)
        found = _candidates(crop, label, context, before)
        fit = fit_of_masks(found, crop, context)
        best = np.argsort(-fit, kind="stable")[:most]
        masks += [flips_of_mask(_placed(found[row], box, size)) for row in best]
        fits.append(fit[best])
    cells, membership = superpixels_of_masks(masks, size, _MAX_CELLS)
    filled = membership.any(axis=1)  # what merged cells left of a tiny box may be nothing
    scores = np.maximum(np.concatenate(fits), _LEAST_SCORE)
    return make_proposal_set(cells, membership[filled], scores[filled], adjacency(cells, contour), full)


def working_size(
    boxes: NDArray[np.floating], full: tuple[int, int], usual: tuple[int, ...]
) -> tuple[int, int]:
    """(h, w) between the usual one and the image's (H, W): a quarter of the boxes may have less than `_BOX_SIDE`
    pixels a side."""
    sides = np.sqrt(np.clip((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 1, None))
    wanted = _BOX_SIDE / float(np.quantile(sides, 0.25)) * max(full)
    longest = min(max(full), max(max(usual), min(wanted, _MAX_SIDE)))
    factor = longest / max(full)
    return max(1, round(full[0] * factor)), max(1, round(full[1] * factor))


def _contours(
    image: NDArray[np.uint8], boxes: Sequence[IntBox], detector: ContourDetector
) -> NDArray[np.float32]:
    """Contours [h, w]; where boxes are small the detector sees the image enlarged."""
    height, width = image.shape[:2]
    side = float(np.median([((x2 - x1) * (y2 - y1)) ** 0.5 for x1, y1, x2, y2 in boxes]))
    factor = min(_CONTOUR_SIDE / side, _MAX_ENLARGED, _MAX_CONTOUR_SIDE / max(height, width))
    if factor <= 1:
        return contour_scales(image, detector).mean(axis=0)
    size = (round(width * factor), round(height * factor))
    large = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    found = contour_scales(large, detector).mean(axis=0)
    return cv2.resize(found, (width, height), interpolation=cv2.INTER_AREA)


class _Before:
    """Proposals that know of no box: superpixels int [h, w], membership bool [P, S], boxes [P, 4] in working pixels."""

    def __init__(
        self, superpixels: NDArray[np.int32], membership: NDArray[np.bool_], boxes: NDArray[np.floating]
    ) -> None:
        self.superpixels, self.membership, self.boxes = superpixels, membership, boxes
        self.sums = membership.astype(np.float32)
        self.areas = self.sums @ np.bincount(superpixels.ravel(), minlength=membership.shape[1])

    def cut_to(self, box: IntBox) -> list[NDArray[np.bool_]]:
        """What lies in the box, bool [y2 - y1, x2 - x1], of those that fill its extent and lie most in it."""
        x1, y1, x2, y2 = box
        part = self.superpixels[y1:y2, x1:x2]
        inside = self.sums @ np.bincount(part.ravel(), minlength=self.membership.shape[1])
        low, high = np.maximum(self.boxes[:, :2], (x1, y1)), np.minimum(self.boxes[:, 2:], (x2, y2))
        span = np.clip(high - low, 0, None).prod(axis=1) / part.size
        score = span * inside / np.maximum(self.areas, 1)
        rows = np.flatnonzero((span >= _LEAST_EXTENT) & (inside < _FULL * part.size))
        rows = rows[np.argsort(-score[rows], kind="stable")[:_LOOKED_AT]]
        found: list[NDArray[np.bool_]] = []
        for row in rows:
            mask = self.membership[row][part]
            if extent(mask) >= _LEAST_EXTENT * part.size and all(
                _iou(mask, other) < _SAME for other in found
            ):
                found.append(mask)
            if len(found) == _CUT_PROPOSALS:
                break
        return found


def _candidates(
    crop: Crop,
    label: int,
    context: ColourContext,
    before: _Before,
) -> list[NDArray[np.bool_]]:
    """Distinct masks of one box at the working size, bool [y2 - y1, x2 - x1]: cuts, the ellipse, cut proposals."""
    x1, y1, x2, y2 = crop.box
    made = [*cut_box(crop, label, context), *(inscribed(y2 - y1, x2 - x1, tilt) for tilt in _TILTS)]
    least = _LEAST_EXTENT * (x2 - x1) * (y2 - y1)
    kept: list[NDArray[np.bool_]] = []
    for mask in (*made, *before.cut_to(crop.box)):
        if extent(mask) >= least and all(_iou(mask, other) < _SAME for other in kept):
            kept.append(mask)
    return kept or made[-1:]


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def _placed(mask: NDArray[np.bool_], box: IntBox, size: tuple[int, int]) -> NDArray[np.bool_]:
    """A box's mask in the whole map (h, w)."""
    x1, y1, x2, y2 = box
    whole = np.zeros(size, np.bool_)
    whole[y1:y2, x1:x2] = mask
    return whole
