"""Images held back from training: they choose the step whose weights are kept, and may end the stage early.

No pixel label takes part: the value on them is the training objective itself.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from stages.settings import StageConfig
from wsis.errors import NonFiniteError

_FEW = 4  # fewer images say nothing
_LARGEST_SHARE = 0.25  # of a small data set, unless more is asked for
_COST = 0.05  # validation may take this share of the stage's time


class HeldBackSettings(StageConfig):
    """How many images are held back, and how often they are looked at."""

    held_back: float = Field(
        0.1, ge=0, le=0.5, description="share of the training images held back; 0: the last weights are kept"
    )
    max_held_back: int = Field(32, ge=1, le=100_000, description="images held back at most")
    validate_every: float = Field(
        0.2, gt=0, description="share of an epoch between validations; longer where they would cost over 5 %"
    )
    patience: int = Field(
        10, ge=1, le=100_000, description="validations without improvement that end training"
    )


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
    count = 0
    if settings.held_back > 0:
        count = min(max(round(settings.held_back * len(ids)), _FEW), settings.max_held_back)
        if count > max(settings.held_back, _LARGEST_SHARE) * len(ids):
            count = 0
    order = np.random.default_rng(list(key)).permutation(len(ids))
    chosen = set(np.roll(order, -turn * count)[:count].tolist())
    return (
        [one for place, one in enumerate(ids) if place not in chosen],
        [one for place, one in enumerate(ids) if place in chosen],
    )


def steps_between(settings: HeldBackSettings, total: int, epoch: float, cost: float) -> int:
    """Steps from one validation to the next, at least 1.

    Args:
        total: steps of the stage.
        epoch: steps of an epoch.
        cost: time of one validation in steps; all of them together stay within 5 % of `total` (one is always made).
    """
    wanted = math.ceil(total / max(1.0, settings.validate_every * epoch))
    return math.ceil(total / max(1, min(wanted, int(_COST * total / cost))))


class BestWeights:
    """The weights of the best validation so far, and when to give up. Its state belongs to the checkpoint.

    Args:
        model: what is trained.
        validate: the value to minimise, a function of the model's weights alone.
        every: steps between validations; the last step is always validated.
        patience: validations without improvement after which training ends.
    """

    def __init__(self, model: nn.Module, validate: Callable[[], float], every: int, patience: int) -> None:
        self.model, self.validate, self.every, self.patience = model, validate, every, patience
        self.value, self.step, self.waited = math.inf, 0, 0
        self.weights: dict[str, Tensor] = {}

    def due(self, step: int, total: int) -> bool:
        """Whether to validate after `step` of `total` steps."""
        return step % self.every == 0 or step == total

    def update(self, step: int) -> float:
        """Validate after `step` steps, keep the weights if they are the best, return the value.

        Raises:
            NonFiniteError: the value is NaN or infinite.
        """
        value = self.validate()
        if not math.isfinite(value):
            raise NonFiniteError(f"the value on the held-back images became {value} after step {step}")
        if value < self.value:
            self.value, self.step, self.waited = value, step, 0
            self.weights = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        else:
            self.waited += 1
        return value

    @property
    def exhausted(self) -> bool:
        """Whether the patience is at its end."""
        return self.waited >= self.patience

    def restore(self) -> None:
        """Give the model its best weights."""
        self.model.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "step": self.step, "waited": self.waited, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.value, self.step = state_dict["value"], state_dict["step"]
        self.waited, self.weights = state_dict["waited"], state_dict["weights"]
