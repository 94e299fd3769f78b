"""Algorithm 2 step by step (eq. 22-26), and the held-back images that say which step's weights are kept."""

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from stages.conditional.batches import MakeProblems, Order
from stages.conditional.examples import Examples, ExampleSettings
from wsis.engine.batches import Batches
from wsis.engine.group import own_part, shared_out
from wsis.engine.optimisation import descend, warmup_cosine
from wsis.engine.shared_work import SharedTraining
from wsis.engine.stage import Artefact, StageContext, execution_only
from wsis.engine.training import Stateful
from wsis.engine.weight_selection import BestWeights, HeldBackSettings, split, steps_between
from wsis.errors import NonFiniteError, WsisError
from wsis.method.conditional.network import ConditionalNetwork
from wsis.method.conditional.noise import Noise
from wsis.method.dissimilarity.network_inputs import image_batch, image_key, image_noise
from wsis.method.dissimilarity.objective import (
    ImageProblem,
    LearningConfig,
    dissimilarity_loss,
    estimate_dissimilarity,
)
from wsis.method.transfers import moved
from wsis.views.stored_configs import current_section

# Independent random streams of one seed; stages.conditional.batches has 1, pseudo_labels 4.
_FLIP_STREAM, _NOISE_STREAM, _HELD_BACK_STREAM, _SPLIT_STREAM = 2, 3, 5, 6
_WEIGHT_DECAY = 1e-5
_VALIDATION_COST = 1 / 3  # time to validate as many images as a batch has, in steps
_REACH_STEPS, _SMALL_REACH = 20, 0.02


class Config(SharedTraining, HeldBackSettings, LearningConfig, ExampleSettings):
    """How the conditional network is made and trained: Algorithm 2 and its schedule."""

    pretrain_epochs: float = Field(3.0, gt=0, description="of outer iteration 1")
    epochs: float = Field(1.0, gt=0, description="of every later outer iteration")
    min_pretrain_steps: int = Field(
        0, ge=0, description="steps at least, where the epochs of a small data set are fewer"
    )
    min_steps: int = Field(0, ge=0, description="the same of every later outer iteration")
    batch_size: int = Field(4, ge=1, le=256, description="images a step")
    learning_rate: float = Field(1e-3, gt=0, description="of the new layers")
    warmup_steps: int = Field(20, ge=0, description="steps in which the learning rates rise")
    clip_gradient: float = Field(1.0, gt=0, description="largest norm of the gradient")
    checkpointing: bool = execution_only(
        False, description="recompute activations in the backward pass: less memory, more time, same results"
    )

    @model_validator(mode="after")
    def _images_do_not_depend_on_one_another(self) -> Self:
        if self.processes > 1 and self.batch_norm == "train":
            raise ValueError(
                f"processes: expected 1 with batch_norm: train, whose statistics are of a batch, got {self.processes}"
            )
        return self

    def total_steps(self, images: int, pretraining: bool) -> int:
        """Steps of an outer iteration on so many images, those held back not counted."""
        epochs, least = (
            (self.pretrain_epochs, self.min_pretrain_steps) if pretraining else (self.epochs, self.min_steps)
        )
        return max(1, least, math.ceil(epochs * images / self.batch_size))


def trained_config(artefact: Artefact) -> Config:
    """The configuration that a stored conditional network was trained with, by an earlier version too.

    Raises:
        ConfigError: it uses an option that this version does not have.
    """
    where = f"conditional/{artefact.fingerprint}"
    return Config.model_validate(current_section("conditional", artefact.manifest.config, where))


