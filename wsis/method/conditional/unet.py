"""Feature extractors of the conditional network: U-Net and ResNet (paper 3.2, C.1, C.2); the third is LiteUNet.

Each maps RGB images to one feature map and says its `channels` and `stride`.
Suffix legend: B images, C channels, H W image size.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from wsis.errors import InputError
from wsis.method.backbones import PretrainedSpec, build_backbone
from wsis.method.backbones.layers import BatchNormMode
from wsis.method.backbones.lite_unet import FeatureExtractor, joined

KOHL_WIDTHS = (32, 64, 128, 192, 192, 192)


class ConvBlock(nn.Sequential):
    """Three 3x3 convolutions, each followed by ReLU, He-initialised (Kohl et al. 2018: no normalisation)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        layers: list[nn.Module] = []
        for index in range(3):
            convolution = nn.Conv2d(channels_in if index == 0 else channels, channels, 3, padding=1)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            layers += [convolution, nn.ReLU(inplace=True)]
        super().__init__(*layers)


class UNet(FeatureExtractor):
    """U-Net of Kohl et al. (2018): average-pooled encoder, bilinear decoder with skips, full resolution.

    Args:
        widths: channels of the blocks from full resolution down; the output has widths[0] channels (32).
    """

    def __init__(self, widths: Sequence[int] = KOHL_WIDTHS) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise InputError(f"widths: expected at least two positive widths, got {tuple(widths)}")
        self.channels, self.stride = widths[0], 1
        inputs = (3, *widths[:-1])
        self.encoder = nn.ModuleList(ConvBlock(i, o) for i, o in zip(inputs, widths, strict=True))
        self.decoder = nn.ModuleList(
            ConvBlock(widths[i + 1] + widths[i], widths[i]) for i in reversed(range(len(widths) - 1))
        )

    def forward(self, images: Tensor) -> Tensor:
        x = images.float() / 127.5 - 1.0
        skips: list[Tensor] = []
        for index, block in enumerate(self.encoder):
            if index:
                x = functional.avg_pool2d(x, 2, ceil_mode=True)
            x = self.part(block, x)
            skips.append(x)
        for block, skip in zip(self.decoder, reversed(skips[:-1]), strict=True):
            x = self.part(joined, block, x, skip)
        return x


class BackboneFeatures(FeatureExtractor):
    """Low-resolution features of a backbone (a ResNet in C.2), maybe reduced to fewer by a 1x1 convolution.

    Args:
        name: one of `wsis.method.backbones.BACKBONES`.
        pretrained: see `wsis.method.backbones.build_backbone`.
        channels: None keeps all (2,048 for ResNet-50 and -101, the paper's letter).
        stride: 16 (dilated last stage) or 32.
        frozen_blocks: blocks that are not trained.
    """

    def __init__(
        self,
        name: str,
        pretrained: PretrainedSpec,
        channels: int | None = None,
        stride: int = 32,
        frozen_blocks: int = 3,
        batch_norm: BatchNormMode = "frozen",
    ) -> None:
        super().__init__()
        if stride not in (16, 32):
            raise InputError(f"stride: expected 16 or 32, got {stride}")
        self.encoder = build_backbone(
            name,
            pretrained,
            out_indices=(4,),
            batch_norm=batch_norm,
            frozen_blocks=frozen_blocks,
            output_stride=stride,
        )
        full = self.encoder.out_channels[-1]
        self.channels, self.stride = channels or full, stride
        self.reduce = nn.Identity() if channels is None else nn.Conv2d(full, channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.reduce(self.encoder(self.encoder.normalise(images))[-1])
        return features

    def backbone_parameters(self) -> list[nn.Parameter]:
        return [p for p in self.encoder.parameters() if p.requires_grad]
