"""A network that is placed computes what it did, by faster convolutions."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import profile

from wsis.method.backbones.efficientnet_lite import ConvNorm
from wsis.method.backbones.layers import SameConv2d
from wsis.method.placement import placed

TORCHS_OWN = "aten::_slow_conv2d_forward"
DILATED = "aten::slow_conv_dilated2d"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(8, 32, 1),
        nn.ReLU(),
        SameConv2d(32, 16, 1),
        nn.Conv2d(16, 4, 1, stride=2),
    )


def _passed(network: nn.Module, images: Tensor) -> list[Tensor]:
    """The output, and the gradient of each weight."""
    network.zero_grad()
    result = network(images)
    result.square().mean().backward()
    return [result.detach(), *(p.grad for p in network.parameters() if p.grad is not None)]


def _operators(network: nn.Module, images: Tensor) -> set[str]:
    with profile() as profiled:
        network(images)
    return {event.key for event in profiled.key_averages()}


@pytest.mark.parametrize("batch, side", [(2, 8), (1, 8), (1, 64), (5, 33)])
def test_it_computes_the_same(batch: int, side: int):
    plain, images = _network(), torch.rand(batch, 3, side, side)
    for own, expected in zip(
        _passed(placed(copy.deepcopy(plain), "cpu"), images), _passed(plain, images), strict=True
    ):
        torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-6)


def test_onednn_computes_what_torch_would_compute_itself_on_one_thread():
    """Where this fails for the plain network torch has changed, and `pointwise_dilation` may go."""
    plain, images = _network(), torch.rand(2, 3, 16, 16)
    assert TORCHS_OWN in _operators(nn.Sequential(plain[0], plain[1]), images)
    assert not _operators(placed(plain, "cpu"), images) & {TORCHS_OWN, DILATED}


def test_a_small_image_by_itself_does_not_go_to_the_slow_dilated_convolution():
    found = _operators(placed(_network(), "cpu"), torch.rand(1, 3, 16, 16))
    assert TORCHS_OWN in found and DILATED not in found


@pytest.mark.parametrize("learning", [True, False])
def test_a_batch_norm_in_evaluation_mode_is_part_of_the_convolution(learning: bool):
    torch.manual_seed(0)
    layer = ConvNorm(4, 6, 3, stride=2)
    nn.init.uniform_(layer.norm.weight, 0.5, 2)
    nn.init.normal_(layer.norm.bias)
    layer.norm.running_mean = torch.randn(6)
    layer.norm.running_var = torch.rand(6) + 0.5
    layer.norm.requires_grad_(learning).eval()
    apart = nn.Sequential(copy.deepcopy(layer.conv), copy.deepcopy(layer.norm))
    images = torch.rand(2, 4, 9, 9)
    own, expected = _passed(layer, images), _passed(apart, images)
    assert len(own) == (4 if learning else 2)
    for ours, theirs in zip(own, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_batch_norm_that_learns_its_statistics_still_does():
    layer = ConvNorm(4, 6, 3).train()
    before = layer.norm.running_mean.clone()
    layer(torch.rand(2, 4, 9, 9))
    assert not torch.equal(layer.norm.running_mean, before)
