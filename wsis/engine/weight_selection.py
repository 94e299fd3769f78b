"""Images held back from training: they choose the step whose weights are kept, and may end the stage early.

No pixel label takes part: the value on them is the training objective itself.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from wsis.engine.settings import StageConfig
from wsis.errors import NonFiniteError

_FEW = 4  # least number of images held back: fewer say nothing
_LARGEST_SHARE = 0.25  # of a small data set, unless more is asked for
_MOST = 32  # images held back
_EVERY = 0.2  # share of an epoch between validations; longer where they would cost more than `_COST`
PATIENCE = 10  # validations without improvement that end training
_COST = 0.05  # validation may take this share of the stage's time


class HeldBackSettings(StageConfig):
    """How many images are held back."""

    held_back: float = Field(
        0.1, ge=0, le=0.5, description="share of the training images held back; 0: the last weights are kept"
    )


def held_back_images(settings: HeldBackSettings, images: int) -> int:
    """How many of so many images are held back."""
    if settings.held_back == 0:
        return 0
    count = min(max(round(settings.held_back * images), _FEW), _MOST)
    return count if count <= max(settings.held_back, _LARGEST_SHARE) * images else 0


def split(
    ids: Sequence[str], settings: HeldBackSettings, key: Sequence[int], turn: int
) -> tuple[list[str], list[str]]:
    """Ids to learn from and ids held back, each in the given order.

    One seeded order of all ids is dealt out turn by turn, so the outer iterations hold back different images until
    all have had their turn: over the iterations no image is never learned from.

    Args:
        key: seed of the order; the same for all turns.
        turn: 0, 1, ...: the outer iteration.

    Returns:
        Nothing is held back where four images are more than a quarter of all (or than the share asked for).
    """
    count = held_back_images(settings, len(ids))
    order = np.random.default_rng(list(key)).permutation(len(ids))
    chosen = set(np.roll(order, -turn * count)[:count].tolist())
    return (
        [one for place, one in enumerate(ids) if place not in chosen],
        [one for place, one in enumerate(ids) if place in chosen],
    )


def steps_between(total: int, epoch: float, cost: float) -> int:
    """Steps from one validation to the next, at least 1.

    Args:
        total: steps of the stage.
        epoch: steps of an epoch.
        cost: time of one validation in steps; all of them together stay within 5 % of `total` (one is always made).
    """
    wanted = math.ceil(total / max(1.0, _EVERY * epoch))
    return math.ceil(total / max(1, min(wanted, int(_COST * total / cost))))


class BestWeights:
    """The weights to end with, chosen by validation, and when to give up. Its state belongs to the checkpoint.

    The latest weights are kept unless they are worse than the best by more than a standard error of the difference,
    image by image (the one-standard-error rule of Breiman et al., Classification and Regression Trees, 1984): a few
    images cannot tell two steps of one training apart that are near each other, and the later one has learned more.

    Args:
        model: what is trained.
        validate: the values to minimise, one an image, a function of the model's weights alone.
        every: steps between validations; the last step is always validated.
        patience: validations without a better mean after which training ends.

    Attributes:
        value, step: mean and step of the kept weights.
        least: values of the validation with the smallest mean.
    """

    def __init__(
        self, model: nn.Module, validate: Callable[[], Sequence[float]], every: int, patience: int = PATIENCE
    ) -> None:
        self.model, self.validate, self.every, self.patience = model, validate, every, patience
        self.value, self.step, self.waited = math.inf, 0, 0
        self.least: list[float] = []
        self.weights: dict[str, Tensor] = {}

    def due(self, step: int, total: int) -> bool:
        """Whether to validate after `step` of `total` steps."""
        return step % self.every == 0 or step == total

    def update(self, step: int) -> float:
        """Validate after `step` steps, keep the weights if no earlier ones are clearly better, return the mean.

        Raises:
            NonFiniteError: a value is NaN or infinite.
        """
        values = [float(value) for value in self.validate()]
        mean = float(np.mean(values))
        if not math.isfinite(mean):
            raise NonFiniteError(f"the value on the held-back images became {mean} after step {step}")
        if not self.least or mean < float(np.mean(self.least)):
            self.least, self.waited = values, 0
        else:
            self.waited += 1
        if not _clearly_worse(values, self.least):
            self.value, self.step = mean, step
            self.weights = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        return mean

    @property
    def exhausted(self) -> bool:
        """Whether the patience is at its end."""
        return self.waited >= self.patience

    def restore(self) -> None:
        """Give the model the kept weights."""
        self.model.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        names = ("value", "step", "waited", "least", "weights")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name in self.state_dict():
            setattr(self, name, state_dict[name])


def _clearly_worse(values: Sequence[float], least: Sequence[float]) -> bool:
    """Whether the mean of paired values is larger by more than the standard error of their difference."""
    difference = np.subtract(values, least)
    if len(difference) < 2:
        return bool(difference.mean() > 0)
    return bool(difference.mean() > difference.std(ddof=1) / math.sqrt(len(difference)))
