"""From a plain MMDetection config of a two-stage mask model to the prediction network, and back for export."""

import copy
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from wsis.errors import InputError
from wsis.method.prediction.object_sizes import Anchors
from wsis.method.prediction.training_objects import Scale

_TUPLE = "__tuple__"
TRAINING_OBJECTS = "training_objects"
"""Key of an exported config: how large training objects were, the fields of `training_objects.TrainingObjects`."""


@dataclass(frozen=True)
class PredictionSpec:
    """What the run decides about the model.

    Attributes:
        classes: class names; class j of the labels is classes[j - 1].
        image_scale: (longest, shortest) side that images are resized to fit, keeping the aspect.
        train_scales: several such pairs to draw from while training; empty: `image_scale`.
        self_diversity: weight of DIV(p,p), 1 - gamma in eq. 21; 0 is PW_p of Table 3.
        detections: the most detections of an image, where the config's own limit is lower; None: the config's.
    """

    classes: tuple[str, ...]
    image_scale: Scale
    self_diversity: float
    train_scales: tuple[Scale, ...] = ()
    detections: int | None = None


def plain_config(path: Path, spec: PredictionSpec) -> Config:
    """The MMDetection config at `path` with the run's classes and image size: what is exported.

    Args:
        path: a config whose `model` is a two-stage detector with box and mask head.

    Raises:
        InputError: no such file, not readable, or another kind of model.
    """
    if not path.is_file():
        raise InputError(f"MMDetection config: no file {path}")
    if not spec.classes:
        raise InputError("classes: expected at least one class name, got none")
    try:
        loaded = Config.fromfile(str(path))
    except (SyntaxError, KeyError, TypeError, AttributeError, OSError, ImportError) as error:
        raise InputError(f"MMDetection config {path}: {type(error).__name__}: {error}") from error
    model = copy.deepcopy(loaded.get("model"))
    _require_two_stage(model, path)
    for head in _heads(model):
        head.num_classes = len(spec.classes)
    if spec.detections is not None:
        _raise_limits(model, spec.detections)
    if "init_cfg" in model.backbone:
        model.backbone.init_cfg = None  # weights are loaded and checked by wsis, never fetched on the way
    result: dict[str, Any] = {
        "default_scope": "mmdet",
        "model": model,
        "metainfo": {"classes": list(spec.classes)},
        "test_pipeline": test_pipeline(spec.image_scale),
    }
    result["test_dataloader"] = {
        "dataset": {
            "type": "CocoDataset",
            "metainfo": result["metainfo"],
            "pipeline": result["test_pipeline"],
        }
    }
    if "custom_imports" in loaded:
        result["custom_imports"] = loaded.custom_imports
    return Config(result)


def training_config(plain: Config, spec: PredictionSpec) -> Config:
    """`plain` with the K pseudo-label sets and the dissimilarity objective (paper B.1) built in.

    Raises:
        InputError: self-diversity is asked for and the RoI head is not MMDetection's StandardRoIHead.
    """
    config = copy.deepcopy(plain)
    model = config.model
    for part in _train_cfgs(model.train_cfg):
        part.assigner = ConfigDict(type="PseudoLabelAssigner", assigner=part.assigner)
        part.sampler = ConfigDict(type="PseudoLabelSampler", sampler=part.sampler)
    if model.roi_head.type == "StandardRoIHead":
        model.roi_head.update(type="DissimilarityRoIHead", self_diversity=spec.self_diversity)
    elif spec.self_diversity:
        raise InputError(
            f"roi_head {model.roi_head.type}: self-diversity is built for StandardRoIHead; "
            "use self_diversity=0 with this head"
        )
    config.train_pipeline = train_pipeline(spec.train_scales or (spec.image_scale,))
    return config


def anchors_of(plain: Config) -> Anchors:
    """The anchors of a config whose RPN has MMDetection's AnchorGenerator.

    Raises:
        InputError: it has another generator.
    """
    generator = plain.model.rpn_head.get("anchor_generator", {})
    if generator.get("type") != "AnchorGenerator" or "scales" not in generator:
        raise InputError(f"anchor_generator: expected an AnchorGenerator with scales, got {dict(generator)}")
    return Anchors(tuple(generator.strides), tuple(generator.scales), tuple(generator.ratios))


