"""What MMDetection brings to the training of the prediction network (paper B.1): the model, its losses, its pipelines.

The loop is the engine's. Of several processes each takes its share of every batch and gradients are averaged; losses
are normalised over each process's own images, as MMDetection does.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage
from torch import distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parallel import DistributedDataParallel

from data_contracts.atomic import write_atomic
from stages.prediction.fit import Fit
from stages.prediction.settings import DETECTOR_NAME, PredictionConfig, config_file
from wsis.engine.batches import DATA_WAIT, Batches
from wsis.engine.group import rank
from wsis.engine.optimisation import chained_rates, descend
from wsis.engine.stage import StageContext
from wsis.engine.training import run_steps
from wsis.engine.worker_processes import Patience
from wsis.method.placement import placed
from wsis.method.prediction.checkpoints import encode_weights
from wsis.method.prediction.config import PredictionSpec, plain_config, training_config
from wsis.method.prediction.data.batches import BatchOrder, MakeBatches, derived_seed
from wsis.method.prediction.data.dataset import PseudoLabelDataset
from wsis.method.prediction.data.training_images import PseudoLabelSource
from wsis.method.prediction.memory import largest_batch, step_bytes
from wsis.method.prediction.models import starting_model

_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm)
_LOW_PRECISION = {"bfloat16": torch.bfloat16, "float16": torch.float16}
# a batch takes well under a second, the first one some more: workers import MMDetection
_PATIENCE = Patience("training data", 300.0, "--set prediction.data_workers=0")


def train(
    config: PredictionConfig,
    fit: Fit,
    source: PseudoLabelSource,
    total_steps: int,
    init_weights: Path | None,
    context: StageContext,
) -> None:
    """Train in this process, alone or as one of a group, and write the curve and the weights.

    Raises:
        As :func:`stages.prediction.training.train_network`.
    """
    spec = fit.spec(config, source.classes)
    model_config = training_config(plain_config(config_file(fit.model), spec), spec)
    seed = derived_seed(context.seed, context.outer_iteration or 0) % 2**31
    model: Any = starting_model(
        model_config, source.classes, config.pretrained, seed, init_weights=init_weights
    )
    model = placed(model, context.device).train()
    if context.device.type == "cuda" and rank() == 0:
        context.log(_memory_line(config, spec, model_config, source, context.device))
    orders = _orders(config, source, seed)
    make = MakeBatches(_dataset(model_config, source), orders)
    with Batches(make, total_steps, data_workers(config, context), _PATIENCE) as batches:
        steps = DetectorSteps(model, config, seed, total_steps, batches)
        run_steps(
            context, steps.state(), total_steps, steps.step, images=lambda i: _images(orders, source, i)
        )
        waited = batches.wait_share
    if rank() > 0:
        return
    if waited is not None:
        context.counts[DATA_WAIT] = round(waited, 4)
    write_atomic(context.workdir / DETECTOR_NAME, encode_weights(steps.result(), source.classes))


def _memory_line(
    config: PredictionConfig,
    spec: PredictionSpec,
    model_config: Config,
    source: PseudoLabelSource,
    device: torch.device,
) -> str:
    """What the largest step takes of a GPU's memory, and what helps where that is more than is free."""
    sizes = (source.image_size(index) for index in range(len(source)))
    height, width = largest_batch(sizes, spec.train_scales or (spec.image_scale,))
    images = config.batch_size // (config.processes * config.gradient_accumulation)
    moments = (2 if config.optimizer == "adamw" else 1) + (config.ema_momentum is not None)
    low = config.precision in _LOW_PRECISION
    needed = step_bytes(model_config, (height, width), images, moments, low)
    free, _ = torch.cuda.mem_get_info(device)
    line = (
        f"a step takes at most about {needed / 2**30:.1f} GiB of the GPU ({images} images of {height} x {width}), "
        f"{free / 2**30:.1f} GiB are free"
    )
    if needed <= free:
        return line
    fits = (n for n in range(2, images + 1) if images % n == 0 and needed / n <= free)
    if (more := next(fits, None)) is None:
        helps = "a smaller prediction.image_size helps, since one image by itself is too much, too"
    else:
        helps = f"--set prediction.gradient_accumulation={config.gradient_accumulation * more} helps"
    return f"warning: {line}: it may end without memory; {helps} (`wsis run` takes it with --replace)"


