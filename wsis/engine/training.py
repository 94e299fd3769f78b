"""One training loop for our own networks: stateless steps, atomic checkpoints, exact resume."""

import hashlib
import io
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from data_contracts.atomic import write_atomic
from data_contracts.errors import CorruptArtefactError
from wsis.engine.stage import StageContext
from wsis.engine.weight_selection import BestWeights
from wsis.errors import NonFiniteError

CHECKPOINT_NAME = "checkpoint.pt"
CURVE_NAME = "curve.json"
WEIGHTS_NAME = "weights.pt"
_DIGEST_BYTES = 32


class Stateful(Protocol):
    """A module, optimizer or schedule."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


def run_steps(
    context: StageContext,
    state: Mapping[str, Stateful],
    total_steps: int,
    step: Callable[[int], Mapping[str, float]],
    log_every: int = 10,
    best: BestWeights | None = None,
) -> list[dict[str, float]]:
    """Call `step(i)` for i = 0 .. total_steps-1, from the last checkpoint on.

    Before each step torch's and numpy's global generators are seeded by (seed, outer iteration, i), and a
    step must take everything else random from i as well: a run that was killed and resumed is then equal to
    one that was not, bit by bit on CPU.

    Args:
        state: everything a step changes; goes into the checkpoint.
        step: does one optimisation step and returns the values to log; "loss" must be among them.
        best: validates now and then; the model ends with the weights it chooses, and training before `total_steps` when
            its patience ends. Their step goes into the counts.

    Returns:
        The curve: means of the logged values over every `log_every` steps and up to each validation, with its value
        as "held_back"; also written to curve.json.

    Raises:
        NonFiniteError: a logged value is NaN or infinite; the checkpoint before it is kept.
    """
    path = context.workdir / CHECKPOINT_NAME
    if best is not None:
        state = {**state, "best": best}
    first, curve = _resume(path, state, context)
    window: list[Mapping[str, float]] = []
    last_save = time.monotonic()
    with (
        context.progress.bar(total_steps, context.title, "step", initial=first) as bar,
        context.scalars(first) as write,
    ):
        for i in range(first, total_steps):
            values = _finite_values(context, step, i)
            window.append(values)
            bar.update(1, values)
            write(i + 1, values)
            done, due = i + 1, best is not None and best.due(i + 1, total_steps)
            if done % log_every == 0 or done == total_steps or due:
                means = {k: float(np.mean([w[k] for w in window if k in w])) for k in window[-1]}
                curve.append({"step": done, **means})
                window = []
                if best is not None and due:
                    curve[-1]["held_back"] = best.update(done)
                    write(done, {"held_back": curve[-1]["held_back"]})
                    if best.exhausted:
                        break
                # Only here is nothing of the curve in flight, so that a resumed curve is the same.
                if (
                    time.monotonic() - last_save >= context.execution.checkpoint_seconds
                    and done < total_steps
                ):
                    _save(path, state, done, curve)
                    last_save = time.monotonic()
    context.write_json(CURVE_NAME, curve)
    context.counts["steps"] = curve[-1]["step"]
    if best is not None:
        _restore(best, context, early=curve[-1]["step"] < total_steps)
    return curve


def _finite_values(
    context: StageContext, step: Callable[[int], Mapping[str, float]], i: int
) -> Mapping[str, float]:
    seed_everything(context.seed, context.outer_iteration or 0, i)
    values = dict(step(i))
    for name, value in values.items():
        if not math.isfinite(value):
            raise NonFiniteError(f"{context.title}: '{name}' became {value} at step {i}")
    return values


def _restore(best: BestWeights, context: StageContext, early: bool) -> None:
    best.restore()
    if early:
        context.log(f"stops at step {context.counts['steps']}: the weights of step {best.step} are kept")
    context.counts.update(best_step=best.step, best_held_back=best.value, stopped_early=early)


def finish(context: StageContext, weights: Mapping[str, torch.Tensor]) -> None:
    """Write weights.pt and remove the checkpoint: the last thing a training stage does."""
    save_weights(context.workdir / WEIGHTS_NAME, weights)
    (context.workdir / CHECKPOINT_NAME).unlink(missing_ok=True)


def seed_everything(*key: int) -> None:
    """Seed torch's and numpy's global generators from a tuple of integers."""
    word = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    torch.manual_seed(word & 0x7FFF_FFFF_FFFF_FFFF)
    np.random.seed(word & 0xFFFF_FFFF)


def save_weights(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Write a state dict atomically."""
    buffer = io.BytesIO()
    torch.save({k: v.detach().cpu() for k, v in weights.items()}, buffer)
    write_atomic(path, buffer.getvalue())


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict without running code from it.

    Raises:
        CorruptArtefactError: not a file of named tensors.
    """
    value = _load(io.BytesIO(path.read_bytes()), path)
    if not isinstance(value, dict) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in value.items()
    ):
        raise CorruptArtefactError(f"{path}: expected a state dict of tensors, got {type(value).__name__}")
    return value


def _load(stream: io.BytesIO, path: Path) -> Any:
    try:
        return torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's readers raise a dozen kinds of errors on a damaged file
        raise CorruptArtefactError(
            f"{path} is no file of tensors, or damaged: {type(error).__name__} {error}", (str(path),)
        ) from error


def _save(path: Path, state: Mapping[str, Stateful], next_step: int, curve: list[dict[str, float]]) -> None:
    """Write a checkpoint: sha256 of the rest, then torch's file. torch itself does not notice a flipped bit."""
    buffer = io.BytesIO()
    states = {name: item.state_dict() for name, item in state.items()}
    torch.save({"step": next_step, "curve": curve, "state": states}, buffer)
    data = buffer.getvalue()
    write_atomic(path, hashlib.sha256(data).digest() + data)


def _resume(
    path: Path, state: Mapping[str, Stateful], context: StageContext
) -> tuple[int, list[dict[str, float]]]:
    if not path.exists():
        return 0, []
    raw = path.read_bytes()
    digest, data = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != digest:
        # Checkpoints are written atomically, so this is disk damage: the steps are lost, the run is not.
        context.log(f"{path} is damaged (its sha256 is another); this stage starts afresh")
        path.unlink()
        return 0, []
    checkpoint = _load(io.BytesIO(data), path)
    for name, item in state.items():
        item.load_state_dict(checkpoint["state"][name])
    context.log(f"resumes at step {checkpoint['step']}")
    return checkpoint["step"], checkpoint["curve"]
