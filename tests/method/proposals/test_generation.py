"""The generator as a whole: objects found, degenerate images, the same bytes twice, settings refused."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from tests.method.proposals.mcg_cases import scene
from wsis.errors import InputError
from wsis.method.masks.boxes import box_of_mask
from wsis.method.masks.superpixels import adjacency, iou_with_masks, proposal_masks
from wsis.method.proposals import MCGConfig, ProposalSet, generate
from wsis.method.proposals.contours.detectors import LabGradient
from wsis.method.proposals.generator import generation
from wsis.method.proposals.generator.finer_grid import has_room
from wsis.method.proposals.generator.generation import working_image

SMALL = MCGConfig(contour="lab_gradient", max_side=96, max_regions=120, num_proposals=150)
LEARNED = SMALL.model_copy(update={"contour": "learned"})


def check(proposals: ProposalSet, size: tuple[int, int]) -> None:
    """Everything that ProposalSet promises."""
    count = proposals.membership.shape[1]
    assert proposals.image_size == size and len(proposals) == len(proposals.membership) >= 1
    assert np.unique(proposals.superpixels).tolist() == list(range(count))
    assert proposals.membership.any(axis=1).all()
    assert proposals.membership.all(axis=1).any()  # the whole image is one of them
    assert len(np.unique(proposals.membership, axis=0)) == len(proposals)
    assert (np.diff(proposals.scores) <= 0).all() and 0 < proposals.scores[-1] <= proposals.scores[0] <= 1
    masks = proposals.masks()
    assert masks.shape == (len(proposals), *size)
    for mask, box in zip(masks, proposals.boxes, strict=True):
        np.testing.assert_array_equal(box, box_of_mask(mask))
    working = proposal_masks(proposals.superpixels, proposals.membership, proposals.superpixels.shape)
    np.testing.assert_allclose(proposals.areas, working.mean(axis=(1, 2)), rtol=1e-5)
    edges, _, lengths = adjacency(proposals.superpixels, np.zeros(proposals.superpixels.shape))
    np.testing.assert_array_equal(proposals.edges, edges)
    np.testing.assert_array_equal(proposals.edge_lengths, lengths)
    assert (proposals.edge_contours >= 0).all() and (proposals.edge_contours <= lengths * 1.0001).all()
    assert [getattr(proposals, name).dtype for name in ("superpixels", "edges")] == [np.int32, np.int32]
    for name in ("scores", "boxes", "areas", "edge_contours", "edge_lengths"):
        assert getattr(proposals, name).dtype == np.float32


def test_objects_of_a_scene_are_found():
    image, discs = scene()
    proposals = generate(image, SMALL)
    check(proposals, image.shape[:2])
    iou = iou_with_masks(proposals.superpixels, proposals.membership, discs)
    assert (iou.max(axis=0) > 0.85).all()
    assert (iou[:30].max(axis=0) > 0.85).all()


def test_learned_contours_find_the_objects_first():
    image, discs = scene()
    proposals = generate(image, LEARNED)
    check(proposals, image.shape[:2])
    assert iou_with_masks(proposals.superpixels, proposals.membership, discs)[:10].max(axis=0).min() > 0.85


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 5000), (33, 70)], ids=str)
@pytest.mark.parametrize("value", [0, 255, None])
def test_learned_contours_of_degenerate_images(size, value):
    image = np.full((*size, 3), value or 0, np.uint8)
    if value is None:
        image = np.random.default_rng(0).integers(0, 256, image.shape, dtype=np.uint8)
    check(generate(image, LEARNED.model_copy(update={"num_proposals": 60})), size)


def test_proposals_have_no_holes_and_one_part():
    image, _ = scene(seed=3)
    proposals = generate(image, SMALL)
    for mask in proposal_masks(proposals.superpixels, proposals.membership, proposals.superpixels.shape):
        assert ndimage.label(mask)[1] == 1
        np.testing.assert_array_equal(mask, ndimage.binary_fill_holes(mask, np.ones((3, 3))))


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (8, 8), (3, 5000), (5000, 3), (1, 400), (97, 200)], ids=str)
@pytest.mark.parametrize("kind", ["noise", "uniform", "ramp", "two halves"])
def test_degenerate_images(size, kind):
    height, width = size
    rng = np.random.default_rng(height * width)
    image = np.zeros((height, width, 3), np.uint8)
    if kind == "noise":
        image = rng.integers(0, 256, image.shape, dtype=np.uint8)
    elif kind == "ramp":
        image += np.linspace(0, 255, width).astype(np.uint8)[None, :, None]
    elif kind == "two halves":
        image[:, width // 2 :] = 200
    proposals = generate(image, SMALL.model_copy(update={"num_proposals": 60}))
    check(proposals, size)
    if kind == "uniform":
        assert len(proposals) == 1 and proposals.areas.tolist() == [1.0]
        assert proposals.boxes.tolist() == [[0, 0, width, height]] and proposals.scores.tolist() == [1.0]
    if kind == "two halves" and height > 3 and width > 3:
        half = np.zeros((1, height, width), bool)
        half[0, :, width // 2 :] = True
        assert iou_with_masks(proposals.superpixels, proposals.membership, half).max() > 0.85


def test_working_image_is_bounded_and_never_enlarged():
    assert working_image(np.zeros((600, 1200, 3), np.uint8), 384).shape == (192, 384, 3)
    assert working_image(np.zeros((3, 5000, 3), np.uint8), 384).shape == (1, 384, 3)
    assert working_image(np.zeros((20, 10, 3), np.uint8), 384).shape == (20, 10, 3)


def test_limits_are_kept():
    image, _ = scene(seed=1)
    proposals = generate(image, SMALL.model_copy(update={"max_regions": 25, "num_proposals": 9}))
    assert proposals.membership.shape[1] == 25 and len(proposals) == 9
    check(generate(image, SMALL.model_copy(update={"num_proposals": 1})), image.shape[:2])
    alone = generate(image, SMALL.model_copy(update={"max_regions": 1}))
    assert alone.membership.tolist() == [[True]]


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (53, 140, 77), (1, 2, 3), (250, 10, 128)])
def test_a_single_colour_is_one_superpixel(colour):
    """Rounding in colour conversion and smoothing is no contour, also where vector code ends and scalar begins."""
    image = np.broadcast_to(np.array(colour, np.uint8), (61, 93, 3)).copy()
    for scale in (2.0, 1.0, 0.5, 0.1):
        assert not LabGradient()(image, scale).any()
    proposals = generate(image, SMALL)
    assert not proposals.superpixels.any() and proposals.membership.tolist() == [[True]]
    image[:30, :40, 0] ^= 1  # the least that differs
    assert LabGradient()(image, 1.0).any()


@pytest.mark.parametrize("config", [SMALL, LEARNED], ids=["lab_gradient", "learned"])
def test_the_same_bytes_again_and_in_another_process(tmp_path, config):
    image, _ = scene(seed=5)
    one, other = generate(image, config), generate(image.copy(), config)
    for field in fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
    np.save(tmp_path / "image.npy", image)
    code = (
        "import sys, numpy as np, torch; from wsis.method.proposals import MCGConfig, generate;"
        "torch.set_num_threads(1);"
        f"p = generate(np.load(sys.argv[1]), {config!r});"
        "np.savez(sys.argv[2], m=p.membership, s=p.superpixels, c=p.edge_contours)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "image.npy"), str(tmp_path / "out.npz")]
    subprocess.run(command, check=True, cwd=Path(__file__).resolve().parents[3])
    with np.load(tmp_path / "out.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["m"], one.membership)
        np.testing.assert_array_equal(stored["s"], one.superpixels)
        np.testing.assert_array_equal(stored["c"], one.edge_contours)


def test_a_learned_detector_fits_in():
    """Any object of the protocol; a learned one gets neither region contrast nor Ward's criterion."""
    image, discs = scene()

    class Oracle:
        learned, scales, smoothing = True, (1.0, 0.5), 0.8

        def __call__(self, pixels, scale):
            edge = np.zeros(pixels.shape[:2], np.float32)
            for disc in discs:
                times = len(pixels) // len(disc)  # it is asked for an enlarged image too
                there = disc.repeat(times, axis=0).repeat(times, axis=1)
                edge[there ^ ndimage.binary_erosion(there)] = 0.9
            return edge

    proposals = generate(image, SMALL, Oracle())
    check(proposals, image.shape[:2])
    assert iou_with_masks(proposals.superpixels, proposals.membership, discs)[:5].max(axis=0).min() > 0.7