class Trainer:
    """Steps that are functions of (seed, outer iteration, step) and of the weights alone.

    Attributes:
        steps: how many the stage takes.
        train_ids: images that the steps learn from.
        held_back_ids: images that only choose the weights to keep; others in every outer iteration.
        make: step -> its problems.
        batches: where they come from; None: each step makes its own.
    """

    def __init__(
        self,
        network: ConditionalNetwork,
        examples: Examples,
        settings: Config,
        context: StageContext,
    ) -> None:
        self.network, self.examples, self.settings, self.context = network, examples, settings, context
        self.optimizer = torch.optim.Adam(
            network.parameter_groups(settings.learning_rate), weight_decay=_WEIGHT_DECAY, fused=True
        )
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        # float16 alone has too small a range for gradients; for the others this passes everything through
        self.scaler = torch.amp.GradScaler(context.device.type, enabled=network.precision == "float16")
        turn = max(0, (context.outer_iteration or 1) - 1)
        self.train_ids, self.held_back_ids = split(
            examples.ids, settings, (context.seed, _SPLIT_STREAM), turn
        )
        order = Order(
            tuple(self.train_ids), settings.batch_size, (context.seed, context.outer_iteration or 0)
        )
        self.make = MakeProblems(examples, order, own_part(range(settings.batch_size)))
        self.batches: Batches | None = None
        self.epoch = len(self.train_ids) / settings.batch_size
        self.steps = settings.total_steps(len(self.train_ids), pretraining=examples.detections is None)
        self.reaches: deque[float] = deque(maxlen=_REACH_STEPS)
        self.warned = False
        self.held_back = cache(self._held_back)

    def state(self) -> dict[str, Stateful]:
        """All that a step changes."""
        return {"model": self.network, "optimizer": self.optimizer, "scaler": self.scaler}

    def key(self, stream: int, *rest: int) -> list[int]:
        return [self.context.seed, self.context.outer_iteration or 0, stream, *rest]

    def noise(self, problem: ImageProblem, *key: int) -> Noise:
        return image_noise(problem, self.settings, self.key(*key))

    def step(self, index: int) -> dict[str, float]:
        """One optimisation step; returns what `dissimilarity_loss` logs. Of a group each process has its part of the
        batch, padded and with random numbers as in the whole one."""
        with self.naming(f"step {index}"):
            whole, places = self.settings.batch_size, self.make.places
            chance = np.random.default_rng(self.key(_FLIP_STREAM, index)).random(whole)
            made = self.make(index) if self.batches is None else self.batches.at(index)
            images, problems = zip(*made, strict=True)
            flipped = [bool(chance[place] < 0.5) for place in places]
            noises = [
                self.noise(p, _NOISE_STREAM, index, place) for place, p in zip(places, problems, strict=True)
            ]
            size = self.examples.largest(self.make.order(index)) if len(places) < whole else None
            batch = moved((image_batch(images, flipped, size), problems, noises), self.context.device)
            self.network.train()
            loss, logs = dissimilarity_loss(self.network, *batch, flipped, self.settings)
            self.descend(loss, index)
        self.watch(logs["reach"])
        return {"loss": logs["surrogate"], **logs}

    def descend(self, loss: Tensor, index: int) -> None:
        """Move the weights along the clipped gradient of the loss of step `index`."""
        factor = warmup_cosine(index, self.steps, min(self.settings.warmup_steps, self.steps - 1))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        clip, scaler = self.settings.clip_gradient, self.scaler
        descend(loss, self.optimizer, self.network.parameters(), clip, scaler, average=True)

    def watch(self, reach: float) -> None:
        """Say once when the surrogate has lost its gradient; `reach` is the share of samples still in play."""
        self.reaches.append(reach)
        if len(self.reaches) == _REACH_STEPS and np.mean(self.reaches) < _SMALL_REACH and not self.warned:
            self.warned = True
            self.context.log(
                f"warning: in the last {_REACH_STEPS} steps loss-augmented inference changed only "
                f"{100 * np.mean(self.reaches):.1f} % of the samples: the surrogate has hardly any gradient. If "
                "div_pc is still high, training is stuck: lower learning_rate or clip_gradient, or raise epsilon"
            )

    def validate(self) -> list[float]:
        """DIV(p,c) - gamma DIV(c,c) (eq. 22) of samples of each held-back image, with the same noise every time."""
        self.network.eval()
        with self.naming("held-back images"):
            return shared_out(self.held_back_ids, self.dissimilarity_of)

    def dissimilarity_of(self, image_id: str) -> float:
        """That of one held-back image."""
        image, problem, noise = self.held_back(image_id)
        found = estimate_dissimilarity(self.network, image, [problem], [noise], self.settings)
        return found["dissimilarity"]

    def _held_back(self, image_id: str) -> tuple[Tensor, ImageProblem, Noise]:
        """Input, problem and noise of a held-back image."""
        image, problem = self.examples.build(image_id)
        noise = self.noise(problem, _HELD_BACK_STREAM, image_key(image_id))
        return moved((image_batch([image], [False]), problem, noise), self.context.device)

    @contextmanager
    def naming(self, where: str) -> Iterator[None]:
        """Put the stage and `where` before the errors of the method."""
        try:
            yield
        except WsisError as error:
            small = isinstance(error, NonFiniteError) and self.network.precision == "float16"
            helps = (
                "; float16 has no room for large numbers: --set conditional.precision=bfloat16"
                if small
                else ""
            )
            raise type(error)(f"{self.context.title}: {where}: {error}{helps}") from error

    def best_weights(self) -> BestWeights | None:
        """What chooses the weights to keep; None where no image is held back."""
        count = len(self.held_back_ids)
        if count == 0:
            self.context.log("no image is held back, so that the last weights are kept")
            return None
        cost = _VALIDATION_COST * count / self.settings.batch_size
        every = steps_between(self.steps, self.epoch, cost)
        return BestWeights(self.network, self.validate, every)
