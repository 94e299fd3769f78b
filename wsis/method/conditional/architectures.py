"""The named variants of the conditional network, built from one flat description."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from wsis.errors import InputError
from wsis.method.backbones import BACKBONES
from wsis.method.backbones.layers import BatchNormMode
from wsis.method.backbones.lite_unet import FeatureExtractor, LiteUNet
from wsis.method.conditional.network import ConditionalNetwork, HeadConfig
from wsis.method.conditional.unet import KOHL_WIDTHS, BackboneFeatures, UNet
from wsis.method.settings import Precision

LITE_ENCODERS = {
    "lite_unet": "efficientnet_lite0",
    "lite1_unet": "efficientnet_lite1",
    "lite2_unet": "efficientnet_lite2",
}
if TYPE_CHECKING:
    Architecture = str
else:
    Architecture = Literal["unet", *LITE_ENCODERS, *BACKBONES]


class NetworkConfig(HeadConfig):
    """Everything beside the number of classes that decides the shapes and the forward pass of a conditional network."""

    architecture: Architecture = Field(
        "lite_unet",
        description="unet is the paper's (Kohl et al.); lite_unet, an EfficientNet-Lite0, for small machines; "
        "lite1_unet and lite2_unet are larger; else a backbone (C.2)",
    )
    pretrained: str | None = Field(
        "imagenet", description="encoder weights; null only by choice; unused by unet"
    )
    widths: tuple[int, ...] = Field(KOHL_WIDTHS, description="block widths of unet")
    stride: int = Field(4, ge=1, le=32, description="output stride: lite_unet 2 or 4, others 16 or 32")
    channels: int = Field(
        32, ge=0, le=4096, description="feature channels; 0: all of a backbone's (the paper's letter)"
    )
    frozen_blocks: int = Field(3, ge=0, le=64, description="encoder blocks that do not learn")
    batch_norm: BatchNormMode = Field(
        "frozen", description="train; frozen_statistics: only its factors learn; frozen: nothing does"
    )
    precision: Precision = Field("float32", description="of the features; energy and inference stay float32")


def build_network(
    config: NetworkConfig, num_classes: int, *, load_pretrained: bool = True
) -> ConditionalNetwork:
    """Build a conditional network.

    Args:
        config: its description.
        num_classes: C.
        load_pretrained: False when the caller loads all weights itself.

    Raises:
        InputError: no class, or an impossible stride.
        MissingWeightsError: pretrained weights are asked for and absent.
    """
    extractor = _extractor(config, config.pretrained if load_pretrained else None)
    return ConditionalNetwork(extractor, num_classes, config, config.precision)


def save_activations(network: ConditionalNetwork) -> None:
    """Recompute the feature extractor's activations in the backward pass instead of keeping them.

    Same results, less memory, about a third more time. A BatchNorm that learns its statistics keeps its
    activations, since it would count them twice.

    Raises:
        InputError: a whole backbone, of which no part can be recomputed by itself.
    """
    if isinstance(network.extractor, BackboneFeatures):
        raise InputError("checkpointing: unet and lite_unet offer it, backbones do not")
    network.extractor.checkpointing = True


def _extractor(config: NetworkConfig, pretrained: str | None) -> FeatureExtractor:
    if config.architecture == "unet":
        return UNet(config.widths)
    if config.architecture in LITE_ENCODERS:
        return LiteUNet(
            pretrained,
            stride=config.stride,
            channels=config.channels,
            frozen_blocks=config.frozen_blocks,
            batch_norm=config.batch_norm,
            encoder=LITE_ENCODERS[config.architecture],
        )
    return BackboneFeatures(
        config.architecture,
        pretrained,
        channels=config.channels or None,
        stride=config.stride,
        frozen_blocks=config.frozen_blocks,
        batch_norm=config.batch_norm,
    )