def test_lab_gradient_finds_the_step_and_nothing_else():
    image = np.full((20, 30, 3), 90, np.uint8)
    image[:, 15:] = (160, 90, 90)
    for scale in (2.0, 1.0, 0.5):
        contour = LabGradient()(image, scale)
        assert contour.dtype == np.float32 and contour.shape == (20, 30)
        assert (contour >= 0).all() and (contour < 1).all()
        assert set(contour.argmax(axis=1).tolist()) <= {14, 15}
        assert contour[:, :2].max() < 0.02
    widths = [(LabGradient()(image, scale)[0] > 0.05).sum() for scale in (2.0, 1.0, 0.5)]
    assert widths[0] < widths[1] < widths[2]
    assert LabGradient()(np.full((5, 5, 3), 7, np.uint8), 1.0).max() == 0


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"max_side": 8}, "max_side"),
        ({"num_proposals": 0}, "num_proposals"),
        ({"max_regions": 70000}, "max_regions"),
        ({"contour": "structured_forests"}, "learned"),
    ],
)
def test_settings_out_of_range_are_named(settings, match):
    with pytest.raises(ValueError, match=match):
        MCGConfig(**settings)


@pytest.mark.parametrize("image", [np.zeros((5, 5)), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)])
def test_other_than_rgb_bytes_are_refused(image):
    with pytest.raises(InputError, match=r"expected uint8 RGB \[H, W, 3\]"):
        generate(image, SMALL)


