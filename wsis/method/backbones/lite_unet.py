"""U-Net with an EfficientNet-Lite encoder, and what every feature extractor of ours offers.

Suffix legend: B images, C channels, H W image size.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from wsis.errors import InputError
from wsis.method.backbones import Backbone, PretrainedSpec, build_backbone
from wsis.method.backbones.layers import BatchNormMode


class FeatureExtractor(nn.Module):
    """Images float or uint8 [B, 3, H, W] in 0..255 -> features [B, channels, ceil(H/stride), ceil(W/stride)].

    Attributes:
        checkpointing: keep only the inputs of its parts and compute the rest again in the backward pass.
    """

    channels: int
    stride: int
    checkpointing = False

    def part(self, function: Callable[..., Any], *inputs: Any) -> Any:
        """`function(*inputs)`, checkpointed if asked for. It must draw no random numbers."""
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
        return function(*inputs)

    def backbone_parameters(self) -> list[nn.Parameter]:
        """Pretrained parameters, which take a smaller learning rate."""
        return []


class NormBlock(nn.Module):
    """3x3 convolution, GroupNorm, ReLU: independent of the batch, so any batch size gives the same features."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")
        self.norm = nn.GroupNorm(_groups(channels), channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.convolution(x)), inplace=True)

    def of_joined(self, x: Tensor, y: Tensor) -> Tensor:
        """The block of two maps joined along their channels, without the copy that joining makes: each is
        convolved with its share of the weights. As fast, and at full resolution a third less memory."""
        shares = self.convolution.weight.split([x.shape[1], y.shape[1]], dim=1)
        mixed = functional.conv2d(y, shares[1], padding=1)
        mixed += functional.conv2d(x, shares[0], padding=1)
        return functional.relu(self.norm(mixed), inplace=True)


class LiteUNet(FeatureExtractor):
    """U-Net with an EfficientNet-Lite encoder for small machines.

    Args:
        pretrained: see `wsis.method.backbones.build_backbone`.
        stride: resolution of the output, 2 or 4; finer proposals are pooled from it by bilinear upsampling.
        channels: output channels (32).
        widths: decoder channels at strides 32, 16, 8, 4, 2 (as many as are used).
        frozen_blocks: blocks of the encoder that are not trained.
        batch_norm: BatchNorm mode of the encoder.
        encoder: efficientnet_lite0, or a larger one.
    """

    def __init__(
        self,
        pretrained: PretrainedSpec,
        stride: int = 4,
        channels: int = 32,
        widths: Sequence[int] = (96, 64, 48, 40, 32),
        frozen_blocks: int = 3,
        batch_norm: BatchNormMode = "frozen",
        encoder: str = "efficientnet_lite0",
    ) -> None:
        super().__init__()
        if stride not in (2, 4):
            raise InputError(f"stride: expected 2 or 4, got {stride}")
        levels = (1, 2, 3, 4) if stride == 4 else (0, 1, 2, 3, 4)
        self.channels, self.stride = channels, stride
        self.encoder: Backbone = build_backbone(
            encoder,
            pretrained,
            out_indices=levels,
            batch_norm=batch_norm,
            frozen_blocks=frozen_blocks,
            unit_rms=True,
        )
        skips = list(reversed(self.encoder.out_channels))
        used = [*widths[: len(skips) - 1], channels]
        self.bottom = NormBlock(skips[0], used[0])
        self.decoder = nn.ModuleList(
            NormBlock(used[i] + skips[i + 1], used[i + 1]) for i in range(len(skips) - 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.decode(images)[-1]

    def decode(self, images: Tensor) -> list[Tensor]:
        """The decoder's maps from stride 32 up to the output's; images as :meth:`forward` takes them."""
        x = self.encoder.normalise(images)
        learns_statistics = self.encoder.batch_norm == "train"
        found = self.encoder(x) if learns_statistics else self.part(self.encoder, x)
        features = list(reversed(found))
        maps = [self.part(self.bottom, features[0])]
        for block, skip in zip(self.decoder, features[1:], strict=True):
            maps.append(self.part(joined, block, maps[-1], skip))
        return maps

    def backbone_parameters(self) -> list[nn.Parameter]:
        return [p for p in self.encoder.parameters() if p.requires_grad]


def joined(block: nn.Module, x: Tensor, skip: Tensor) -> Tensor:
    """`block` of the coarser map ``x`` brought to the size of ``skip``, and ``skip``."""
    mixed: Tensor = block(torch.cat([resize_as(x, skip), skip], 1))
    return mixed


def resize_as(x: Tensor, like: Tensor) -> Tensor:
    """x [B, C, h, w] at the height and width of ``like``, bilinear."""
    return functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _groups(channels: int) -> int:
    return next(groups for groups in (8, 4, 2, 1) if channels % groups == 0)
