"""Building a detector from a config, with the weights it starts from."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch import nn

from wsis.errors import InputError, MissingWeightsError
from wsis.method.backbones import BACKBONES, PretrainedSpec, load_pretrained
from wsis.method.placement import gpus_beside
from wsis.method.prediction import registrations  # noqa: F401  (registers what the configs name)
from wsis.method.prediction.checkpoints import load_detector_weights

# MMDetection's parts and ours with the same results, which ask a device less often and keep regions in float32. A
# config that is exported names MMDetection's.
OWN_PARTS = {
    "AnchorGenerator": "ResidentAnchorGenerator",
    "CrossEntropyLoss": "UnaskedCrossEntropyLoss",
    "DeltaXYWHBBoxCoder": "ResidentBoxCoder",
    "DetDataPreprocessor": "OneCopyPreprocessor",
    "FCNMaskHead": "OneCopyMaskHead",
    "L1Loss": "UnaskedL1Loss",
    "RPNHead": "SeldomAskingRPNHead",
    "SingleRoIExtractor": "LevelRoIExtractor",
}

_LOG_LEVEL = "ERROR"  # MMEngine warns of its own deprecations and of every frozen parameter


def quiet_mmengine() -> None:
    """MMDetection's registries as the current scope, and a logger that only reports errors.

    It has no file: a later set-up of `logging` (Prefect's, a worker's) would close the file under it, and the next
    model built in this process would then fail to write its initialisation to it.
    """
    if not MMLogger.check_instance_created("wsis"):
        MMLogger.get_instance("wsis", log_level=_LOG_LEVEL)
    init_default_scope("mmdet")


def checked_device(name: str) -> torch.device:
    """The device of that name; InputError if torch does not have it."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device: expected 'cpu', 'cuda' or 'cuda:N', got {name!r}") from error
    if (there := gpus_beside(name)) is not None:
        raise InputError(
            f"device: the run asks for {name!r}, but torch {torch.__version__} sees {there} CUDA devices on this "
            "machine"
        )
    return device


def build_model(config: Config) -> nn.Module:
    """The detector of `config.model`, its weights as the constructors leave them."""
    quiet_mmengine()
    # A copy: MMDetection moves train_cfg into the heads' configs while building.
    model: nn.Module = MODELS.build(_with_own_parts(copy.deepcopy(config.model)))
    return model


def _with_own_parts(config: Any) -> Any:
    """A config in place, with our parts by name of MMDetection's."""
    if isinstance(config, dict):
        if config.get("type") in OWN_PARTS:
            config["type"] = OWN_PARTS[config["type"]]
        for value in config.values():
            _with_own_parts(value)
    elif isinstance(config, list | tuple):
        for value in config:
            _with_own_parts(value)
    return config


def starting_model(
    config: Config,
    classes: Sequence[str],
    pretrained: PretrainedSpec,
    seed: int = 0,
    init_weights: Path | None = None,
) -> nn.Module:
    """The detector with starting weights: `init_weights`, or a seeded start with the pretrained backbone.

    Raises:
        InputError: initial weights of another class list.
        MissingWeightsError: weights absent, damaged or of another network.
    """
    torch.manual_seed(seed)
    model = build_model(config)
    model.init_weights()  # type: ignore[operator]
    if init_weights is not None:
        load_detector_weights(model, init_weights, classes)
    else:
        _load_backbone(model.backbone, config.model.backbone, pretrained)
    return model


def _load_backbone(backbone: Any, config: Mapping[str, Any], pretrained: PretrainedSpec) -> None:
    if pretrained is None:
        return
    known = {name: row.mmdet for name, row in BACKBONES.items() if row.mmdet}
    names = [name for name, said in known.items() if all(config.get(k) == v for k, v in said.items())]
    if not names:
        types = ", ".join(dict.fromkeys(said["type"] for said in known.values()))
        raise MissingWeightsError(
            f"pretrained: expected a backbone out of {types}, got {config['type']}; use pretrained=null and give "
            "a whole checkpoint of the detector as initial weights"
        )
    load_pretrained(backbone, names[0], pretrained)
