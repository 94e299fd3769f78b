"""The contour network: shapes, targets, views, loss, its weight file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from wsis.errors import InputError, MissingWeightsError
from wsis.method.proposals.config import MCGConfig
from wsis.method.proposals.contours import weights as contour_weights
from wsis.method.proposals.contours.detectors import LearnedContours, contour_supervision
from wsis.method.proposals.contours.network import ContourNetwork
from wsis.method.proposals.contours.training import (
    boundary_loss,
    contour_loss,
    soft_target,
    stack_views,
    training_view,
)
from wsis.method.proposals.contours.weights import encode_weights, load_network


@pytest.fixture(scope="module")
def network() -> ContourNetwork:
    torch.manual_seed(3)
    return ContourNetwork(None).eval()


@pytest.mark.parametrize("size", [(64, 96), (33, 70), (1, 1), (3, 200)])
def test_one_logit_a_pixel_at_any_size(network: ContourNetwork, size: tuple[int, int]) -> None:
    with torch.no_grad():
        logits, sides = network.with_sides(torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8))
    assert logits.shape == (2, *size)
    padded = [-(-length // 32) * 32 for length in size]
    assert [tuple(side.shape[-2:]) for side in sides] == [
        (padded[0] // stride, padded[1] // stride) for stride in (8, 4, 2)
    ]
    assert torch.isfinite(logits).all()


def test_the_rate_of_the_encoder_is_its_own_and_every_parameter_learns_once(network: ContourNetwork) -> None:
    encoder, rest = network.parameter_groups(1e-2, 0.1)
    assert encoder["lr"] == pytest.approx(1e-3) and rest["lr"] == pytest.approx(1e-2)
    found = sorted(id(p) for group in (encoder, rest) for p in group["params"])
    assert found == sorted(id(p) for p in network.parameters())


def test_soft_target_is_the_mean_over_annotators() -> None:
    bits = np.zeros((5, 5), np.uint8)
    bits[2, 2] = 0b01  # the first annotator
    bits[2, 3] = 0b10  # the second drew one pixel to the right
    expected = np.zeros((5, 5))
    expected[2, 2] = expected[2, 3] = (1 + 0.5) / 2  # drawn by one, neighbour of the other's
    for row, column in ((1, 2), (3, 2), (2, 1), (1, 3), (3, 3), (2, 4)):
        expected[row, column] = 0.5 / 2
    np.testing.assert_allclose(soft_target(bits, 0.5), expected, atol=1e-6)
    assert soft_target(bits, 0.0).sum() == pytest.approx(1.0)


def test_a_map_without_a_boundary_is_refused() -> None:
    with pytest.raises(InputError, match="at least one annotator's boundary"):
        soft_target(np.zeros((4, 4), np.uint8), 0.5)


@pytest.mark.parametrize("scales", [(0.5, 0.6), (1.0, 1.0), (1.5, 2.0)])
def test_the_target_stays_on_the_picture_of_the_line(scales: tuple[float, float]) -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    image[40:48], image[:, 60:68] = 255, 255  # a cross of thick white lines, and the same as target
    target = (image[..., 0] > 0).astype(np.float32)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        view, drawn, seen = training_view(image, target, 64, scales, 30, rng)
        assert view.shape == (64, 64, 3) and drawn.shape == seen.shape == (64, 64)
        bright = view.astype(int).sum(axis=2) > 380
        clear = seen & ((drawn < 0.1) | (drawn > 0.9))
        assert clear.sum() > 500
        assert (bright == (drawn > 0.5))[clear].mean() > 0.98


def test_views_follow_from_their_generator() -> None:
    rng = np.random.default_rng(0)
    image, target = rng.integers(0, 256, (70, 80, 3), np.uint8), rng.random((70, 80), np.float32)
    one, same, other = (
        training_view(image, target, 64, (0.6, 1.5), 20, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one[0], other[0])


def test_a_view_larger_than_its_photograph_says_where_it_is_blind() -> None:
    image, target = np.full((30, 40, 3), 90, np.uint8), np.zeros((30, 40), np.float32)
    _, _, seen = training_view(image, target, 64, (1, 1), 0, np.random.default_rng(0))
    assert seen.sum() == 30 * 40


def test_boundary_loss_is_the_weighted_cross_entropy() -> None:
    logits = torch.randn(2, 5, 6, dtype=torch.float64)
    target = torch.rand(2, 5, 6, dtype=torch.float64)
    seen = torch.rand(2, 5, 6) > 0.3
    p = logits.sigmoid()
    plain = -(3.0 * target * p.log() + (1 - target) * (1 - p).log())
    expected = plain[seen].mean()
    assert boundary_loss(logits, target, seen, 3.0).item() == pytest.approx(expected.item(), rel=1e-9)


def test_side_outputs_are_supervised_too(network: ContourNetwork) -> None:
    rng = np.random.default_rng(0)
    view = training_view(
        rng.integers(0, 256, (64, 64, 3), np.uint8), rng.random((64, 64), np.float32), 64, (1, 1), 0, rng
    )
    images, target, seen = stack_views([view])
    alone = contour_loss(network, images, target, seen, 2.0, 0.0)
    logits = network(images)
    assert alone.item() == pytest.approx(boundary_loss(logits, target, seen, 2.0).item(), rel=1e-5)
    contour_loss(network, images, target, seen, 2.0, 0.5).backward()
    assert all(layer.weight.grad is not None and layer.weight.grad.abs().sum() > 0 for layer in network.sides)
    network.zero_grad(set_to_none=True)


def test_a_written_network_reads_back_to_half_precision(network: ContourNetwork, tmp_path: Path) -> None:
    path = tmp_path / "contours.pt"
    path.write_bytes(encode_weights(network))
    assert path.stat().st_size <= 8_000_000
    read = load_network(path)
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(read(image), network(image), atol=2e-2, rtol=0)


def test_missing_damaged_and_foreign_weights_are_named(network: ContourNetwork, tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match=r"no file .*absent\.pt"):
        LearnedContours(tmp_path / "absent.pt")
    (tmp_path / "cut.pt").write_bytes(encode_weights(network)[:1000])
    with pytest.raises(MissingWeightsError, match=r"cut\.pt"):
        LearnedContours(tmp_path / "cut.pt")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "foreign.pt")
    with pytest.raises(MissingWeightsError, match=r"foreign\.pt"):
        LearnedContours(tmp_path / "foreign.pt")


def test_the_shipped_weights_are_checked_by_their_hash(
    monkeypatch: pytest.MonkeyPatch, network: ContourNetwork, tmp_path: Path
) -> None:
    (tmp_path / "other.pt").write_bytes(encode_weights(network))
    monkeypatch.setattr(contour_weights, "SHIPPED_MODEL", tmp_path / "other.pt")
    with pytest.raises(MissingWeightsError, match="sha256"):
        load_network()


def test_the_detector_answers_at_the_size_of_the_image(network: ContourNetwork, tmp_path: Path) -> None:
    (tmp_path / "contours.pt").write_bytes(encode_weights(network))
    detector = LearnedContours(tmp_path / "contours.pt")
    words = contour_supervision(MCGConfig(contour_model=tmp_path / "contours.pt"))
    assert detector.learned and words == "human boundaries (those behind contours.pt)"
    image = np.random.default_rng(0).integers(0, 256, (45, 70, 3), np.uint8)
    for scale in (1.0, 0.5, 1.5):
        strength = detector(image, scale)
        assert strength.shape == (45, 70) and strength.dtype == np.float32
        assert strength.min() >= 0 and strength.max() <= 1
    with torch.no_grad():
        direct = load_network(tmp_path / "contours.pt")(torch.from_numpy(image).permute(2, 0, 1)[None])
    np.testing.assert_allclose(detector(image, 1.0), direct[0].sigmoid().numpy(), atol=1e-5)


def test_a_single_colour_has_no_contour(network: ContourNetwork, tmp_path: Path) -> None:
    (tmp_path / "contours.pt").write_bytes(encode_weights(network))
    assert not LearnedContours(tmp_path / "contours.pt")(np.full((40, 30, 3), 77, np.uint8), 0.5).any()
