"""Learning rate as a function of the step alone, and the descent along a loss."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, distributed, nn
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


def descend(
    losses: Tensor | Iterable[Tensor],
    optimizer: Optimizer,
    parameters: Iterable[nn.Parameter] = (),
    clip_norm: float | None = None,
    scaler: torch.amp.GradScaler | None = None,
    average: bool = False,
) -> None:
    """Move the weights one step along the gradient of the loss, or of the sum of several.

    Args:
        losses: several are taken one after the other, so that the graph of one is gone when the next is computed.
        clip_norm: largest norm of the gradient of all `parameters` together; None: any.
        scaler: of mixed precision. float16 alone needs one: its range is too small for gradients.
        average: take the mean of the gradients of all processes of the group, where there is one.
    """
    scaler = scaler or torch.amp.GradScaler(enabled=False)  # passes everything through
    optimizer.zero_grad(set_to_none=True)
    for loss in [losses] if isinstance(losses, Tensor) else losses:
        scaler.scale(loss).backward()
    if average and distributed.is_initialized():
        average_gradients(optimizer)
    if clip_norm is not None:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(parameters, clip_norm)
    scaler.step(optimizer)
    scaler.update()


def average_gradients(optimizer: Optimizer) -> None:
    """Make each gradient the mean over the processes of the group. One that no process has stays absent, so that
    weight decay leaves its parameter alone as it does in one process."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    known = own[0].new_tensor([p.grad is not None for p in parameters])
    total = torch.cat([known, *(g.flatten() for g in own)])
    distributed.all_reduce(total)
    total /= distributed.get_world_size()
    known, rest = total[: len(own)], total[len(own) :]
    means = rest.split([g.numel() for g in own])
    for parameter, gradient, had, mean in zip(parameters, own, known.tolist(), means, strict=True):
        # into memory of the parameter's own order: an optimiser's fused step takes for granted that it is the same
        parameter.grad = gradient.copy_(mean.view_as(gradient)) if had else None


def chained_rates(rate: float, total_steps: int, warmup_steps: int, cosine: bool) -> list[float]:
    """Learning rates of all steps, each from the one before as MMEngine's LinearLR (from 0.01), CosineAnnealingLR and
    MultiStepLR chain them: a closed form rounds otherwise, and other weights come of it.

    Args:
        rate: the peak.
        cosine: half a cosine to zero after the warm-up; else x 0.1 at 2/3 and at 8/9 of the steps.
    """
    milestones = {max(1, total_steps * 2 // 3), max(1, total_steps * 8 // 9)}
    length, rise, result = total_steps - warmup_steps, 1 - 0.01, []
    for step in range(total_steps):
        place = step - warmup_steps
        if step == 0 and warmup_steps:
            rate *= 0.01
        elif place < 0:
            rate *= 1 + rise / ((warmup_steps - 1) * 0.01 + (step - 1) * rise)
        elif cosine and place > 0:
            rate *= (1 + math.cos(math.pi * place / length)) / (1 + math.cos(math.pi * (place - 1) / length))
        if not cosine and step in milestones:
            rate *= 0.1
        result.append(rate)
    return result
