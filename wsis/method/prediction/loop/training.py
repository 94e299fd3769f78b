"""Training the prediction network (paper B.1): MMDetection's model, MMEngine's Runner, exact resume."""

import hashlib
import json
import logging
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import EMAHook
from torch import Tensor, nn

from wsis.errors import InputError, MissingWeightsError
from wsis.method.backbones import PretrainedSpec
from wsis.method.prediction.data.batches import StatelessBatchSampler
from wsis.method.prediction.data.dataset import PseudoLabelDataset
from wsis.method.prediction.data.loader import BatchLoader
from wsis.method.prediction.data.training_images import PseudoLabelSource
from wsis.method.prediction.loop.checkpoints import (
    check_classes,
    read_checkpoint,
    weights_checkpoint,
    write_checkpoint,
)
from wsis.method.prediction.loop.processes import joined
from wsis.method.prediction.loop.train_loop import (
    LossCurveHook,
    PredictionRunner,
    ProgressCallback,
    quiet_mmengine,
)
from wsis.method.prediction.models import build_model, checked_device, starting_model

WEIGHTS_NAME = "weights.pth"
CHECKPOINT_NAME = "checkpoint.pth"
CURVE_NAME = "curve.json"
_RUNNER_FOLDER = "mmengine"
_log = logging.getLogger("wsis.method.prediction")


@dataclass(frozen=True)
class TrainSettings:
    """How to train. The second group changes where and how fast, not the result.

    Attributes:
        total_steps: optimisation steps.
        batch_size: images a step and process.
        optimizer: "adamw", or "sgd" with momentum 0.9 (Mask R-CNN's own).
        learning_rate: after the warm-up.
        backbone_rate: factor on the backbone's learning rate.
        schedule: "cosine" to zero, or "step": x 0.1 at 2/3 and 8/9 of the steps (Mask R-CNN's own).
        clip_norm: largest gradient norm; None does not clip.
        ema_momentum: weight of the newest weights in a moving average that becomes the result; None: off.
        precision: "bf16" / "fp16" run the network in mixed precision (CUDA only).
        pretrained: backbone weights (wsis.method.backbones.weights); not read when initial weights are given.
    """

    total_steps: int
    batch_size: int = 4
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 5e-4
    backbone_rate: float = 0.3
    weight_decay: float = 0.05
    warmup_steps: int = 60
    schedule: Literal["cosine", "step"] = "cosine"
    clip_norm: float | None = 10.0
    ema_momentum: float | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    pretrained: PretrainedSpec = "imagenet"
    seed: int = 0

    device: str = "cpu"
    workers: int = 0
    channels_last: bool = True
    checkpoint_seconds: float = 60.0
    checkpoint_steps: int | None = None


_EXECUTION_ONLY = ("device", "workers", "channels_last", "checkpoint_seconds", "checkpoint_steps")


def train(
    model_config: Config,
    source: PseudoLabelSource,
    settings: TrainSettings,
    workdir: Path,
    init_weights: Path | None = None,
    progress: ProgressCallback | None = None,
    waited: Callable[[float], None] | None = None,
) -> Path:
    """Train from the last checkpoint in `workdir`, if there is one, to the end.

    In processes that torchrun started, each calls it alike and the batch is as many times larger.

    Args:
        model_config: of :func:`wsis.method.prediction.config.training_config`.
        init_weights: weights of the same network to fine-tune (the previous outer iteration's).
        progress: called after every step with (steps done, total, losses).
        waited: called at the end with the share of the wall time that this call's steps waited for data, the first
            left out; not called where there was at most one.

    Returns:
        `workdir/weights.pth`, a checkpoint for MMDetection; `workdir/curve.json` holds the losses.

    Raises:
        InputError: no such device, another class list, a checkpoint of other settings, bad pseudo labels.
            (A damaged checkpoint of this training is removed with a warning: it starts afresh.)
        MissingWeightsError: initial or backbone weights absent, damaged or of another network.
        NonFiniteError: a loss became NaN or infinite; names the images. The checkpoint before it is kept.
        WorkerDiedError, WorkerStuckError, WorkerStartError: no batch comes from `workers`.
    """
    final = workdir / WEIGHTS_NAME
    if final.exists():
        _remove_scratch(workdir)  # it was killed after its last file
        return final
    device = checked_device(settings.device)
    _check_precision(settings, device)
    workdir.mkdir(parents=True, exist_ok=True)
    with joined(device):
        _train(model_config, source, settings, workdir, init_weights, progress, waited)
    return final


