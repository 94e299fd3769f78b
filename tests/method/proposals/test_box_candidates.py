"""Candidates of annotated boxes: they lie in their box, reach its sides and hold the object; hard boxes too."""

import itertools

import numpy as np
import pytest

from tests.records import proposals_of
from wsis.errors import InputError
from wsis.method.masks.boxes import box_iou
from wsis.method.masks.superpixels import adjacency
from wsis.method.proposals.boxes.candidates import CANDIDATES, box_proposals, working_size
from wsis.method.proposals.boxes.colours import coarse
from wsis.method.proposals.boxes.crop import Crop, inscribed
from wsis.method.proposals.boxes.cuts import ColourContext
from wsis.method.proposals.boxes.fit import fit_of_masks
from wsis.method.proposals.contours.detectors import LabGradient, rgb_to_lab

HEIGHT, WIDTH = 60, 80
DETECTOR = LabGradient()


def a_scene():
    """Two touching discs of different colours and a triangle on a noisy ground; their masks and boxes."""
    rng = np.random.default_rng(0)
    image = rng.integers(90, 110, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    masks = [
        (rows - 20) ** 2 + (columns - 20) ** 2 < 12**2,
        (rows - 20) ** 2 + (columns - 43) ** 2 < 12**2,
        (rows > 36) & (rows < 58) & (abs(columns - 60) * 2 < rows - 36),
    ]
    for mask, colour in zip(masks, ((200, 60, 60), (220, 200, 60), (40, 60, 190)), strict=True):
        image[mask] = colour
    boxes = [[m.any(0).argmax(), m.any(1).argmax()] for m in masks]
    ends = [[WIDTH - m[:, ::-1].any(0).argmax(), HEIGHT - m[::-1].any(1).argmax()] for m in masks]
    return image, np.array(masks), np.concatenate([boxes, ends], axis=1).astype(np.float32)


def grid_proposals(size=(HEIGHT, WIDTH), full=None):
    """Superpixels of 10 x 10 pixels, each a proposal, and the whole image."""
    rows, columns = np.indices(size) // 10
    superpixels = (rows * (columns.max() + 1) + columns).astype(np.int32)
    count = int(superpixels.max()) + 1
    membership = np.concatenate([np.ones((1, count), bool), np.eye(count, dtype=bool)])
    graph = adjacency(superpixels, np.zeros(size, np.float32))
    return proposals_of(superpixels, membership, full or size, graph)


def made(boxes, image=None, labels=None):
    image = a_scene()[0] if image is None else image
    labels = np.ones(len(boxes), np.int32) if labels is None else labels
    boxes = np.asarray(boxes, np.float32)
    return box_proposals(image, boxes, labels, grid_proposals(image.shape[:2]), DETECTOR)


def test_each_box_has_a_candidate_that_is_its_object():
    image, masks, boxes = a_scene()
    found = made(boxes, image)
    dense = found.masks()
    assert dense.shape[1:] == (HEIGHT, WIDTH)
    common = (dense[:, None] & masks).sum((2, 3))
    iou = common / (dense[:, None] | masks).sum((2, 3))
    assert iou.max(0).min() > 0.9, iou.max(0)


def test_candidates_lie_in_a_box_and_fill_its_extent():
    _, _, boxes = a_scene()
    found = made(boxes)
    overlap = box_iou(found.boxes, boxes)
    assert (overlap.max(1) >= 0.75).all()
    assert len(found) <= CANDIDATES * len(boxes) and (np.diff(found.scores) <= 0).all()
    outside = np.ones((HEIGHT, WIDTH), bool)
    for x1, y1, x2, y2 in boxes.astype(int):
        outside[y1:y2, x1:x2] = False
    assert not found.masks()[:, outside].any()


def test_the_same_input_gives_the_same_bytes():
    _, _, boxes = a_scene()
    one, other = (made(boxes).to_record() for _ in range(2))
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)


@pytest.mark.parametrize(
    "boxes",
    [
        [[10, 10, 11, 11]],  # a pixel
        [[10.2, 10.3, 10.6, 10.7]],  # less than one
        [[0, 0, WIDTH, HEIGHT]],  # the image
        [
            [0, 0, 1, 1],
            [WIDTH - 1, HEIGHT - 1, WIDTH, HEIGHT],
            [0, HEIGHT - 2, WIDTH, HEIGHT],
        ],  # at the border
        [[8, 8, 32, 32]] * 5,  # the same
        [[5, 5, 60, 50], [10, 10, 30, 30], [15, 15, 20, 20]],  # one in the other
        [[3, 3, 40, 4], [3, 3, 4, 40]],  # lines
    ],
)
def test_hard_boxes_have_candidates_of_their_own(boxes):
    boxes = np.asarray(boxes, np.float32)
    found = made(boxes)
    whole = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], axis=1)
    overlap = box_iou(found.boxes, whole)
    assert (overlap.max(0) >= 0.8).all(), overlap.max(0)
    assert len(found) >= len(boxes)


