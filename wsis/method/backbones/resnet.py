"""ResNet-18/50/101 (He et al., CVPR 2016) with torchvision's state-dict names and stride placement (v1.5).

Suffix legend: B images, C channels, H W pixels.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from wsis.errors import InputError
from wsis.method.backbones.layers import (
    Backbone,
    BatchNormMode,
    ConvStep,
    MaxPoolStep,
    ReluStep,
    ResidualStep,
    Steps,
)

_BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def _conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(channels_in, channels_out, kernel, stride, padding, dilation, bias=False)


class _Residual(nn.Module):
    """relu(branch(x) + shortcut(x)); subclasses define the branch as (conv, norm) pairs."""

    downsample: "_Projection | None"

    def pairs(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        out = x
        pairs = self.pairs()
        for index, (conv, norm) in enumerate(pairs):
            out = norm(conv(out))
            if index < len(pairs) - 1:
                out = F.relu(out)
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))

    def steps(self) -> Steps:
        branch: Steps = ()
        for conv, norm in self.pairs():
            branch = (*branch, ConvStep(conv, norm), ReluStep())
        shortcut = () if self.downsample is None else (self.downsample.step(),)
        return ResidualStep(branch[:-1], shortcut), ReluStep()


class BasicBlock(_Residual):
    """Two 3x3 convolutions (ResNet-18)."""

    expansion = 1

    def __init__(self, channels_in: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels_in, width, 3, stride, dilation)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, 1, dilation)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _downsample(channels_in, width, stride)

    def pairs(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        return [(self.conv1, self.bn1), (self.conv2, self.bn2)]


class Bottleneck(_Residual):
    """1x1 - 3x3 (with the stride) - 1x1 convolutions (ResNet-50/101)."""

    expansion = 4

    def __init__(self, channels_in: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels_in, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride, dilation)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, 4 * width, 1)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = _downsample(channels_in, 4 * width, stride)

    def pairs(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        return [(self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)]


class _Projection(nn.Sequential):
    """1x1 convolution and BatchNorm on the shortcut where the shape changes."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        conv, norm = _conv(channels_in, channels_out, 1, stride), nn.BatchNorm2d(channels_out)
        super().__init__(conv, norm)
        self.pair = conv, norm

    def step(self) -> ConvStep:
        return ConvStep(*self.pair)


def _downsample(channels_in: int, channels_out: int, stride: int) -> _Projection | None:
    same = stride == 1 and channels_in == channels_out
    return None if same else _Projection(channels_in, channels_out, stride)


class ResNet(Backbone):
    """ResNet without its classifier.

    Args:
        depth: 18, 50 or 101.
        out_indices: features to return, 0..4 for strides 2 (after the stem), 4, 8, 16, 32.
        batch_norm: "train"; "frozen_statistics" (evaluation mode, affine learns); "frozen" (neither).
        frozen_blocks: 0 freezes nothing; n >= 1 the stem and the first n residual blocks (3 is the stem and
            the first stage of ResNet-50, MMDetection's default).
        output_stride: 32, or 16 for a dilated last stage.
        with_head: of no effect: its head is its last stage.
    """

    mean = (123.675, 116.28, 103.53)
    std = (58.395, 57.12, 57.375)

    def __init__(
        self,
        depth: int,
        out_indices: Sequence[int] = (1, 2, 3, 4),
        batch_norm: BatchNormMode = "frozen",
        frozen_blocks: int = 0,
        output_stride: int = 32,
        with_head: bool = False,
    ) -> None:
        super().__init__(out_indices, batch_norm)
        if depth not in _BLOCKS:
            raise InputError(f"depth: expected one of {sorted(_BLOCKS)}, got {depth}")
        if output_stride not in (16, 32):
            raise InputError(f"output_stride: expected 16 or 32, got {output_stride}")
        block = BasicBlock if depth == 18 else Bottleneck
        self.output_stride = output_stride
        self.channels = (64, *(width * block.expansion for width in (64, 128, 256, 512)))  # type: ignore[assignment]
        self.head_channels = self.channels[4]
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels_in = 64
        for stage, repeats in enumerate(_BLOCKS[depth]):
            dense = stage == 3 and output_stride == 16
            stride = 1 if stage == 0 or dense else 2
            blocks = [
                # As in torchvision, the first block of a dilated stage keeps the dilation before it.
                block(
                    channels_in if i == 0 else self.channels[stage + 1],
                    64 * 2**stage,
                    stride if i == 0 else 1,
                    2 if dense and i > 0 else 1,
                )
                for i in range(repeats)
            ]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            channels_in = self.channels[stage + 1]
        self._initialise()
        every = self._blocks()
        if not 0 <= frozen_blocks <= len(every):
            raise InputError(f"frozen_blocks: expected 0..{len(every)}, got {frozen_blocks}")
        self.freeze([self.conv1, self.bn1, *every[:frozen_blocks]] if frozen_blocks else [])
        self.train(self.training)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _layers(self) -> tuple[nn.Sequential, ...]:
        layers = (self.layer1, self.layer2, self.layer3, self.layer4)
        return tuple(layer for layer in layers if isinstance(layer, nn.Sequential))

    def _blocks(self) -> list[_Residual]:
        return [block for layer in self._layers() for block in layer if isinstance(block, _Residual)]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised images [B, 3, H, W] -> features at the strides of ``out_indices``, finest first."""
        x = F.relu(self.bn1(self.conv1(images)))
        features = [x] if 0 in self.out_indices else []
        x = self.maxpool(x)
        for level, layer in enumerate(self._layers()[: self.out_indices[-1]], start=1):
            x = layer(x)
            if level in self.out_indices:
                features.append(x)
        return features

    def head(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> the last features [B, 512 or 2048, H/32, W/32]."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(images))))
        for layer in self._layers():
            x = layer(x)
        return x

    def head_steps(self) -> Steps:
        """The layers of :meth:`head`."""
        inner = [step for block in self._blocks() for step in block.steps()]
        return (ConvStep(self.conv1, self.bn1), ReluStep(), MaxPoolStep(self.maxpool), *inner)