def _train(
    model_config: Config,
    source: PseudoLabelSource,
    settings: TrainSettings,
    workdir: Path,
    init_weights: Path | None,
    progress: ProgressCallback | None,
    waited: Callable[[float], None] | None,
) -> None:
    identity = run_identity(model_config, source, settings, init_weights)
    resume_from = _resumable(workdir / CHECKPOINT_NAME, identity, source)
    model = _model(model_config, source, settings, init_weights, resume_from)
    runner = _build_runner(model, model_config, source, settings, workdir, identity, resume_from, progress)
    runner.train()
    if get_rank() > 0:
        return
    loop: Any = runner.train_loop
    if waited is not None and loop.data_wait_share is not None:
        waited(loop.data_wait_share)
    curve = next(hook for hook in runner.hooks if isinstance(hook, LossCurveHook)).curve
    _write_text(workdir / CURVE_NAME, json.dumps(curve, indent=1, allow_nan=False))
    write_checkpoint(workdir / WEIGHTS_NAME, weights_checkpoint(_final_state(runner), source.classes))
    _remove_scratch(workdir)


def _remove_scratch(workdir: Path) -> None:
    (workdir / CHECKPOINT_NAME).unlink(missing_ok=True)
    shutil.rmtree(workdir / _RUNNER_FOLDER, ignore_errors=True)


def _check_precision(settings: TrainSettings, device: torch.device) -> None:
    if settings.precision != "fp32" and device.type != "cuda":
        raise InputError(f"precision: '{settings.precision}' needs a CUDA device, got {device}; use 'fp32'")


def _model(
    model_config: Config,
    source: PseudoLabelSource,
    settings: TrainSettings,
    init_weights: Path | None,
    resume_from: Path | None,
) -> nn.Module:
    """The detector, with starting weights unless a checkpoint brings them."""
    if resume_from is not None:
        return build_model(model_config, settings.channels_last)
    return starting_model(
        model_config,
        source.classes,
        settings.pretrained,
        settings.seed,
        settings.channels_last,
        init_weights,
    )


def run_identity(
    model_config: Config, source: PseudoLabelSource, settings: TrainSettings, init_weights: Path | None
) -> str:
    """Digest of all that decides the result but the contents of the images."""
    decisive = {k: v for k, v in asdict(settings).items() if k not in _EXECUTION_ONLY}
    described = [
        model_config.pretty_text,
        decisive,
        list(source.classes),
        len(source),
        init_weights is not None,
    ]
    if get_world_size() > 1:
        described.append(get_world_size())  # it multiplies the batch
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def steps_done(workdir: Path) -> int:
    """Steps that a call of :func:`train` would find done in `workdir`."""
    checkpoint = _readable(workdir / CHECKPOINT_NAME)
    return 0 if checkpoint is None else int(checkpoint["meta"]["iter"])


def _readable(path: Path) -> dict[str, Any] | None:
    """The run's own checkpoint. It was written atomically, so a damaged one is the disk's doing: it is removed
    and the steps are lost, the run is not."""
    if not path.exists():
        return None
    try:
        return read_checkpoint(path)
    except MissingWeightsError as error:
        _log.warning("%s; training starts afresh", error)
        path.unlink()
        return None


def _resumable(path: Path, identity: str, source: PseudoLabelSource) -> Path | None:
    checkpoint = _readable(path)
    if checkpoint is None:
        return None
    check_classes(checkpoint, source.classes, path)
    if checkpoint.get("identity") != identity:
        raise InputError(
            f"{path} belongs to a training with another configuration; remove the folder to start afresh"
        )
    return path