def config_digest(path: Path) -> str:
    """sha256 over an MMDetection config with its bases; InputError if there is no such file."""
    if not path.is_file():
        raise InputError(f"MMDetection config: no file {path}")
    values = Config.fromfile(str(path), import_custom_modules=False).to_dict()
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=repr).encode()).hexdigest()


def wsis_backbone(path: Path) -> str | None:
    """The type of an exported config's backbone where it is one of ours, which `custom_imports` registers.

    Of what is exported nothing else is: the heads of training are replaced by MMDetection's. None: any MMDetection
    has it.
    """
    exported = Config.fromfile(str(path), import_custom_modules=False)
    modules = exported.get("custom_imports", {}).get("imports", [])
    return str(exported.model.backbone.type) if any(one.startswith("wsis.") for one in modules) else None


def to_json(plain: Config) -> str:
    """A config as JSON text, for reading it again without running Python; tuples are kept."""

    def encoded(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: encoded(v) for k, v in value.items()}
        if isinstance(value, tuple):
            return {_TUPLE: [encoded(v) for v in value]}
        return [encoded(v) for v in value] if isinstance(value, list) else value

    return json.dumps(encoded(plain.to_dict()), indent=1, allow_nan=False)


def from_json(text: str) -> Config:
    """Inverse of :func:`to_json`."""

    def decoded(value: dict[str, Any]) -> Any:
        return tuple(value[_TUPLE]) if set(value) == {_TUPLE} else value

    return Config(json.loads(text, object_hook=decoded))


def train_pipeline(scales: Sequence[Scale]) -> list[dict[str, Any]]:
    """Transforms of a training sample, applied once to the image and all its sets."""
    resize = (
        {"type": "Resize", "scale": tuple(scales[0]), "keep_ratio": True}
        if len(scales) == 1
        else {
            "type": "RandomChoiceResize",
            "scales": [tuple(s) for s in scales],
            "resize_type": "Resize",
            "keep_ratio": True,
        }
    )
    return [
        resize,
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "KeepSmallInstances"},
        {"type": "PackPseudoLabels"},
    ]


def test_pipeline(scale: Scale) -> list[dict[str, Any]]:
    """MMDetection's transforms of an image to predict."""
    return [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "scale": tuple(scale), "keep_ratio": True},
        {
            "type": "PackDetInputs",
            "meta_keys": ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
        },
    ]


def image_scale(plain: Config) -> Scale:
    """(longest, shortest) side that images are resized to fit; InputError if the config does not say it."""
    for transform in plain.test_pipeline:
        if transform["type"] == "Resize" and "scale" in transform:
            longest, shortest = transform["scale"]
            return longest, shortest
    raise InputError("test_pipeline: expected a Resize with a scale, got none")


def _require_two_stage(model: Any, path: Path) -> None:
    needed = ("backbone", "rpn_head", "roi_head", "train_cfg", "test_cfg")
    missing = [name for name in needed if not isinstance(model, dict) or name not in model]
    if missing:
        got = f"a model without {', '.join(missing)}" if isinstance(model, dict) else type(model).__name__
        raise InputError(f"MMDetection config {path}: expected a two-stage detector, got {got}")
    if "bbox_head" not in model.roi_head or "mask_head" not in model.roi_head:
        raise InputError(f"MMDetection config {path}: expected a RoI head with bbox_head and mask_head")


def _raise_limits(model: ConfigDict, detections: int) -> None:
    """So many detections of an image, from as many more regions; training samples few regions from those it has."""
    regions, found = model.test_cfg.rpn, model.test_cfg.rcnn
    factor = max(1, math.ceil(detections / found.max_per_img))
    found.max_per_img = max(found.max_per_img, detections)
    regions.nms_pre *= factor
    regions.max_per_img *= factor


def _heads(model: ConfigDict) -> Iterator[ConfigDict]:
    for name in ("bbox_head", "mask_head"):
        head = model.roi_head[name]
        yield from head if isinstance(head, list | tuple) else (head,)


def _train_cfgs(train_cfg: ConfigDict) -> Iterator[ConfigDict]:
    yield train_cfg.rpn
    yield from train_cfg.rcnn if isinstance(train_cfg.rcnn, list | tuple) else (train_cfg.rcnn,)
