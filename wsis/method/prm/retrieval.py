"""The PRM baseline: each peak retrieves the proposal that fits it best (Zhou et al., CVPR 2018, section 3.3).

Suffix legend: N peaks, P proposals, S superpixels, L label sets, A classes, h w working pixels.

    Score(S) = alpha R * S + R * S_contour - beta Q * S                        (eq. 7 there)

R: peak response map, sums to 1. S: the proposal's mask. S_contour: its morphological gradient (a band along
the outline). Q: background, where the class response is below `background` times its mean. The paper leaves
alpha, beta and the threshold to a validation set; the defaults are those of the authors' demonstration, with
beta for Q as a share of the image instead of a count of pixels at 448 x 448 (1e-5 * 448^2 = 2).

Nothing here is dense in P: R * S and Q * S are sums over superpixels, and the contour needs no mask either. A
pixel lies in a proposal's contour band if the window around it holds a superpixel of the proposal and one that
is not: that depends only on the *set* of superpixels in the window. So the response is summed once per distinct
set, and a proposal's contour term is the sum over the sets that it splits. Exact; tested against dense masks.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from wsis.errors import InputError
from wsis.method.masks.superpixels import areas_of, iou_matrix, segment_sums, superpixel_areas
from wsis.method.settings import Settings

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]


# from memory of the authors' demonstration, not verified
_ALPHA, _BETA = 0.8, 2.0
_BACKGROUND = 0.95  # background: response below this factor times its mean
_CONTOUR_WIDTH = 5  # side of the window of the morphological gradient, odd, in working pixels
_MIN_AREA, _MAX_AREA = 2e-5, 0.85  # proposals outside these shares of the image are not considered


class RetrievalConfig(Settings):
    """Which proposals are considered, and which of those found stay."""

    max_proposals: int | None = Field(100, ge=1, description="best-ranked proposals considered; null: all")
    nms: float = Field(0.3, ge=0, le=1, description="IoU from which the weaker of two retrieved masks goes")


@dataclass(frozen=True, eq=False)
class Retrieved:
    """Proposals retrieved for an image, best first.

    | field        | type        | meaning                                       |
    | ------------ | ----------- | --------------------------------------------- |
    | proposal_ids | int32 [M]   | row in the membership                         |
    | labels       | int32 [M]   | class of the peak                             |
    | values       | float32 [M] | the metric                                    |
    """

    proposal_ids: NDArray[np.int32]
    labels: NDArray[np.int32]
    values: NDArray[np.float32]


def retrieve(
    peaks: NDArray[np.integer],
    peak_response_maps: NDArray[np.generic],
    class_response_maps: NDArray[np.generic],
    response_classes: NDArray[np.integer],
    superpixels: NDArray[np.integer],
    membership: BoolArray,
    config: RetrievalConfig,
) -> Retrieved:
    """The best proposal of each peak after non-maximum suppression over all peaks of the image.

    Args:
        peaks: [N, 3], class first. peak_response_maps: [N, ., .], any scale, non-negative.
        class_response_maps: [A, ., .] of response_classes [A], over the whole image.
        superpixels: [h, w]; membership: bool [P, S], best-ranked proposal first.

    Returns:
        Nothing for an image without peaks or without a proposal of admissible size.

    Raises:
        InputError: a peak's class has no class response map, or shapes disagree.
    """
    values = score_proposals(
        peaks, peak_response_maps, class_response_maps, response_classes, superpixels, membership, config
    )
    if len(peaks) == 0 or not np.isfinite(values).any():
        empty = np.zeros(0, np.int32)
        return Retrieved(empty, empty, np.zeros(0, np.float32))
    best = values.argmax(axis=1)
    top = values[np.arange(len(peaks)), best]
    order = np.argsort(-top, kind="stable")
    overlaps = iou_matrix(
        membership[best], membership[best], superpixel_areas(superpixels, membership.shape[1])
    )
    kept: list[int] = []
    for index in order.tolist():
        if all(overlaps[index, other] < config.nms for other in kept):
            kept.append(index)
    return Retrieved(
        best[kept].astype(np.int32),
        peaks[kept, 0].astype(np.int32),
        top[kept].astype(np.float32),
    )


def score_proposals(
    peaks: NDArray[np.integer],
    peak_response_maps: NDArray[np.generic],
    class_response_maps: NDArray[np.generic],
    response_classes: NDArray[np.integer],
    superpixels: NDArray[np.integer],
    membership: BoolArray,
    config: RetrievalConfig,
) -> FloatArray:
    """The metric of every peak and proposal, float64 [N, P]; -inf for proposals not considered."""
    _check(peaks, peak_response_maps, class_response_maps, response_classes)
    size = (superpixels.shape[0], superpixels.shape[1])
    count = membership.shape[1]
    considered = membership[: config.max_proposals]
    values = np.full((len(peaks), len(membership)), -np.inf)
    if len(peaks) == 0 or len(membership) == 0:
        return values
    responses = np.stack([_normalise(_enlarge(m, size)) for m in peak_response_maps], axis=2)  # [h, w, N]
    background = _background_shares(peaks[:, 0], class_response_maps, response_classes, size, _BACKGROUND)
    inside = areas_of(considered, segment_sums(responses, superpixels, count))
    outside = areas_of(considered, segment_sums(background, superpixels, count))
    contour = contour_sums(superpixels, considered, responses, _CONTOUR_WIDTH)
    scored = _ALPHA * inside + contour - _BETA * outside
    share = areas_of(considered, superpixel_areas(superpixels, count)) / superpixels.size
    admissible = (share >= _MIN_AREA) & (share < _MAX_AREA)
    values[:, : len(considered)] = np.where(admissible[:, None], scored, -np.inf).T
    return values


def contour_sums(
    superpixels: NDArray[np.integer], membership: BoolArray, values: FloatArray, width: int
) -> FloatArray:
    """Integral of values [h, w, N] over each proposal's contour band, float64 [P, N].

    The band is the morphological gradient of the mask with a ``width`` x ``width`` window (dilation minus
    erosion); pixels beyond the image's border belong to neither side.
    """
    low = ndimage.minimum_filter(superpixels, width, mode="nearest")
    mixed = low != ndimage.maximum_filter(superpixels, width, mode="nearest")
    if not mixed.any():
        return np.zeros((len(membership), values.shape[2]))
    sets, set_of_pixel = _label_sets(superpixels, mixed, width)
    per_set = np.zeros((len(sets), values.shape[2]))
    np.add.at(per_set, set_of_pixel, values[mixed])
    # any and all over a set's superpixels, one column of the sets at a time
    some = membership[:, sets[:, 0]]
    every = some.copy()
    for column in sets.T[1:]:
        members = membership[:, column]
        some |= members
        every &= members
    sums: FloatArray = (some & ~every).astype(np.float64) @ per_set
    return sums


def _label_sets(
    superpixels: NDArray[np.integer], mixed: BoolArray, width: int
) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Distinct sets of superpixels in the windows of the ``mixed`` pixels.

    Returns: sets int32 [L, K], each row's members, padded with its first; set of each mixed pixel, in order.
    """
    rows, columns = np.nonzero(mixed)
    reach = np.arange(width) - width // 2
    height, breadth = superpixels.shape
    near_rows = np.clip(rows[:, None] + reach, 0, height - 1)
    near_columns = np.clip(columns[:, None] + reach, 0, breadth - 1)
    window = (
        superpixels[near_rows[:, :, None], near_columns[:, None, :]].reshape(len(rows), -1).astype(np.int32)
    )
    window.sort(axis=1)
    fresh = np.ones(window.shape, np.bool_)
    fresh[:, 1:] = window[:, 1:] != window[:, :-1]
    position = fresh.cumsum(axis=1) - 1
    sets = np.repeat(window[:, :1], int(position.max()) + 1, axis=1)
    pixel = np.broadcast_to(np.arange(len(rows))[:, None], window.shape)
    sets[pixel[fresh], position[fresh]] = window[fresh]
    unique, inverse = np.unique(sets, axis=0, return_inverse=True)
    return unique, inverse.reshape(-1)


