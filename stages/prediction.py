"""The prediction network of one outer iteration: Mask R-CNN trained on all K pseudo-label sets (paper 3.3, B.1).

Writes weights.pth and model.py, a plain MMDetection config and checkpoint (`mmdet.apis.init_detector` loads
them), model.json (the config again, read without running Python) and curve.json (losses).
"""

import hashlib
import json
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from data_contracts.atomic import write_atomic
from data_contracts.errors import DataError
from data_contracts.schemas import DATASET, PROPOSALS, PSEUDO_LABELS
from stages.access import class_names, read_image
from stages.base import Artefact, Stage, StageConfig, StageContext, execution_only
from wsis.backbones import weights_digest
from wsis.masks.superpixels import proposal_masks, unpack_membership
from wsis.mmdet_ext.source import ImageInstances, InstanceSet, unite_sets

NAME = "prediction"
ALGORITHM_VERSION = 1
CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "mmdet"
MODEL_NAME, MODEL_JSON_NAME, WEIGHTS_NAME = "model.py", "model.json", "weights.pth"


class Config(StageConfig):
    """Which model, and how it is trained. The defaults suit photographs on two CPU cores."""

    model: str = Field(
        "mask_rcnn_lite0_fpn",
        description="a file of configs/mmdet by name, or a path to an MMDetection config",
    )
    pretrained: str | None = Field(
        "imagenet", description="backbone: imagenet, PATH or URL with #sha256=; null only by choice"
    )
    image_size: int = Field(288, ge=32, le=4096, description="longer side of the network input at most")
    shorter_size: int | None = Field(
        None, ge=32, le=4096, description="shorter side at most; null: as image_size"
    )
    gamma: float = Field(0.5, ge=0, le=1)
    pointwise: bool = Field(False, description="PW_p of Table 3: no self-diversity")
    # By the letter (1.0) the entropy's reward keeps every score low: no class probability above about
    # 0.6 (20 classes) to 0.75 (5) is worth its loss. 300 steps on voc-animals with true masks, AP50 / AP75 /
    # median best score / detections an image: 1.0: .585 / .207 / .43 / 40; 0.2: .606 / .256 / .64 / 10;
    # no self-diversity: .638 / .253 / .72 / 9.
    self_diversity_scale: float = Field(
        0.2, ge=0, le=1, description="factor on the self-diversity; 1: eq. 21 by the letter"
    )
    steps: int = Field(1200, ge=1, description="of outer iteration 1")
    later_steps: int = Field(600, ge=1, description="of every later one, from the weights before")
    max_epochs: float = Field(12.0, gt=0, description="fewer steps where the data set is small")
    batch_size: int = Field(4, ge=1, le=256)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(5e-4, gt=0)
    backbone_factor: float = Field(0.3, ge=0, le=1)
    weight_decay: float = Field(0.05, ge=0)
    warmup_steps: int = Field(60, ge=0)
    schedule: Literal["cosine", "step"] = "cosine"
    clip_gradient: float | None = Field(10.0, gt=0)
    ema_momentum: float | None = Field(None, gt=0, le=1)
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="bf16 and fp16 need CUDA")
    data_workers: int = execution_only(1, ge=0, le=64, description="processes that prepare batches ahead")
    cached_records: int = execution_only(
        256, ge=0, description="proposals of so many images are kept in memory"
    )

    def model_path(self) -> Path:
        """The MMDetection config file."""
        named = CONFIGS / f"{self.model}.py"
        return named if named.is_file() else Path(self.model)

    def total_steps(self, images: int, outer_iteration: int | None) -> int:
        """Steps of this outer iteration."""
        wanted = self.steps if (outer_iteration or 1) == 1 else self.later_steps
        return max(1, min(wanted, math.ceil(self.max_epochs * images / self.batch_size)))


