"""Feature extractors shared by the classifier, the conditional and the prediction network."""

from typing import Any

from wsis.errors import InputError
from wsis.method.backbones.efficientnet_lite import EfficientNetLite0, rename_lite0
from wsis.method.backbones.layers import Backbone
from wsis.method.backbones.resnet import ResNet
from wsis.method.backbones.weights import (
    LITE0_SHA256,
    RESNET_URLS,
    PretrainedSpec,
    lite0_file,
    load_strictly,
    read_state,
    weights_digest,
)

BACKBONES = ("efficientnet_lite0", "resnet18", "resnet50", "resnet101")

__all__ = [
    "BACKBONES",
    "Backbone",
    "EfficientNetLite0",
    "PretrainedSpec",
    "ResNet",
    "build_backbone",
    "load_pretrained",
    "load_strictly",
    "weights_digest",
]


def build_backbone(name: str, pretrained: PretrainedSpec, **options: Any) -> Backbone:
    """A backbone with its weights loaded.

    Args:
        name: one of BACKBONES.
        pretrained: "imagenet", a path or URL (see wsis.method.backbones.weights), or None for random weights.
        options: arguments of the class (out_indices, batch_norm, frozen_blocks, ...).

    Raises:
        InputError: unknown name or option value.
        MissingWeightsError: the weights are absent, damaged or of another network.
    """
    backbone: Backbone
    if name == "efficientnet_lite0":
        backbone = EfficientNetLite0(**options)
    elif name in BACKBONES:
        options.pop("with_head", None)  # a ResNet's head is its last stage
        backbone = ResNet(int(name.removeprefix("resnet")), **options)
    else:
        raise InputError(f"backbone: expected one of {', '.join(BACKBONES)}, got {name!r}")
    load_pretrained(backbone, name, pretrained)
    return backbone


def load_pretrained(backbone: Backbone, name: str, pretrained: PretrainedSpec) -> None:
    """Load the weights that ``pretrained`` names into a backbone built as ``name``; None does nothing."""
    if pretrained is None:
        return
    if name == "efficientnet_lite0":
        spec = f"{lite0_file()}#sha256={LITE0_SHA256}" if pretrained == "imagenet" else pretrained
        state, source = read_state(spec)
        with_head = getattr(backbone, "head_conv", None) is not None
        load_strictly(
            backbone, rename_lite0(state), source, lambda key: not with_head and key.startswith("head_conv.")
        )
    else:
        spec = RESNET_URLS[int(name.removeprefix("resnet"))] if pretrained == "imagenet" else pretrained
        state, source = read_state(spec)
        load_strictly(backbone, state, source, lambda key: key in ("fc.weight", "fc.bias"))
