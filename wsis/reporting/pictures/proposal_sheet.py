"""One sheet an image: the photograph, its contours, its ultrametric contours, its first proposals by rank.

Suffix legend: H W original image, h w working size, P proposals, S superpixels, E edges.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from data_contracts.printable import counted
from wsis.method.masks.proposal_set import ProposalSet
from wsis.method.masks.superpixels import proposal_masks, resize_nearest
from wsis.method.proposals.maps import ultrametric_strengths
from wsis.reporting.pictures.overlays import fit, line_width
from wsis.reporting.pictures.panels import Panel, side_by_side

SIDE = 300  # longer side of a proposal; the three pictures above are as wide as all columns
_COUNT = 12
_LEAST_WIDTH = 180  # so that captions can be read under any photograph
_OUTLINE = np.array([255, 0, 110], np.uint8)  # a pink that photographs rarely hold
_MOST_SIDE = 640
_WHITE = 255
_GAP = 8  # as `side_by_side` leaves


def proposal_sheet(
    image: NDArray[np.uint8],
    contours: NDArray[np.floating],
    proposals: ProposalSet,
    title: str = "",
) -> NDArray[np.uint8]:
    """The sheet as uint8 [H', W', 3].

    Args:
        image: uint8 RGB [H, W, 3].
        contours: strength in [0, 1], float [H, W] or of any other size, stretched over the image.
    """
    columns = 4 if image.shape[1] >= image.shape[0] else 6
    shown = min(_COUNT, len(proposals))
    below = side_by_side(
        proposal_panels(image, proposals, shown),
        f"the first {shown} of {len(proposals)} proposals: rank, score, share of the image",
        columns,
    )
    tile = fit(image, SIDE).shape[1]
    side = min(SIDE * (columns * (tile + _GAP) // 3 - _GAP) // tile, _MOST_SIDE)
    above = side_by_side(_maps(image, contours, proposals, side), title, columns=3)
    width = max(above.shape[1], below.shape[1])
    return np.concatenate([_widened(part, width) for part in (above, below)])


def _maps(
    image: NDArray[np.uint8], contours: NDArray[np.floating], proposals: ProposalSet, side: int
) -> list[Panel]:
    """Photograph, contours and ultrametric contours."""
    boundary = boundary_map(proposals.superpixels, proposals.edges, ultrametric_strengths(proposals))
    photograph = fit(image, side)
    size = (photograph.shape[0], photograph.shape[1])
    count = proposals.membership.shape[1]
    return [
        _panel(f"photograph, {image.shape[1]} × {image.shape[0]}", photograph),
        _panel(f"contours, strongest {contours.max():.2f}", _dark_on_white(_stretched(contours, size))),
        _panel(
            f"ultrametric contours, {counted(count, 'superpixel')}",
            _dark_on_white(_enlarged(boundary, size)),
        ),
    ]


def proposal_panels(image: NDArray[np.uint8], proposals: ProposalSet, count: int) -> list[Panel]:
    """The first `count` proposals, each outlined on the photograph, which is faded where it is not the proposal."""
    small = fit(image, SIDE)
    masks = proposal_masks(
        proposals.superpixels, proposals.membership[:count], (small.shape[0], small.shape[1])
    )
    rows = zip(masks, proposals.scores.tolist(), proposals.areas.tolist(), strict=False)
    return [
        _panel(f"{rank}.  score {score:.3f},  {_percent(area)}", outlined(small, mask))
        for rank, (mask, score, area) in enumerate(rows, start=1)
    ]


def outlined(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The image uint8 [H, W, 3] as it is inside the mask, faded to grey outside, and a line around the mask.

    The line lies outside, so that it hides nothing of a small object.
    """
    grey = image.mean(axis=2, keepdims=True)
    drawn = np.rint(0.35 * grey + 0.65 * 225).astype(np.uint8).repeat(3, axis=2)
    drawn[mask] = image[mask]
    width = line_width(image.shape)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    around = cv2.dilate(mask.astype(np.uint8), kernel).astype(np.bool_) & ~mask
    drawn[around] = _OUTLINE
    return drawn


def boundary_map(
    superpixels: NDArray[np.integer], edges: NDArray[np.integer], strengths: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Strengths [E] of the edges [E, 2] drawn on the boundaries of superpixels [h, w], float32 [h, w].

    A pixel has the strength of the strongest boundary at its right and lower side, 0 inside a superpixel.
    """
    count = int(superpixels.max()) + 1
    keys = edges[:, 0].astype(np.int64) * count + edges[:, 1]
    order = np.argsort(keys)
    keys, values = keys[order], strengths[order].astype(np.float32)
    drawn = np.zeros(superpixels.shape, np.float32)
    for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        a, b = superpixels[one].astype(np.int64), superpixels[other].astype(np.int64)
        differ = a != b
        found = np.searchsorted(keys, (np.minimum(a, b) * count + np.maximum(a, b))[differ])
        drawn[one][differ] = np.maximum(drawn[one][differ], values[found])
    return drawn


def _panel(caption: str, picture: NDArray[np.uint8]) -> Panel:
    return Panel(caption, _widened(picture, _LEAST_WIDTH))


def _widened(picture: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """With white at its right where it is narrower."""
    missing = max(0, width - picture.shape[1])
    return np.pad(picture, ((0, 0), (0, missing), (0, 0)), constant_values=_WHITE)


def _enlarged(drawn: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Lines at another size: enlarged as they are, made wider before they are reduced, so that none is lost."""
    steps = [-(-have // want) for have, want in zip(drawn.shape, size, strict=True)]
    if max(steps) > 1:
        drawn = cv2.dilate(drawn, np.ones((steps[0], steps[1]), np.uint8))
    return resize_nearest(drawn, size)


def _stretched(contours: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.float32]:
    way = cv2.INTER_AREA if contours.shape[0] > size[0] else cv2.INTER_LINEAR
    return cv2.resize(contours.astype(np.float32), (size[1], size[0]), interpolation=way)


def _dark_on_white(strength: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Strength [H, W] -> uint8 [H, W, 3], the strongest black."""
    share = strength / max(float(strength.max()), 1e-6)
    return np.rint(255 * (1 - share)).astype(np.uint8)[:, :, None].repeat(3, axis=2)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.2g} %"