def test_real_photograph(voc_root):
    from PIL import Image

    path = sorted((voc_root / "SegmentationObject").glob("*.png"))[0]
    objects = np.asarray(Image.open(path))
    image = np.asarray(Image.open(voc_root / "JPEGImages" / f"{path.stem}.jpg").convert("RGB"))
    proposals = generate(image, MCGConfig(contour="lab_gradient", num_proposals=300))
    check(proposals, image.shape[:2])
    masks = np.stack([objects == k for k in np.unique(objects) if k not in (0, 255)])
    found = iou_with_masks(proposals.superpixels, proposals.membership, masks, objects == 255)
    dense = proposals.masks()[:40] & (objects != 255)
    for row in range(40):
        union = (dense[row] | masks).sum((1, 2))
        np.testing.assert_allclose(found[row], (dense[row] & masks).sum((1, 2)) / union)


def test_few_regions_make_it_look_closer(monkeypatch):
    """A scene of few superpixels is looked at at twice its size; the map keeps the working size, in whole parts."""
    image, _ = scene()
    settings = SMALL.model_copy(update={"max_regions": 400})
    closer = generate(image, settings)
    monkeypatch.setattr(generation, "has_room", lambda *_: False)
    plain = generate(image, settings)
    assert plain.membership.shape[1] < 0.4 * settings.max_regions < closer.membership.shape[1]
    assert closer.superpixels.shape == image.shape[:2]
    check(closer, image.shape[:2])
    for one in range(closer.membership.shape[1]):
        assert ndimage.label(closer.superpixels == one)[1] == 1
    small = (256, 512)
    assert not has_room(1, 600, small) and not has_room(240, 600, small) and has_room(239, 600, small)
    assert not has_room(239, 600, (513, 2))
