"""The named variants of the conditional network, built from one flat description."""

from dataclasses import dataclass
from typing import Literal

from wsis.backbones.lite_unet import FeatureExtractor, LiteUNet
from wsis.backbones.structure import BatchNormMode
from wsis.conditional.network import ConditionalNetwork, HeadConfig
from wsis.conditional.pooling import Pooling
from wsis.conditional.unet import KOHL_WIDTHS, ResNetFeatures, UNet
from wsis.errors import InputError

Architecture = Literal["unet", "lite_unet", "resnet18", "resnet50", "resnet101"]


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that decides the shapes and the forward pass of a conditional network.

    Attributes:
        architecture: `unet` (Kohl et al.), `lite_unet` (EfficientNet-Lite0 encoder), `resnet*` (C.2).
        num_classes: C.
        pretrained: weights of the encoder, see `wsis.backbones.build_backbone`; unused by `unet`.
        widths: block widths of `unet`.
        stride: output stride of `lite_unet` (2 or 4) and `resnet*` (16 or 32); `unet` has 1.
        channels: features of `lite_unet`, and of `resnet*` (0 keeps all 512 or 2,048); `unet` has widths[0].
        frozen_blocks: encoder blocks that are not trained.
        batch_norm: BatchNorm mode of a pretrained encoder.
        pooling, background_margin, background_bias, temperature, noise_scale: see `network.HeadConfig`.
    """

    architecture: Architecture
    num_classes: int
    pretrained: str | None = None
    widths: tuple[int, ...] = KOHL_WIDTHS
    stride: int = 4
    channels: int = 32
    frozen_blocks: int = 3
    batch_norm: BatchNormMode = "frozen"
    pooling: Pooling = "image"
    background_margin: float = 1.0
    background_bias: float = 4.0
    temperature: float = 10.0
    noise_scale: float = 1.0


def build_network(config: NetworkConfig, *, load_pretrained: bool = True) -> ConditionalNetwork:
    """Build a conditional network.

    Args:
        config: its description.
        load_pretrained: False when the caller loads all weights itself.

    Raises:
        InputError: an unknown architecture or an impossible stride.
        MissingWeightsError: pretrained weights are asked for and absent.
    """
    head = HeadConfig(
        num_classes=config.num_classes,
        pooling=config.pooling,
        background_margin=config.background_margin,
        background_bias=config.background_bias,
        temperature=config.temperature,
        noise_scale=config.noise_scale,
    )
    return ConditionalNetwork(_extractor(config, config.pretrained if load_pretrained else None), head)


def _extractor(config: NetworkConfig, pretrained: str | None) -> FeatureExtractor:
    if config.architecture == "unet":
        return UNet(config.widths)
    if config.architecture == "lite_unet":
        return LiteUNet(
            pretrained,
            stride=config.stride,
            channels=config.channels,
            frozen_blocks=config.frozen_blocks,
            batch_norm=config.batch_norm,
        )
    depth = {"resnet18": 18, "resnet50": 50, "resnet101": 101}.get(config.architecture)
    if depth is None:
        raise InputError(f"architecture: unknown name {config.architecture!r}")
    return ResNetFeatures(
        depth,
        pretrained,
        channels=config.channels or None,
        stride=config.stride,
        frozen_blocks=config.frozen_blocks,
        batch_norm=config.batch_norm,
    )