class StoredSource:
    """Pseudo labels straight from the store: masks are built from superpixels when an image is used."""

    def __init__(self, inputs: Mapping[str, Artefact], cached_records: int) -> None:
        self.dataset = inputs["dataset"].records(DATASET)
        self.proposals = inputs["proposals"].records(PROPOSALS)
        self.labels = inputs["pseudo_labels"].records(PSEUDO_LABELS)
        self.ids = list(self.labels.ids)
        self.classes = class_names(inputs["dataset"])
        self._proposals_of = lru_cache(maxsize=cached_records)(self._read_proposals)

    def __len__(self) -> int:
        return len(self.ids)

    def image_id(self, index: int) -> str:
        return self.ids[index]

    def image_size(self, index: int) -> tuple[int, int]:
        height, width = self.dataset.read(self.ids[index], ("size",))["size"].tolist()
        return height, width

    def image(self, index: int) -> NDArray[np.uint8]:
        return read_image(self.dataset, self.ids[index])

    def instances(self, index: int) -> ImageInstances:
        """The distinct labelled proposals of all samples. One that has no pixel at the image's size (it fell
        between the pixels of an image smaller than the proposals' grid) is left out.

        Raises:
            DataError: a proposal that the image does not have.
        """
        image_id = self.ids[index]
        record = self.labels[image_id]
        total = max(int(record["multiplicities"].sum()), 1)
        parts = [slice(a, b) for a, b in zip(record["offsets"][:-1], record["offsets"][1:], strict=True)]
        keys, labels, weights = unite_sets(
            [
                InstanceSet(record["proposal_ids"][part], record["classes"][part], float(m) / total)
                for part, m in zip(parts, record["multiplicities"], strict=True)
            ]
        )
        masks = self._masks(image_id, keys)
        kept = masks.any(axis=(1, 2))
        return ImageInstances(masks[kept], labels[kept], weights[kept])

    def _masks(self, image_id: str, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        superpixels, bits, count = self._proposals_of(image_id)
        if len(keys) and not (keys.min() >= 0 and keys.max() < len(bits)):
            raise DataError(
                f"pseudo labels of image {image_id}: proposal_ids: expected 0..{len(bits) - 1}, got {keys.tolist()}"
            )
        used, row = np.unique(keys, return_inverse=True)
        size = self.dataset.read(image_id, ("size",))["size"]
        masks = proposal_masks(
            superpixels, unpack_membership(bits[used], count), (int(size[0]), int(size[1]))
        )
        return masks[row]

    def _read_proposals(self, image_id: str) -> tuple[NDArray[np.uint16], NDArray[np.uint8], int]:
        record = self.proposals.read(image_id, ("superpixels", "membership_bits", "num_superpixels"))
        return record["superpixels"], record["membership_bits"], int(record["num_superpixels"][0])


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Train on the K samples of every training image.

    Raises:
        DataError, InputError: bad pseudo labels, or a model that is no two-stage mask detector.
        MissingWeightsError: backbone weights absent or of another network.
        NonFiniteError: a loss became NaN or infinite; names the images.
    """
    from wsis.mmdet_ext import training  # MMDetection takes seconds to import: only where it is used
    from wsis.mmdet_ext.config import plain_config, to_json, training_config

    source = StoredSource(inputs, config.cached_records)
    spec = _spec(config, source.classes)
    plain = plain_config(config.model_path(), spec)
    total = config.total_steps(len(source), context.outer_iteration)
    previous = inputs.get("previous")
    with context.progress.bar(
        total, context.title, "step", initial=training.steps_done(context.workdir)
    ) as bar:
        training.train(
            training_config(plain, spec),
            source,
            _settings(config, context, total),
            context.workdir,
            init_weights=None if previous is None else previous.file(WEIGHTS_NAME),
            progress=lambda step, total, losses: bar.update(1, losses),
        )
    plain.dump(str(context.workdir / MODEL_NAME))
    write_atomic(context.workdir / MODEL_JSON_NAME, to_json(plain).encode())
    curve = json.loads((context.workdir / training.CURVE_NAME).read_text())
    context.counts.update(
        images=len(source), steps=total, classes=list(source.classes), first=curve[0], last=curve[-1]
    )


def _spec(config: Config, classes: tuple[str, ...]) -> Any:
    from wsis.mmdet_ext.config import PredictionSpec

    return PredictionSpec(
        classes=classes,
        image_scale=(config.image_size, config.shorter_size or config.image_size),
        gamma=config.gamma,
        pointwise=config.pointwise,
        self_diversity_scale=config.self_diversity_scale,
    )


def _settings(config: Config, context: StageContext, total: int) -> Any:
    from wsis.mmdet_ext.batches import derived_seed
    from wsis.mmdet_ext.training import TrainSettings

    return TrainSettings(
        total_steps=total,
        batch_size=config.batch_size,
        optimizer=config.optimizer,
        learning_rate=config.learning_rate,
        backbone_rate=config.backbone_factor,
        weight_decay=config.weight_decay,
        warmup_steps=config.warmup_steps,
        schedule=config.schedule,
        clip_norm=config.clip_gradient,
        ema_momentum=config.ema_momentum,
        precision=config.precision,
        pretrained=config.pretrained,
        seed=derived_seed(context.seed, context.outer_iteration or 0) % 2**31,
        device=str(context.device),
        workers=config.data_workers,
        checkpoint_seconds=context.execution.checkpoint_seconds,
    )


def _content_digest(config: Config) -> str:
    """Identity of the model's config with its bases, and of the backbone weights."""
    from wsis.mmdet_ext.config import config_digest

    weights = weights_digest(config.pretrained)
    return hashlib.sha256(f"{config_digest(config.model_path())} {weights}".encode()).hexdigest()


def _check(config: Config) -> None:
    """Build the model with its backbone weights before any hour is spent."""
    from wsis.mmdet_ext.config import plain_config, training_config
    from wsis.mmdet_ext.models import starting_model

    spec = _spec(config, ("any",))
    model_config = training_config(plain_config(config.model_path(), spec), spec)
    starting_model(model_config, spec.classes, config.pretrained)


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=("dataset", "proposals", "pseudo_labels"),
    optional=("previous",),
    contract="weights",
    supervision=lambda config: () if config.pretrained is None else ("ImageNet labels",),
    content_digest=_content_digest,
    check=_check,
)
