"""Contour maps at the photograph's size, and the ultrametric contours of a stored set, against values by hand."""

import cv2
import numpy as np
import pytest

from wsis.errors import InputError
from wsis.method.masks.proposal_set import make_proposal_set
from wsis.method.proposals import MCGConfig
from wsis.method.proposals.maps import contour_map, ultrametric_strengths


class Constant:
    """Strength 0.1 at scale 2, 0.2 at 1, 0.6 at 0.5; remembers the sizes it saw."""

    learned = False
    scales = (2.0, 1.0, 0.5)
    smoothing = 0.8

    def __init__(self):
        self.seen = []

    def __call__(self, image, scale):
        self.seen.append((image.shape, scale))
        strength = np.full(image.shape[:2], {2.0: 0.1, 1.0: 0.2, 0.5: 0.6}[scale], np.float32)
        strength[:, image.shape[1] // 2 :] = 0
        return strength


def test_the_mean_over_the_scales_at_the_working_size_enlarged():
    detector = Constant()
    image = np.zeros((60, 80, 3), np.uint8)
    got = contour_map(image, MCGConfig(max_side=40), detector)
    assert {shape for shape, _ in detector.seen} == {(30, 40, 3)}
    assert got.shape == (60, 80) and got.dtype == np.float32
    small = np.zeros((30, 40), np.float32)
    small[:, :20] = 0.3
    np.testing.assert_allclose(got, cv2.resize(small, (80, 60), interpolation=cv2.INTER_LINEAR), atol=1e-6)
    assert got[:, :39].min() == pytest.approx(0.3) and got[:, 41:].max() == 0


def test_at_the_same_size_nothing_is_resampled():
    got = contour_map(np.zeros((30, 40, 3), np.uint8), MCGConfig(max_side=40), Constant())
    np.testing.assert_allclose(got[:, :20], 0.3, atol=1e-7)
    assert (got[:, 20:] == 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (500, 3)])
def test_tiny_and_narrow_photographs(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    got = contour_map(image, MCGConfig(contour="lab_gradient", max_side=64))
    assert got.shape == shape and got.min() >= 0 and got.max() <= 1


def test_bad_image():
    with pytest.raises(InputError, match="expected uint8 RGB"):
        contour_map(np.zeros((4, 4), np.uint8), detector=Constant())


def proposals_of(superpixels, edges, strengths, lengths):
    count = int(superpixels.max()) + 1
    lengths = np.array(lengths, np.float32)
    graph = (np.array(edges, np.int32).reshape(-1, 2), np.array(strengths, np.float32) * lengths, lengths)
    return make_proposal_set(superpixels, np.ones((1, count), bool), np.ones(1), graph, superpixels.shape)


def test_regions_join_at_the_mean_strength_of_their_whole_boundary():
    """0 and 1 join at 0.2; what they share with 2 is then (2 * 0.8 + 6 * 0.4) / 8 = 0.5 strong."""
    superpixels = np.array([[0, 1, 2]], np.int32)
    found = proposals_of(superpixels, [[0, 1], [0, 2], [1, 2]], [0.2, 0.8, 0.4], [2, 2, 6])
    np.testing.assert_allclose(ultrametric_strengths(found), [0.2, 0.5, 0.5], atol=1e-6)


def test_a_chain_keeps_its_strengths_and_one_region_has_none():
    chain = proposals_of(np.array([[0, 1, 2]], np.int32), [[0, 1], [1, 2]], [0.2, 0.6], [1, 1])
    np.testing.assert_allclose(ultrametric_strengths(chain), [0.2, 0.6], atol=1e-6)
    alone = proposals_of(np.zeros((2, 2), np.int32), [], [], [])
    assert ultrametric_strengths(alone).shape == (0,)