def data_workers(config: PredictionConfig, context: StageContext) -> int:
    """Processes that prepare this process's batches ahead: a GPU takes more than one can give."""
    if config.data_workers is not None:
        return config.data_workers
    return 1 if context.device.type == "cpu" else max(1, context.execution.workers // config.processes)


class DetectorSteps:
    """Steps that are functions of (seed, step) and of the weights alone."""

    def __init__(
        self, model: Any, config: PredictionConfig, seed: int, total_steps: int, batches: Batches
    ) -> None:
        self.model, self.config, self.seed, self.batches = model, config, seed, batches
        # The shipped configs freeze normalisation statistics; a part may be without use on one process's images.
        self.shared = (
            DistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=True)
            if distributed.is_initialized()
            else model
        )
        groups = parameter_groups(model, config)
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=True)
            if config.optimizer == "adamw"
            else torch.optim.SGD(groups, momentum=0.9, weight_decay=config.weight_decay, fused=True)
        )
        warmup = min(config.warmup_steps, total_steps // 2)
        cosine = config.schedule == "cosine"
        self.rates = [chained_rates(group["lr"], total_steps, warmup, cosine) for group in groups]
        self.device = next(model.parameters()).device.type
        self.scaler = torch.amp.GradScaler(self.device, enabled=config.precision == "float16")
        momentum = config.ema_momentum
        self.average = None if momentum is None else ExponentialMovingAverage(model, momentum)

    def state(self) -> dict[str, Any]:
        """All that a step changes."""
        average = {} if self.average is None else {"average": self.average}
        return {"model": self.model, "optimizer": self.optimizer, "scaler": self.scaler, **average}

    def step(self, index: int) -> dict[str, float]:
        """One optimisation step; returns what the heads log."""
        logged: list[dict[str, float]] = []
        self.descend(self._losses(index, self.batches.at(index), logged), index)
        return {name: float(np.mean([part[name] for part in logged])) for name in logged[0]}

    def _losses(
        self, index: int, parts: Sequence[dict[str, Any]], logged: list[dict[str, float]]
    ) -> Iterator[torch.Tensor]:
        """The share of each part of a batch in the loss, to be differentiated before the next is asked for."""
        low = _LOW_PRECISION.get(self.config.precision)
        for place, batch in enumerate(parts):
            # each part samples regions of its own images
            number = rank() * len(parts) + place
            torch.manual_seed(derived_seed(self.seed, index, *([number] if number else [])))
            shares_later = isinstance(self.shared, DistributedDataParallel) and place < len(parts) - 1
            with self.shared.no_sync() if shares_later else nullcontext():
                with nullcontext() if low is None else torch.autocast(self.device, low):
                    losses = self.shared(**self.model.data_preprocessor(batch, True), mode="loss")
                loss, values = self.model.parse_losses(losses)
                names = sorted(values)
                # in one copy, and before the backward pass, which the host does not wait for
                numbers = torch.stack([values[name].detach().double() for name in names]).tolist()
                logged.append(dict(zip(names, numbers, strict=True)))
                yield loss / len(parts)

    def descend(self, loss: torch.Tensor | Iterator[torch.Tensor], index: int) -> None:
        """Move the weights along the gradient of the loss of step `index`, and their average with them."""
        for group, rates in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rates[index]
        descend(loss, self.optimizer, self.model.parameters(), self.config.clip_gradient, self.scaler)
        if self.average is not None:
            self.average.update_parameters(self.model)

    def result(self) -> Mapping[str, torch.Tensor]:
        """The weights to keep."""
        kept: nn.Module = self.model if self.average is None else self.average.module
        return kept.state_dict()


def parameter_groups(model: nn.Module, config: PredictionConfig) -> list[dict[str, Any]]:
    """Trained parameters by learning rate and decay: a factor on the backbone's rate, elsewhere no decay of norms."""
    norms = {id(p) for m in model.modules() if isinstance(m, _NORMS) for p in m.parameters(recurse=False)}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        backbone = "backbone" in name
        rate = config.learning_rate * config.backbone_factor if backbone else config.learning_rate
        decay = 0.0 if id(parameter) in norms and not backbone else config.weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": p, "lr": rate, "weight_decay": decay} for (rate, decay), p in groups.items()]


def _orders(config: PredictionConfig, source: PseudoLabelSource, seed: int) -> list[BatchOrder]:
    """Of the parts that this process computes."""
    sizes = np.array([source.image_size(i) for i in range(len(source))])
    parts = config.gradient_accumulation
    together, first = config.processes * parts, rank() * parts
    own, landscape = config.batch_size // together, sizes[:, 1] >= sizes[:, 0]
    return [BatchOrder(landscape, own, seed, first + place, together) for place in range(parts)]


def _images(orders: Sequence[BatchOrder], source: PseudoLabelSource, step: int) -> list[str]:
    return [source.image_id(key.image) for order in orders for key in order.batch(step)]


def _dataset(model_config: Config, source: PseudoLabelSource) -> PseudoLabelDataset:
    return PseudoLabelDataset(source, [TRANSFORMS.build(t) for t in model_config.train_pipeline])
