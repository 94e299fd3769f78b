"""The sheet of an image's proposals: what is drawn lies where it should."""

import numpy as np
import pytest

from wsis.method.masks.proposal_set import ProposalSet, make_proposal_set
from wsis.method.masks.superpixels import proposal_masks
from wsis.reporting.pictures.overlays import fit
from wsis.reporting.pictures.proposal_sheet import (
    SIDE,
    boundary_map,
    outlined,
    proposal_panels,
    proposal_sheet,
)


def quarters(height: int, width: int, count: int = 4) -> ProposalSet:
    """Four superpixels, a quarter of the working image each; proposals: each alone, then pairs, ..."""
    superpixels = np.zeros((height, width), np.int32)
    superpixels[:, width // 2 :] += 1
    superpixels[height // 2 :] += 2
    membership = np.array([[(i >> s) & 1 for s in range(4)] for i in (1, 2, 4, 8, 3, 12, 15)], bool)[:count]
    edges = np.array([[0, 1], [0, 2], [1, 3], [2, 3]], np.int32)
    lengths = np.array([height // 2, width // 2, width // 2, height // 2], np.float32)
    strengths = np.array([0.1, 0.4, 0.4, 0.2], np.float32)
    scores = 1 - np.arange(count) / 10
    return make_proposal_set(
        superpixels, membership, scores, (edges, strengths * lengths, lengths), (2 * height, 2 * width)
    )


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def places(sheet: np.ndarray, picture: np.ndarray) -> list[tuple[int, int]]:
    """Where the picture lies in the sheet, exactly."""
    height, width = picture.shape[:2]
    first = (sheet[: sheet.shape[0] - height + 1, : sheet.shape[1] - width + 1] == picture[0, 0]).all(-1)
    return [
        (y, x)
        for y, x in zip(*np.nonzero(first), strict=True)
        if np.array_equal(sheet[y : y + height, x : x + width], picture)
    ]


# -- boundaries -------------------------------------------------------------------------------------------
def test_boundaries_carry_the_strength_of_their_edge():
    superpixels = np.array([[0, 0, 1], [0, 2, 1], [2, 2, 2]], np.int32)
    edges = np.array([[0, 2], [1, 2], [0, 1]], np.int32)  # any order
    drawn = boundary_map(superpixels, edges, np.array([0.5, 0.7, 0.2], np.float32))
    expected = [[0.5, 0.5, 0.0], [0.5, 0.7, 0.7], [0.0, 0.0, 0.0]]
    # (0, 1): right neighbour across edge 0-1 (0.2), below across 0-2 (0.5): the stronger counts
    expected[0] = [0.0, 0.5, 0.0]
    np.testing.assert_allclose(drawn, expected, atol=1e-7)


def test_one_superpixel_has_no_boundary():
    drawn = boundary_map(np.zeros((3, 4), np.int32), np.zeros((0, 2), np.int32), np.zeros(0, np.float32))
    assert drawn.shape == (3, 4) and not drawn.any()


# -- one proposal -----------------------------------------------------------------------------------------
def test_inside_is_the_photograph_and_the_line_lies_outside():
    image, mask = noise(90, 120), np.zeros((90, 120), bool)
    mask[30:60, 40:80] = True
    before = image.copy()
    drawn = outlined(image, mask)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(drawn[mask], image[mask])
    ring = (drawn == (255, 0, 110)).all(-1)
    assert ring[28:30, 40:80].all() and ring[60:62, 40:80].all() and ring[30:60, 38:40].all()
    assert not ring[:28].any() and not ring[62:].any() and not ring[mask].any()
    outside = ~mask & ~ring
    assert (np.ptp(drawn[outside].astype(int), axis=1) == 0).all() and drawn[
        outside
    ].min() >= 146  # pale grey


def test_panels_are_ranked_and_say_score_and_area():
    panels = proposal_panels(noise(60, 80), quarters(30, 40, 7), 5)
    assert [p.caption for p in panels] == [
        *("1.  score 1.000,  25 %", "2.  score 0.900,  25 %", "3.  score 0.800,  25 %"),
        *("4.  score 0.700,  25 %", "5.  score 0.600,  50 %"),
    ]
    assert len(proposal_panels(noise(60, 80), quarters(30, 40), 12)) == 4


# -- the sheet --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("size", "columns", "shape"),
    [((60, 80), 4, (225, 300)), ((80, 60), 6, (300, 225)), ((50, 50), 4, (300, 300))],
)
def test_photograph_and_proposals_lie_in_reading_order(size, columns, shape):
    image, found = noise(*size), quarters(size[0] // 2, size[1] // 2, 7)
    sheet = proposal_sheet(image, np.zeros(size, np.float32), found, "title")
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    small = fit(image, SIDE)
    assert small.shape[:2] == shape
    masks = proposal_masks(found.superpixels, found.membership, shape)
    at = []
    for mask in masks:
        (place,) = places(sheet, outlined(small, mask))
        at.append(place)
    rows = sorted({y for y, _ in at})
    assert at == sorted(at) and len(rows) == -(-7 // columns)
    assert [y for y, _ in at].count(rows[0]) == min(7, columns)
    step = shape[1] + 8
    assert [x for _, x in at][:columns] == [8 + step * i for i in range(min(7, columns))]
    # the three pictures above are as wide as all columns, within a few pixels
    side = [s for s in range(SIDE + 1, 641) if places(sheet[: sheet.shape[0] // 2], fit(image, s))]
    assert len(side) == 1
    width = fit(image, side[0]).shape[1]
    assert abs(3 * (width + 8) - columns * step) <= 6


def test_contours_and_ultrametric_contours_are_drawn():
    """Contours: black where strongest. Ultrametric: white inside superpixels, darker where stronger."""
    image, found = noise(300, 400), quarters(300, 400)
    contours = np.zeros((30, 40), np.float32)
    contours[:, 20:] = 0.5
    sheet = proposal_sheet(image, contours, found)
    ((y, x),) = places(sheet, fit(image, 402))
    height, width = fit(image, 402).shape[:2]
    left = x + width + 8
    second = sheet[y : y + height, left : left + width]
    assert (second[:, : width // 2 - 8] == 255).all() and (second[:, width // 2 + 8 :] == 0).all()
    third = sheet[y : y + height, left + width + 8 : left + 2 * width + 8]
    column, row = third[:, width // 2 - 4 : width // 2 + 4, 0], third[height // 2 - 4 : height // 2 + 4, :, 0]
    # 0-1 is 0.1 strong and 2-3 0.2; joined, the halves are 0.4 apart, the strongest: black
    assert row.min(axis=0).max() == 0
    assert set(column[: height // 2 - 6].min(axis=1)) == {round(255 * 0.75)}
    assert set(column[height // 2 + 6 :].min(axis=1)) == {round(255 * 0.5)}
    quiet = np.ones(third.shape[:2], bool)
    quiet[height // 2 - 4 : height // 2 + 4] = quiet[:, width // 2 - 4 : width // 2 + 4] = False
    assert (third[quiet] == 255).all()


def test_lines_survive_when_the_working_image_is_larger_than_its_panel():
    image, found = noise(1400, 1800), quarters(1400, 1800)
    sheet = proposal_sheet(image, np.zeros((1400, 1800), np.float32), found)
    ((y, x),) = places(sheet, fit(image, 402))
    height, width = fit(image, 402).shape[:2]
    third = sheet[y : y + height, x + 2 * (width + 8) : x + 2 * (width + 8) + width, 0]
    assert (third[height // 2 - 3 : height // 2 + 3].min(axis=0) == 0).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 5000), (5000, 3)])
def test_extreme_photographs(size):
    working = (max(1, size[0] * 384 // 5000), max(1, size[1] * 384 // 5000))
    superpixels = np.zeros(working, np.int32)
    graph = (np.zeros((0, 2), np.int32), np.zeros(0, np.float32), np.zeros(0, np.float32))
    found = make_proposal_set(superpixels, np.ones((1, 1), bool), np.ones(1), graph, size)
    sheet = proposal_sheet(noise(*size), np.zeros(size, np.float32), found, "title")
    assert 0 < sheet.shape[0] < 1800 and 180 <= sheet.shape[1] < 1800