def _build_runner(
    model: nn.Module,
    model_config: Config,
    source: PseudoLabelSource,
    settings: TrainSettings,
    workdir: Path,
    identity: str,
    resume_from: Path | None,
    progress: ProgressCallback | None,
) -> PredictionRunner:
    hooks: list[dict[str, Any]] = [
        {"type": "LossCurveHook"},
        {
            "type": "AtomicCheckpointHook",
            "path": str(workdir / CHECKPOINT_NAME),
            "identity": identity,
            "every_seconds": settings.checkpoint_seconds,
            "every_steps": settings.checkpoint_steps,
        },
    ]
    if settings.ema_momentum is not None:
        hooks.append(
            {"type": "EMAHook", "ema_type": "ExponentialMovingAverage", "momentum": settings.ema_momentum}
        )
    if progress is not None:
        hooks.append({"type": "ProgressHook", "callback": progress})
    return PredictionRunner(
        model,
        work_dir=str(workdir / _RUNNER_FOLDER),
        device=checked_device(settings.device),
        resume_from=resume_from,
        train_dataloader=data_loader(model_config, source, settings),
        train_cfg={"type": "StatelessTrainLoop", "max_iters": settings.total_steps, "seed": settings.seed},
        optim_wrapper=_optimizer(settings),
        param_scheduler=_schedule(settings),
        default_hooks={"logger": None, "checkpoint": None, "sampler_seed": None, "timer": None},
        custom_hooks=hooks,
        randomness={"seed": settings.seed},
        experiment_name=f"wsis-{uuid.uuid4().hex}",  # MMEngine's registries are by name and by the second
    )


def data_loader(model_config: Config, source: PseudoLabelSource, settings: TrainSettings) -> BatchLoader:
    """Batches of (seed, step); with workers > 0 they are prepared ahead by other processes."""
    quiet_mmengine()
    dataset = PseudoLabelDataset(source, [TRANSFORMS.build(t) for t in model_config.train_pipeline])
    sizes = np.array([source.image_size(i) for i in range(len(source))])
    sampler = StatelessBatchSampler(
        sizes[:, 1] >= sizes[:, 0],
        settings.batch_size,
        settings.total_steps,
        settings.seed,
        get_rank(),
        get_world_size(),
    )
    return BatchLoader(dataset, sampler, settings.workers)


def _optimizer(settings: TrainSettings) -> dict[str, Any]:
    common = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    optimizer = (
        {"type": "AdamW", **common}
        if settings.optimizer == "adamw"
        else {"type": "SGD", "momentum": 0.9, **common}
    )
    wrapper: dict[str, Any] = {
        "type": "OptimWrapper",
        "optimizer": optimizer,
        "paramwise_cfg": {
            "custom_keys": {"backbone": {"lr_mult": settings.backbone_rate}},
            "norm_decay_mult": 0.0,
        },
    }
    if settings.clip_norm is not None:
        wrapper["clip_grad"] = {"max_norm": settings.clip_norm}
    if settings.precision != "fp32":
        dtype = "bfloat16" if settings.precision == "bf16" else "float16"
        wrapper.update(type="AmpOptimWrapper", dtype=dtype)
    return wrapper


def _schedule(settings: TrainSettings) -> list[dict[str, Any]]:
    total, warmup = settings.total_steps, min(settings.warmup_steps, settings.total_steps // 2)
    steps: list[dict[str, Any]] = []
    if warmup:
        steps.append({"type": "LinearLR", "start_factor": 0.01, "by_epoch": False, "begin": 0, "end": warmup})
    if settings.schedule == "cosine":
        steps.append(
            {
                "type": "CosineAnnealingLR",
                "by_epoch": False,
                "begin": warmup,
                "end": total,
                "T_max": total - warmup,
                "eta_min": 0.0,
            }
        )
    else:
        milestones = sorted({max(1, total * 2 // 3), max(1, total * 8 // 9)})
        steps.append({"type": "MultiStepLR", "by_epoch": False, "milestones": milestones, "gamma": 0.1})
    return steps


def _final_state(runner: PredictionRunner) -> Mapping[str, Tensor]:
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            state: Mapping[str, Tensor] = hook.ema_model.module.state_dict()
            return state
    model = runner.model.module if hasattr(runner.model, "module") else runner.model
    return model.state_dict()


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)
