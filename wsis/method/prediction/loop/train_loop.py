"""The training loop, hooks and runner registered with MMEngine: stateless steps, exact resume."""

import math
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size, master_only
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import HOOKS, LOOPS, RUNNERS, init_default_scope
from mmengine.runner import BaseLoop, Runner

from wsis.errors import NonFiniteError
from wsis.method.prediction.data.batches import derived_seed
from wsis.method.prediction.data.loader import BatchLoader
from wsis.method.prediction.loop.checkpoints import allow_mmengine_checkpoints
from wsis.method.prediction.loop.processes import mean_over_processes

ProgressCallback = Callable[[int, int, Mapping[str, float]], None]
"""Called after every step with (steps done, total steps, losses of the step)."""

LOG_LEVEL = "ERROR"  # MMEngine warns of its own deprecations and of every frozen parameter


def quiet_mmengine() -> None:
    """MMDetection's registries as the current scope, and a logger that only reports errors."""
    if not MMLogger.check_instance_created("wsis"):
        MMLogger.get_instance("wsis", log_level=LOG_LEVEL)
    init_default_scope("mmdet")


@LOOPS.register_module()
class StatelessTrainLoop(BaseLoop):
    """Steps whose batch, augmentation and random numbers are functions of (seed, step).

    A run that was killed and resumed from any checkpoint is equal to one that was not, bit by bit on CPU.

    Args:
        max_iters: number of steps.

    Attributes:
        data_seconds, step_seconds: what this process waited for batches, and all that its steps took with that
            wait. The first step is in neither: it waits for the workers to start.
    """

    def __init__(self, runner: Runner, dataloader: BatchLoader, max_iters: int, seed: int) -> None:
        super().__init__(runner, dataloader)
        self._max_iters, self._seed = max_iters, seed
        self._iter = self._epoch = 0
        self.stop_training = False
        self.data_seconds = self.step_seconds = 0.0

    @property
    def data_wait_share(self) -> float | None:
        """Share of the steps' wall time that was spent waiting for data; None before the second step."""
        return self.data_seconds / self.step_seconds if self.step_seconds else None

    @property
    def iter(self) -> int:
        return self._iter

    @property
    def epoch(self) -> int:
        return self._epoch

    @property
    def max_iters(self) -> int:
        return self._max_iters

    @property
    def max_epochs(self) -> int:
        return 1

    def run(self) -> torch.nn.Module:
        """Train from the runner's current step to the last."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        self.dataloader.batch_sampler.start = self._iter
        self.runner.model.train()
        first, waiting_since = True, time.monotonic()
        with closing(iter(self.dataloader)) as batches:
            for data_batch in batches:
                got = time.monotonic()
                self.run_step(data_batch)
                ended = time.monotonic()
                if not first:
                    self.data_seconds += got - waiting_since
                    self.step_seconds += ended - waiting_since
                first, waiting_since = False, ended
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_step(self, data_batch: dict[str, Any]) -> None:
        """One optimisation step.

        Raises:
            NonFiniteError: a loss is NaN or infinite, naming the images of the batch.
        """
        self.runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=data_batch)
        rank = get_rank()  # each process samples regions of its own images
        torch.manual_seed(derived_seed(self._seed, self._iter, *([rank] if rank else [])))
        where = f"at step {self._iter}, images {', '.join(s.img_id for s in data_batch['data_samples'])}"
        try:
            outputs = self.runner.model.train_step(data_batch, optim_wrapper=self.runner.optim_wrapper)
        except NonFiniteError as error:
            raise NonFiniteError(f"{error}, {where}") from error
        losses = {name: torch.as_tensor(value).item() for name, value in outputs.items()}
        for name, value in losses.items():
            if not math.isfinite(value):
                raise NonFiniteError(f"'{name}' became {value} {where}")
        losses = mean_over_processes(losses, self.runner.device)
        self.runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=data_batch, outputs=losses)
        self._iter += 1


@HOOKS.register_module()
class ProgressHook(Hook):
    """Calls `callback(steps done, total, losses)` after every step."""

    def __init__(self, callback: ProgressCallback) -> None:
        self.callback = callback

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self.callback(batch_idx + 1, runner.max_iters, outputs)


@HOOKS.register_module()
class LossCurveHook(Hook):
    """Keeps the mean of every loss over windows of steps; the curve goes into the checkpoints."""

    priority = "ABOVE_NORMAL"

    def __init__(self, window: int = 10) -> None:
        self.window = window
        self.curve: list[dict[str, float]] = []
        self._open: list[dict[str, float]] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._open.append(dict(outputs))
        if (batch_idx + 1) % self.window == 0 or batch_idx + 1 == runner.max_iters:
            names = sorted({name for step in self._open for name in step})
            means = {n: float(np.mean([step[n] for step in self._open if n in step])) for n in names}
            self.curve.append({"step": batch_idx + 1, **means})
            self._open = []

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        checkpoint["loss_curve"] = {"curve": self.curve, "open": self._open}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        kept = checkpoint.get("loss_curve", {"curve": [], "open": []})
        self.curve, self._open = list(kept["curve"]), list(kept["open"])


@HOOKS.register_module()
class AtomicCheckpointHook(Hook):
    """Writes a resumable checkpoint to `path` every so many seconds or steps; it is there whole or not at all.

    Args:
        identity: what the run is; compared when resuming.
        every_steps: in place of `every_seconds`.
    """

    priority = "VERY_LOW"  # after the schedule and everything else has advanced

    def __init__(
        self, path: str, identity: str, every_seconds: float = 60.0, every_steps: int | None = None
    ) -> None:
        self.path, self.identity = Path(path), identity
        self.every_seconds, self.every_steps = every_seconds, every_steps
        self._last = time.monotonic()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        done = batch_idx + 1
        due = (
            done % self.every_steps == 0
            if self.every_steps is not None
            else time.monotonic() - self._last >= self.every_seconds
        )
        if due and done < runner.max_iters:
            runner.save_checkpoint(str(self.path.parent), self.path.name, by_epoch=False)
            self._last = time.monotonic()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        checkpoint["identity"] = self.identity


@RUNNERS.register_module()
class PredictionRunner(Runner):
    """MMEngine's Runner on a given device, with weights already in the model and atomic checkpoints.

    Args:
        device: where to train.
        resume_from: checkpoint to go on from.
    """

    def __init__(
        self, *args: Any, device: torch.device, resume_from: Path | None = None, **kwargs: Any
    ) -> None:
        self._device, self._resume_path = device, resume_from
        # The library must not change these for the whole process.
        keep = dict(
            mp_start_method=multiprocessing.get_start_method(), opencv_num_threads=cv2.getNumThreads()
        )
        super().__init__(
            *args,
            env_cfg=dict(mp_cfg=keep),
            log_level=LOG_LEVEL,
            default_scope="mmdet",
            **kwargs,
        )

    def build_logger(self, log_level: int | str = LOG_LEVEL, *args: Any, **kwargs: Any) -> MMLogger:
        """A logger without a file: a later `logging` set-up (Prefect's, a worker's) would close the file under
        it, and the next model built in this process would then fail to write its initialisation to it."""
        logger: MMLogger = MMLogger.get_instance(self.experiment_name, log_level=log_level)
        return logger

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: torch.nn.Module) -> torch.nn.Module:
        """The model on the device; with several processes their gradients are averaged."""
        model = model.to(self._device)
        if get_world_size() == 1:
            return model
        # The shipped configs freeze normalisation statistics; a part may be without use on one process's images.
        return MMDistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=True)

    def load_or_resume(self) -> None:
        """Resume if there is a checkpoint; otherwise keep the weights the model came with."""
        if self._resume_path is not None:
            allow_mmengine_checkpoints()
            self._resume = True  # EMAHook asks for it
            self.resume(str(self._resume_path), map_location=self._device)

    @property
    def device(self) -> torch.device:
        """Where to train."""
        return self._device

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """As MMEngine's, through a temporary file in the same folder."""
        partial = f".{filename}.partial"
        super().save_checkpoint(out_dir, partial, *args, **kwargs)
        written = Path(out_dir, partial)
        _fsync(written)
        written.replace(Path(out_dir, filename))

    def _init_model_weights(self) -> None:
        """Nothing: weights are initialised, loaded and checked before the runner is built."""

    def _log_env(self, env_cfg: dict[str, Any]) -> None:
        """Nothing: the artefact's manifest records the environment, and asking compilers takes seconds."""


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
