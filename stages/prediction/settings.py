"""Settings of the prediction network: which model, and how it is trained. Its two stages share them."""

import math
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from data_contracts.errors import ConfigError
from wsis.engine.shared_work import SharedTraining
from wsis.engine.stage import execution_only
from wsis.method.settings import Precision

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "mmdet"
DETECTOR_NAME = "weights.pth"
# A count of the manifest: how large the objects are that the network was trained on, the fields of `TrainingObjects`.
# Absent where it was trained on none, and in artefacts of earlier versions.
OBJECTS = "objects"


class PredictionConfig(SharedTraining):
    """Which model, and how it is trained. The defaults suit photographs on two CPU cores."""

    model: str = Field(
        "mask_rcnn_lite0_fpn",
        description="a file of configs/mmdet by name, or a path to an MMDetection config; mask_rcnn_lite0_fpn gets "
        "finer anchors where the training objects are small",
    )
    pretrained: str | None = Field(
        "imagenet", description="backbone: imagenet, PATH or URL with #sha256=; null only by choice"
    )
    image_size: int = Field(288, ge=32, le=4096, description="longer side of the network input at most")
    shorter_size: int | None = Field(
        None, ge=32, le=4096, description="shorter side at most; null: as image_size"
    )
    # At 0.5, the letter, the entropy's reward keeps every score low: no class probability above about 0.6 (20 classes)
    # to 0.75 (5) is worth its loss. 300 steps on voc-animals with true masks, AP50 / AP75 / median best score /
    # detections an image: 0.5: .585 / .207 / .43 / 40; 0.1: .606 / .256 / .64 / 10; 0: .638 / .253 / .72 / 9.
    self_diversity: float | None = Field(
        0.1,
        ge=0,
        le=1,
        description="weight of DIV(p,p) in eq. 21; null: 1 - conditional.gamma, the letter; 0: pointwise PW_p",
    )
    steps: int = Field(1200, ge=1, description="of outer iteration 1")
    later_steps: int = Field(600, ge=1, description="of every later one, from the weights before")
    max_epochs: float = Field(12.0, gt=0, description="fewer steps where the data set is small")
    batch_size: int = Field(4, ge=1, le=256, description="images a step, of all processes together")
    gradient_accumulation: int = Field(
        1,
        ge=1,
        le=256,
        description="parts in which each process computes its images of a step, one after the other: memory of one "
        "part, losses as of so many processes",
    )
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="sgd has momentum 0.9, Mask R-CNN's own")
    learning_rate: float = Field(5e-4, gt=0, description="after the warm-up")
    backbone_factor: float = Field(0.3, ge=0, le=1, description="factor on the backbone's learning rate")
    weight_decay: float = Field(0.05, ge=0, description="of the optimizer")
    warmup_steps: int = Field(60, ge=0, description="steps in which the learning rates rise")
    schedule: Literal["cosine", "step"] = Field(
        "cosine", description="cosine to zero; step: x 0.1 at 2/3 and 8/9 of the steps"
    )
    clip_gradient: float | None = Field(10.0, gt=0, description="largest norm of the gradient; null: any")
    ema_momentum: float | None = Field(
        None,
        gt=0,
        le=1,
        description="weight of the newest weights in a moving average that is the result; null: off",
    )
    precision: Precision = Field("float32", description="bfloat16 and float16 need CUDA")
    data_workers: int | None = execution_only(
        None,
        ge=0,
        le=64,
        description="processes that prepare batches ahead, of each of `processes`; null: 1, on a GPU execution.workers",
    )

    @model_validator(mode="after")
    def _batch_has_parts(self) -> Self:
        parts = self.processes * self.gradient_accumulation
        if self.batch_size % parts:
            raise ValueError(
                f"batch_size: expected a multiple of processes x gradient_accumulation ({parts}), got {self.batch_size}"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """As of every training; one part is left out, as one process is."""
        found = super().identity()
        if found["gradient_accumulation"] == 1:
            del found["gradient_accumulation"]
        return found

    def total_steps(self, images: int, outer_iteration: int | None) -> int:
        """Steps of this outer iteration."""
        wanted = self.steps if (outer_iteration or 1) == 1 else self.later_steps
        return max(1, min(wanted, math.ceil(self.max_epochs * images / self.batch_size)))


def config_file(model: str) -> Path:
    """The MMDetection config file of a model: one of configs/mmdet by name, or a path."""
    named = CONFIGS / f"{model}.py"
    return named if named.is_file() else Path(model)


def model_spec(config: PredictionConfig, classes: tuple[str, ...], detections: int | None = None) -> Any:
    """The run's part of the MMDetection config, a `PredictionSpec`."""
    from wsis.method.prediction.config import PredictionSpec

    if config.self_diversity is None:
        raise ConfigError("prediction.self_diversity: expected a number outside of a run's plan, got null")
    return PredictionSpec(
        classes=classes,
        image_scale=(config.image_size, config.shorter_size or config.image_size),
        self_diversity=config.self_diversity,
        detections=detections,
    )
