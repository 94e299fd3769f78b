"""The named variants of the conditional network, built from one flat description."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from wsis.errors import InputError, UnsupportedOpError
from wsis.method.backbones.layers import BatchNormMode
from wsis.method.backbones.lite_unet import FeatureExtractor, LiteUNet
from wsis.method.conditional.network import ConditionalNetwork, HeadConfig, Precision
from wsis.method.conditional.pooling import Pooling
from wsis.method.conditional.unet import KOHL_WIDTHS, ResNetFeatures, UNet

Architecture = Literal["unet", "lite_unet", "resnet18", "resnet50", "resnet101"]


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that decides the shapes and the forward pass of a conditional network.

    Attributes:
        architecture: `unet` (Kohl et al.), `lite_unet` (EfficientNet-Lite0 encoder), `resnet*` (C.2).
        num_classes: C.
        pretrained: weights of the encoder, see `wsis.method.backbones.build_backbone`; unused by `unet`.
        widths: block widths of `unet`.
        stride: output stride of `lite_unet` (2 or 4) and `resnet*` (16 or 32); `unet` has 1.
        channels: features of `lite_unet`, and of `resnet*` (0 keeps all 512 or 2,048); `unet` has widths[0].
        frozen_blocks: encoder blocks that are not trained.
        batch_norm: BatchNorm mode of a pretrained encoder.
        precision: of the features, see `network.ConditionalNetwork`.
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
    precision: Precision = "float32"
    pooling: Pooling = "image"
    background_margin: float = 0.0
    background_bias: float = 2.0
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
    extractor = _extractor(config, config.pretrained if load_pretrained else None)
    return ConditionalNetwork(extractor, head, config.precision)


def save_activations(network: ConditionalNetwork) -> None:
    """Recompute the feature extractor's activations in the backward pass instead of keeping them.

    Same results, less memory, about a third more time. A BatchNorm that learns its statistics keeps its
    activations, since it would count them twice.

    Raises:
        InputError: a ResNet, of which no part can be recomputed by itself.
    """
    if isinstance(network.extractor, ResNetFeatures):
        raise InputError("checkpointing: unet and lite_unet offer it, ResNets do not")
    network.extractor.checkpointing = True


def compile_features(network: ConditionalNetwork) -> None:
    """Have the feature extractor compiled by `torch.compile` at its first call; names of weights stay as they are.

    The compiled arithmetic rounds otherwise. Errors come with the first call; see `compile_errors`.
    """
    network.extractor.compile()


@contextmanager
def compile_errors() -> Iterator[None]:
    """Name what goes wrong in `torch.compile`, which works at the first call of a shape, forward and backward.

    Raises:
        UnsupportedOpError: the compiler is missing or failed.
    """
    from torch._dynamo.exc import TorchDynamoException  # takes seconds, and only who compiles needs it

    try:
        yield
    except TorchDynamoException as error:
        raise UnsupportedOpError(
            f"torch.compile of the feature extractor failed; set compile to false "
            f"({type(error).__name__}: {error})"
        ) from error


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