def test_two_hundred_boxes():
    rng = np.random.default_rng(1)
    corners = rng.integers(0, 50, (200, 2))
    boxes = np.concatenate([corners, corners + rng.integers(1, 10, (200, 2))], axis=1).astype(np.float32)
    found = made(boxes)
    assert (box_iou(found.boxes, boxes).max(0) >= 0.8).all()
    assert 200 <= len(found) <= 1000


def test_an_image_of_one_colour_gets_masks_in_the_boxes():
    image = np.full((40, 50, 3), 128, np.uint8)
    found = made([[5, 5, 35, 25]], image)
    ellipse = np.zeros((40, 50), bool)
    ellipse[5:25, 5:35] = inscribed(20, 30)
    masks = found.masks()
    assert max((m & ellipse).sum() / (m | ellipse).sum() for m in masks) == 1.0


def test_small_boxes_get_a_finer_map_while_the_image_has_pixels():
    small = np.array([[0, 0, 20, 20]], np.float32)
    assert working_size(small, (1000, 2000), (192, 384)) == (512, 1024)
    assert working_size(20 * small, (1000, 2000), (192, 384)) == (192, 384)
    assert working_size(small, (300, 200), (300, 200)) == (300, 200)


def test_no_box_and_a_class_too_few_are_named():
    with pytest.raises(InputError, match="one class for each"):
        made(np.zeros((0, 4)))
    with pytest.raises(InputError, match="got 1 for 2"):
        made([[0, 0, 5, 5], [5, 5, 9, 9]], labels=np.array([1]))


def test_the_score_of_each_boxs_best_is_one_and_it_is_the_object():
    image, masks, boxes = a_scene()
    found = made(boxes, image)
    best = np.flatnonzero(found.scores == 1)
    assert len(best) == len(boxes)
    overlap, dense = box_iou(found.boxes[best], boxes), found.masks(best)
    for row, mask in zip(overlap.argmax(0), masks, strict=True):
        assert (dense[row] & mask).sum() / (dense[row] | mask).sum() > 0.85


def test_fit_against_plain_loops():
    rng = np.random.default_rng(0)
    lab, contour = rgb_to_lab(a_scene()[0]), rng.random((HEIGHT, WIDTH)).astype(np.float32)
    box = (0, 5, 12, 15)  # at the border of the image
    crop = Crop.around(box, (HEIGHT, WIDTH))
    masks = [rng.random((10, 12)) < share for share in (0.3, 0.6, 0.9)]
    found = fit_of_masks(masks, crop, ColourContext(lab, contour, np.zeros((HEIGHT, WIDTH), int), {}))
    bins, count = coarse(lab)
    expected = []
    for mask in masks:
        agreement = np.mean([(mask & other).sum() / (mask | other).sum() for other in masks])
        rows, columns = np.nonzero(mask)
        share = (np.ptp(rows) + 1) * (np.ptp(columns) + 1) / mask.size
        whole = np.zeros((HEIGHT, WIDTH), bool)
        whole[5:15, 0:12] = mask
        along = []
        for y, x in itertools.product(range(HEIGHT), range(WIDTH)):
            for v, u in ((y + 1, x), (y, x + 1)):
                if v < HEIGHT and u < WIDTH and whole[y, x] != whole[v, u]:
                    along.append((contour[y, x] + contour[v, u]) / 2)
        left, top, right, bottom = crop.window
        seen = np.zeros((HEIGHT, WIDTH), bool)
        seen[top:bottom, left:right] = True
        one, other = (np.bincount(bins[part], minlength=count) for part in (whole, seen & ~whole))
        contrast = 1 - np.sqrt(one / one.sum() * other / other.sum()).sum()
        expected.append(agreement * share * (0.1 + np.mean(along)) ** 2 * (0.1 + contrast) ** 0.5)
    np.testing.assert_allclose(found, np.array(expected) / max(expected), rtol=1e-5)


@pytest.mark.parametrize("tilt", [0.0, 0.6, -0.6])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 8), (20, 30), (41, 7)])
def test_inscribed_ellipses_touch_all_sides(size, tilt):
    mask = inscribed(*size, tilt)
    assert mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any()
    if min(size) > 6:
        assert mask.mean() == pytest.approx(np.pi / 4 * (1 - tilt**2) ** 0.5, abs=0.05)
        quarter = mask[: size[0] // 2, : size[1] // 2].sum() - mask[: size[0] // 2, -(size[1] // 2) :].sum()
        assert np.sign(quarter) == np.sign(tilt)