def _check(
    peaks: NDArray[np.integer],
    peak_response_maps: NDArray[np.generic],
    class_response_maps: NDArray[np.generic],
    response_classes: NDArray[np.integer],
) -> None:
    if peaks.ndim != 2 or peaks.shape[1] != 3 or len(peak_response_maps) != len(peaks):
        raise InputError(
            f"peaks: expected [N, 3] and N peak_response_maps, got {peaks.shape}, {peak_response_maps.shape}"
        )
    if len(response_classes) != len(class_response_maps):
        raise InputError(
            f"response_classes: expected one class for each of {len(class_response_maps)} maps, "
            f"got {len(response_classes)}"
        )
    missing = sorted(set(peaks[:, 0].tolist()) - set(response_classes.tolist()))
    if missing:
        raise InputError(f"class_response_maps: expected maps of the peaks' classes, none for {missing}")


def _enlarge(response: NDArray[np.generic], size: tuple[int, int]) -> FloatArray:
    enlarged = cv2.resize(response.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return enlarged.reshape(size).astype(np.float64)


def _normalise(response: FloatArray) -> FloatArray:
    total = response.sum()
    return response / total if total > 0 else response


def _background_shares(
    classes: NDArray[np.integer],
    class_response_maps: NDArray[np.generic],
    response_classes: NDArray[np.integer],
    size: tuple[int, int],
    factor: float,
) -> FloatArray:
    """Background of each peak's class as shares of the image, [h, w, N]: sums to the background's share."""
    by_class: dict[int, FloatArray] = {}
    for label in set(classes.tolist()):
        response = _enlarge(class_response_maps[response_classes.tolist().index(label)], size)
        by_class[label] = (response < factor * response.mean()) / response.size
    return np.stack([by_class[label] for label in classes.tolist()], axis=2)
