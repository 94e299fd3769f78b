"""Feature extractors shared by the classifier, the conditional and the prediction network: `BACKBONES`, a row each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from wsis.errors import InputError
from wsis.method.backbones.efficientnet_lite import (
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
    rename_lite,
)
from wsis.method.backbones.layers import Backbone
from wsis.method.backbones.resnet import ResNet
from wsis.method.backbones.weights import (
    LITE_SHA256,
    RESNET_URLS,
    PretrainedSpec,
    lite_file,
    load_strictly,
    read_state,
    weights_digest,
)

__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneName",
    "BackboneRow",
    "EfficientNetLite0",
    "EfficientNetLite1",
    "EfficientNetLite2",
    "PretrainedSpec",
    "ResNet",
    "build_backbone",
    "load_pretrained",
    "load_strictly",
    "weights_digest",
]


@dataclass(frozen=True)
class BackboneRow:
    """A backbone by its name, in `prm_classifier.backbone`, `conditional.architecture` and the detector's config.

    Attributes:
        build: arguments as those of :class:`wsis.method.backbones.layers.Backbone` says -> the network.
        imagenet: gives the weights that "imagenet" means, a path or URL with its hash.
        mmdet: what the `backbone` of an MMDetection config has where it is this one: its `type` and what else decides.
        rename: tensors of a weight file -> those of the network, by the network's names.
        unused: beginnings of the names in a weight file that a network without ImageNet's classifier lacks.
    """

    build: Callable[..., Backbone]
    imagenet: Callable[[], str]
    mmdet: Mapping[str, Any] = field(default_factory=dict)
    rename: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict
    unused: tuple[str, ...] = ()


def _resnet(depth: int) -> BackboneRow:
    return BackboneRow(
        partial(ResNet, depth),
        partial(str, RESNET_URLS[depth]),
        mmdet={"type": "ResNet", "depth": depth},
        unused=("fc.weight", "fc.bias"),
    )


def _lite(number: int, network: type[EfficientNetLite0]) -> BackboneRow:
    return BackboneRow(
        network,
        lambda: f"{lite_file(number)}#sha256={LITE_SHA256[number]}",
        mmdet={"type": network.__name__},
        rename=rename_lite,
        unused=("head_conv.",),
    )


BACKBONES = {
    "efficientnet_lite0": _lite(0, EfficientNetLite0),
    "efficientnet_lite1": _lite(1, EfficientNetLite1),
    "efficientnet_lite2": _lite(2, EfficientNetLite2),
    "resnet18": _resnet(18),
    "resnet50": _resnet(50),
    "resnet101": _resnet(101),
}
if TYPE_CHECKING:
    BackboneName = str
else:
    BackboneName = Literal[tuple(BACKBONES)]


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
    if name not in BACKBONES:
        raise InputError(f"backbone: expected one of {', '.join(BACKBONES)}, got {name!r}")
    backbone = BACKBONES[name].build(**options)
    load_pretrained(backbone, name, pretrained)
    return backbone


def load_pretrained(backbone: Backbone, name: str, pretrained: PretrainedSpec) -> None:
    """Load the weights that ``pretrained`` names into a backbone built as ``name``; None does nothing."""
    if pretrained is None:
        return
    row = BACKBONES[name]
    state, source = read_state(row.imagenet() if pretrained == "imagenet" else pretrained)
    own = backbone.state_dict()
    absent = tuple(part for part in row.unused if not any(key.startswith(part) for key in own))
    load_strictly(backbone, row.rename(state), source, lambda key: key.startswith(absent))
