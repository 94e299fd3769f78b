"""What the stages that train the prediction network share: one training from a source of images, and its checks.

A trained network is weights.pth and model.py, a plain MMDetection config and checkpoint (`mmdet.apis.init_detector`
loads them), model.json (the config again, read without running Python) and curve.json (losses).
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from data_contracts.atomic import write_atomic
from stages.prediction.fit import FITTED, Fit, fitted
from stages.prediction.settings import DETECTOR_NAME, OBJECTS, PredictionConfig, config_file, model_spec
from wsis.engine.device import check_operators
from wsis.engine.shared_work import check_processes, run_shared
from wsis.engine.stage import Execution, StageContext
from wsis.engine.training import CHECKPOINT_NAME, CURVE_NAME
from wsis.errors import InputError
from wsis.method.backbones import weights_digest
from wsis.method.prediction.data.training_images import PseudoLabelSource
from wsis.method.prediction.training_objects import TrainingObjects

MODEL_NAME, MODEL_JSON_NAME = "model.py", "model.json"
LESS_GPU_MEMORY = (
    "--set prediction.gradient_accumulation=2 (or more: parts of a batch) or --set prediction.precision=bfloat16, with "
    "--replace"
)


def train_network(
    source: PseudoLabelSource,
    config: PredictionConfig,
    total_steps: int,
    context: StageContext,
    init_weights: Path | None = None,
    fit: Fit | None = None,
) -> None:
    """Train on a source of images and write the network and its counts.

    The count `data_wait_share` is the share of their wall time that steps waited for data (`DATA_WAIT`), `objects` the
    sizes of what it learned from (`OBJECTS`).

    Args:
        init_weights: weights of the same network to fine-tune.
        fit: the network of these weights; None: chosen by the source's objects.

    Raises:
        ConfigError: fewer GPUs than processes.
        WorkerDiedError: one of several processes was killed.
        DataError, InputError: bad labels, or a model that is no two-stage mask detector.
        MissingWeightsError: backbone weights absent or of another network.
        NonFiniteError: a loss became NaN or infinite; names the images.
    """
    # MMDetection takes seconds to import: only where it is used
    from stages.prediction.mmdet_training import train
    from wsis.method.prediction.config import plain_config, to_json

    _discard_of_mmengine(context)
    if fit is None:
        fit = fitted(config, source)
        if fit.grounds:
            context.log(fit.said())
    if not (context.workdir / DETECTOR_NAME).exists():  # else it was killed after its last file
        run_shared(partial(train, config, fit, source, total_steps, init_weights), context, config.processes)
    spec = fit.spec(config, source.classes)
    plain = plain_config(config_file(fit.model), spec)
    plain.dump(str(context.workdir / MODEL_NAME))
    write_atomic(context.workdir / MODEL_JSON_NAME, to_json(plain).encode())
    curve = json.loads((context.workdir / CURVE_NAME).read_text())
    context.counts.update(
        fit.counts(),
        images=len(source),
        steps=total_steps,
        classes=list(source.classes),
        first=curve[0],
        last=curve[-1],
    )
    if (objects := TrainingObjects.of(source, spec.image_scale)) is not None:
        context.counts[OBJECTS] = objects.model_dump()
    (context.workdir / CHECKPOINT_NAME).unlink(missing_ok=True)


def _discard_of_mmengine(context: StageContext) -> None:
    """Remove half a training of an earlier version, whose loop and checkpoint were MMEngine's."""
    checkpoint = context.workdir / "checkpoint.pth"
    if checkpoint.exists():
        context.log(f"{checkpoint} is of an earlier version; this stage starts afresh")
        checkpoint.unlink()
    shutil.rmtree(context.workdir / "mmengine", ignore_errors=True)


def content_digest(config: PredictionConfig) -> str:
    """Identity of the configs that the model may have, with their bases, and of the backbone weights."""
    from wsis.method.prediction.config import config_digest

    models = FITTED if config.model == FITTED[0] else (config.model,)
    parts = [*(config_digest(config_file(model)) for model in models), weights_digest(config.pretrained)]
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()


def check_starts(config: PredictionConfig, execution: Execution) -> None:
    """Build the model with its backbone weights, and take a detection from it, before any hour is spent.

    Raises:
        ConfigError: see `check_processes` and `check_operators`.
        InputError: no such model, one that detections cannot be taken from, or mixed precision without CUDA.
        MissingWeightsError: backbone weights absent or of another network.
    """
    from wsis.method.prediction.config import plain_config, training_config
    from wsis.method.prediction.inference import check_predicts
    from wsis.method.prediction.models import starting_model

    check_processes(config, execution, "prediction")
    check_operators(execution.torch_device())
    if config.precision != "float32" and execution.torch_device().type != "cuda":
        raise InputError(
            f"prediction.precision: expected float32 without a CUDA device, got {config.precision}"
        )
    spec = replace(model_spec(config, ("any",)), image_scale=(64, 64), train_scales=())
    model_config = training_config(plain_config(config_file(config.model), spec), spec)
    model = starting_model(model_config, spec.classes, config.pretrained)
    check_predicts(model, model_config, spec.classes)


def label_sources(config: PredictionConfig) -> Sequence[str]:
    """The labels that the backbone's weights bring in."""
    return () if config.pretrained is None else ("ImageNet labels",)
