"""What only a real CUDA device can tell; `make gpu-check`."""

import pytest
import torch

from wsis.method.prediction.ops import plain
from wsis.method.prediction.ops.backend import torchvision_operators

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SCALE, SIZE = 0.25, (7, 7)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """No TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


def regions() -> torch.Tensor:
    """Regions [R, 5] on two images of 128 x 128."""
    corners = torch.rand(64, 2) * 90
    return torch.cat([torch.randint(2, (64, 1)).float(), corners, corners + 4 + torch.rand(64, 2) * 30], 1)


def test_torchvision_is_there_for_mask_rcnn():
    assert torchvision_operators() is not None


@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_regions_are_pooled_as_on_the_cpu(sampling_ratio: int):
    operators = torchvision_operators()
    assert operators is not None
    features, rois = torch.randn(2, 8, 32, 32), regions()
    mine = plain.roi_align_forward(features, rois, SIZE, SCALE, sampling_ratio, True)
    theirs = operators.roi_align_forward(features.cuda(), rois.cuda(), SIZE, SCALE, sampling_ratio, True)
    assert torch.allclose(theirs.cpu(), mine, atol=1e-4)
    back = plain.roi_align_backward(mine, rois, features.shape, SCALE, sampling_ratio, True)
    grad = operators.roi_align_backward(mine.cuda(), rois.cuda(), features.shape, SCALE, sampling_ratio, True)
    assert torch.allclose(grad.cpu(), back, atol=1e-3)


def test_suppression_keeps_what_it_keeps_on_the_cpu():
    operators = torchvision_operators()
    assert operators is not None
    corners = torch.rand(300, 2) * 50
    boxes, scores = torch.cat([corners, corners + 5 + torch.rand(300, 2) * 30], 1), torch.rand(300)
    kept = operators.nms(boxes.cuda(), scores.cuda(), 0.5, 0)
    assert torch.equal(kept.cpu(), plain.nms(boxes, scores, 0.5, 0))


def test_pooling_by_a_sparse_product_and_its_gradient(exact: None):
    matrix = (torch.rand(40, 600) * (torch.rand(40, 600) < 0.05)).to_sparse()
    dense = torch.randn(600, 16)
    results = []
    for device in ("cpu", "cuda"):
        features = dense.clone().to(device).requires_grad_()
        pooled = torch.sparse.mm(matrix.to(device), features)
        (pooled**2).sum().backward()
        results.append((pooled.detach().cpu(), features.grad.cpu()))
    for mine, theirs in zip(*results, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-4)


def test_the_draws_of_a_step_come_from_the_cpu_and_leave_the_devices_generator_alone():
    from wsis.engine.training import seed_everything

    seed_everything(0, 1, 2)
    first = torch.rand(4)
    torch.rand(4, device="cuda")
    seed_everything(0, 1, 2)
    assert torch.equal(torch.rand(4), first)
