"""ResNets: shapes, names and numbers of torchvision's checkpoints, a functional reference."""

import pytest
import torch
import torch.nn.functional as F

from wsis.errors import InputError
from wsis.method.backbones import ResNet, build_backbone


@torch.no_grad()
@pytest.mark.parametrize(
    ("depth", "channels", "tensors", "parameters"),
    # torchvision's checkpoints hold 122 / 320 / 626 tensors, two of them the classifier; the parameter
    # counts are its 11,689,512 / 25,557,032 / 44,549,160 less the classifier's.
    [
        (18, (64, 64, 128, 256, 512), 120, 11_689_512 - 513_000),
        (50, (64, 256, 512, 1024, 2048), 318, 25_557_032 - 2_049_000),
        (101, (64, 256, 512, 1024, 2048), 624, 44_549_160 - 2_049_000),
    ],
)
def test_shapes_names_and_sizes(depth, channels, tensors, parameters):
    net = build_backbone(f"resnet{depth}", None, out_indices=(0, 1, 2, 3, 4)).eval()
    features = net(torch.randn(1, 3, 64, 96))
    assert tuple(f.shape[1] for f in features) == channels == net.out_channels
    assert [64 // f.shape[2] for f in features] == [2, 4, 8, 16, 32]
    state = net.state_dict()
    assert len(state) == tensors
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert {"conv1.weight", "bn1.running_var", "layer4.0.downsample.1.bias", "layer4.1.conv2.weight"} <= set(
        state
    )
    torch.testing.assert_close(net.head(torch.ones(1, 3, 64, 64)), net(torch.ones(1, 3, 64, 64))[-1])


@torch.no_grad()
def test_bottleneck_strides_in_the_3x3_convolution():
    block = ResNet(50).eval().layer2[0]
    x = torch.randn(1, 256, 16, 16)

    def norm(y: torch.Tensor, bn: torch.nn.BatchNorm2d) -> torch.Tensor:
        return (y - bn.running_mean.view(1, -1, 1, 1)) / (bn.running_var.view(1, -1, 1, 1) + 1e-5).sqrt()

    y = F.relu(norm(F.conv2d(x, block.conv1.weight), block.bn1))
    y = F.relu(norm(F.conv2d(y, block.conv2.weight, stride=2, padding=1), block.bn2))
    y = norm(F.conv2d(y, block.conv3.weight), block.bn3)
    short = norm(F.conv2d(x, block.downsample[0].weight, stride=2), block.downsample[1])
    torch.testing.assert_close(block(x), F.relu(y + short), rtol=1e-4, atol=1e-4)


def test_frozen_blocks_and_batch_norm():
    net = build_backbone("resnet50", None, out_indices=(4,), frozen_blocks=3).train()
    assert not any(m.training for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d))
    for name, parameter in net.named_parameters():
        frozen = name.startswith(("conv1", "bn1", "layer1")) or ".bn" in name or "downsample.1" in name
        assert parameter.requires_grad is not frozen, name


@torch.no_grad()
def test_output_stride_16():
    assert ResNet(18, (4,), output_stride=16).eval()(torch.randn(1, 3, 64, 64))[0].shape[2:] == (4, 4)


def test_normalise_is_torchvisions():
    white = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(ResNet(18).normalise(white).flatten(), expected)


def test_unknown_names():
    with pytest.raises(InputError, match=r"expected one of efficientnet_lite0, .*, resnet18"):
        build_backbone("vgg16", None)
    with pytest.raises(InputError, match="depth"):
        ResNet(34)
