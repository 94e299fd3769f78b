"""Learning rate as a function of the step alone."""

import math
from typing import Any

from torch.optim import Optimizer

from wsis.errors import InputError


def warmup_cosine(step: int, total_steps: int, warmup_steps: int) -> float:
    """Factor in (0, 1]: linear rise over ``warmup_steps``, then half a cosine to 0 at ``total_steps``."""
    if not 0 <= step < total_steps:
        raise InputError(f"step: expected 0..{total_steps - 1}, got {step}")
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rates(optimizer: Optimizer, factor: float) -> None:
    """Set each group's rate to ``factor`` times its ``initial_lr``."""
    group: dict[str, Any]
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
