"""The operators behind mmcv.ops against loops that follow the definitions, forward and backward."""

import importlib
import subprocess
import sys

import pytest
import torch
from torch import Tensor

import wsis.method.prediction  # noqa: F401  (installs the operators)
from tests.method.prediction.ops_references import nms_reference, roi_align_reference
from wsis.errors import InputError, NonFiniteError, UnsupportedOpError
from wsis.method.prediction.ops import OpsModule, install_ops, plain
from wsis.method.prediction.ops.backend import EXTENSION, torchvision_operators

ROIS = torch.tensor(
    [
        [0, 1.0, 2.0, 30.0, 40.0],
        [1, -20.0, -30.0, 80.0, 90.0],  # beyond the map on every side
        [1, 5.0, 5.0, 5.5, 6.0],  # smaller than one cell
        [0, 200.0, 200.0, 300.0, 300.0],  # wholly outside
        [0, 8.0, 8.0, 8.0, 8.0],  # without extent
        [1, 0.0, 0.0, 44.0, 36.0],  # the whole map
        [0, 10.0, 12.0, 4.0, 3.0],  # inverted
    ]
)


def _both(rois: Tensor, sampling_ratio: int, aligned: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    roi_align = importlib.import_module("mmcv.ops").roi_align
    features = torch.randn(2, 3, 9, 11, requires_grad=True)
    own = roi_align(features, rois, (3, 4), 0.25, sampling_ratio, "avg", aligned)
    reference = roi_align_reference(features, rois, (3, 4), 0.25, sampling_ratio, aligned)
    gradient = torch.randn_like(reference)
    (own_grad,) = torch.autograd.grad(own, features, gradient)
    (reference_grad,) = torch.autograd.grad(reference, features, gradient)
    return own, reference, own_grad, reference_grad


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
def test_roi_align_equals_the_loop(sampling_ratio: int, aligned: bool) -> None:
    own, reference, own_grad, reference_grad = _both(ROIS, sampling_ratio, aligned)
    assert torch.allclose(own, reference, atol=1e-5)
    assert torch.allclose(own_grad, reference_grad, atol=1e-5)
    assert reference[0].abs().sum() > 0 and reference_grad.abs().sum() > 0
    assert (own[3] == 0).all()


def test_roi_align_of_no_regions_has_a_zero_gradient() -> None:
    own, _, own_grad, _ = _both(ROIS[:0], 0, True)
    assert own.shape == (0, 3, 3, 4) and (own_grad == 0).all()


def test_roi_align_by_hand() -> None:
    """On a map whose value is its column, a bin's mean is its centre's column."""
    features = torch.arange(8.0).expand(1, 1, 8, 8)
    pooled = plain.roi_align_forward(features, torch.tensor([[0, 2.0, 2.0, 6.0, 6.0]]), (2, 2), 1.0, 2, True)
    assert torch.allclose(pooled, torch.tensor([[2.5, 4.5], [2.5, 4.5]]).view(1, 1, 2, 2))


def test_roi_align_in_many_chunks_and_memory_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(2, 4, 40, 60)
    corners = torch.rand(50, 2) * 200
    rois = torch.cat([torch.randint(2, (50, 1)), corners, corners + torch.rand(50, 2) * 120], 1)
    whole = plain.roi_align_forward(features, rois, (7, 7), 0.25, 0, True)
    monkeypatch.setattr(plain, "_MAX_POINTS", 100)
    last = features.contiguous(memory_format=torch.channels_last)
    assert torch.allclose(plain.roi_align_forward(last, rois, (7, 7), 0.25, 0, True), whole, atol=1e-6)


def test_roi_align_keeps_half_precision() -> None:
    features = torch.randn(2, 3, 9, 11)
    exact = plain.roi_align_forward(features, ROIS, (3, 4), 0.25, 2, True)
    half = plain.roi_align_forward(features.bfloat16(), ROIS, (3, 4), 0.25, 2, True)
    assert half.dtype == torch.bfloat16 and torch.allclose(half.float(), exact, atol=0.05)


@pytest.mark.parametrize(
    ("rois", "error", "message"),
    [
        ([[2.0, 0, 0, 1, 1]], InputError, r"image indices 0\.\.1, got \[2"),
        ([[0.0, float("nan"), 0, 1, 1]], NonFiniteError, "regions of interest .*nan"),
        ([[0.0, 0, 1, 1]], InputError, r"expected \[R, 5\]"),
    ],
)
def test_roi_align_refuses_bad_regions(rois: list[list[float]], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        plain.roi_align_forward(torch.zeros(2, 3, 9, 11), torch.tensor(rois), (3, 4), 0.25, 2, True)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("count", [0, 1, 40, 150])
def test_nms_equals_the_loop(count: int, offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "_BLOCK", 32)
    corners = torch.rand(count, 2) * 60
    boxes = torch.cat([corners, corners + torch.rand(count, 2) * 40], 1)
    scores = torch.rand(count).round(decimals=1)  # many ties: the lower index wins
    for threshold in (0.7, 0.1):
        kept = plain.nms(boxes, scores, threshold, offset)
        assert kept.dtype == torch.int64
        assert kept.tolist() == nms_reference(boxes, scores, threshold, offset).tolist()
    assert count < 40 or len(kept) < count


def test_nms_follows_chains_of_suppression() -> None:
    """a kills b, so b cannot kill c; across blocks as well."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert plain.nms(boxes, scores, 0.4, 0).tolist() == [0, 2]
    assert plain.nms(boxes, scores, 0.5, 0).tolist() == [0, 1, 2]


def test_nms_keeps_boxes_without_area() -> None:
    boxes = torch.tensor([[5.0, 5, 5, 5], [5, 5, 5, 5]])
    assert plain.nms(boxes, torch.tensor([0.1, 0.2]), 0.5, 0).tolist() == [1, 0]


def test_nms_of_twenty_thousand_boxes_is_bounded_in_memory() -> None:
    corners = torch.randint(0, 40, (20_000, 2)).float() * 100
    kept = plain.nms(torch.cat([corners, corners + 50], 1), torch.rand(20_000), 0.5, 0)
    assert len(kept) == 1600


def test_batched_nms_of_mmcv_runs_on_these() -> None:
    batched_nms = importlib.import_module("mmcv.ops").batched_nms
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [1, 1, 11, 11]])
    kept, indices = batched_nms(
        boxes,
        torch.tensor([0.5, 0.9, 0.8]),
        torch.tensor([0, 1, 1]),
        dict(type="nms", iou_threshold=0.5),
    )
    assert indices.tolist() == [1, 0] and torch.allclose(kept[:, 4], torch.tensor([0.9, 0.5]))


def test_another_operator_is_refused_by_name() -> None:
    module = sys.modules[EXTENSION]
    if not isinstance(module, OpsModule):
        pytest.skip("a compiled mmcv is installed: it has all operators")
    assert module.__spec__ is not None and module.__spec__.name == EXTENSION
    with pytest.raises(UnsupportedOpError, match=r"'deform_conv_forward'.*install a compiled mmcv"):
        module.deform_conv_forward(1, 2)
    roi_align = importlib.import_module("mmcv.ops").roi_align
    with pytest.raises(UnsupportedOpError, match="pool_mode='max'"):
        roi_align(torch.zeros(1, 1, 4, 4), torch.zeros(1, 5), 2, 1.0, 2, "max", True)


def test_the_backend_is_chosen_once() -> None:
    before = sys.modules[EXTENSION]
    assert install_ops() == install_ops()
    assert sys.modules[EXTENSION] is before


def test_importing_the_package_alone_does_not_import_mmcv() -> None:
    code = (
        "import sys, wsis.method.prediction; assert 'mmcv' not in sys.modules and 'mmcv._ext' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_torchvision_agrees_where_it_is_installed() -> None:
    operators = torchvision_operators()
    if operators is None:
        pytest.skip("torchvision is not installed: nothing to compare with")
    features, rois = torch.randn(2, 3, 9, 11), ROIS[:3]
    for ratio in (0, 2):
        arguments = (rois, (3, 4), 0.25, ratio, True)
        expected = plain.roi_align_forward(features, *arguments)
        assert torch.allclose(operators.roi_align_forward(features, *arguments), expected, atol=1e-5)
        gradient = torch.randn_like(expected)
        rest = (rois, features.shape, 0.25, ratio, True)
        assert torch.allclose(
            operators.roi_align_backward(gradient, *rest),
            plain.roi_align_backward(gradient, *rest),
            atol=1e-5,
        )
    boxes = torch.rand(200, 4).cumsum(1) * 20
    scores = torch.rand(200)
    assert operators.nms(boxes, scores, 0.5, 0).tolist() == plain.nms(boxes, scores, 0.5, 0).tolist()
