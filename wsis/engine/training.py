"""The one training loop, of every network: stateless steps, atomic checkpoints, exact resume, several processes."""

import hashlib
import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from torch import distributed

from data_contracts.atomic import write_atomic
from data_contracts.errors import CorruptArtefactError
from wsis.engine.group import of_rank_0, rank
from wsis.engine.held_interrupts import HeldInterrupts
from wsis.engine.stage import CHECKPOINT_NAME, StageContext
from wsis.engine.weight_selection import BestWeights
from wsis.errors import NonFiniteError
from wsis.method.random_words import random_word

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
    images: Callable[[int], Sequence[str]] | None = None,
) -> list[dict[str, float]]:
    """Call `step(i)` for i = 0 .. total_steps-1, from the last checkpoint on.

    Before each step torch's and numpy's global generators are seeded by (seed, outer iteration, i), and a
    step must take everything else random from i as well: a run that was killed and resumed is then equal to
    one that was not, bit by bit on CPU. Ctrl-C (and SIGTERM where it means the same) waits for the end of a step and
    for a checkpoint; a second one does not.

    In a process of a group (`wsis.engine.group`) all call it alike: logged values are means over the processes, and
    rank 0 alone reads and writes the checkpoint.

    Args:
        state: everything a step changes; goes into the checkpoint.
        step: does one optimisation step and returns the values to log; "loss" must be among them.
        best: validates now and then; the model ends with the weights it chooses, and training before `total_steps` when
            its patience ends. Their step goes into the counts.
        images: names of the images of step i in this process, for errors.

    Returns:
        The curve: means of the logged values over every `log_every` steps and up to each validation, with its value
        as "held_back"; also written to curve.json.

    Raises:
        NonFiniteError: a logged value is NaN or infinite; the checkpoint before it is kept.
        KeyboardInterrupt: Ctrl-C, with a checkpoint of all steps that are done.
    """
    checkpoint = _Checkpoint(context, state if best is None else {**state, "best": best})
    first, curve, window = checkpoint.resume()
    with (
        context.progress.bar(total_steps, context.title, "step", initial=first) as bar,
        context.scalars(first) as write,
        HeldInterrupts() as interrupts,
    ):
        for i in range(first, total_steps):
            if best is not None and best.exhausted:
                break
            context.check_owner()
            values = _finite_values(context, step, i, images)
            window.append(values)
            bar.update(1, {"loss": values["loss"], **values})
            write(i + 1, values)
            done, due = i + 1, best is not None and best.due(i + 1, total_steps)
            if done % log_every == 0 or done == total_steps or due:
                means = {k: float(np.mean([w[k] for w in window if k in w])) for k in window[-1]}
                curve.append({"step": done, **means})
                window = []
                if best is not None and due:
                    curve[-1]["held_back"] = best.update(done)
                    write(done, {"held_back": curve[-1]["held_back"]})
            if interrupts.came:
                checkpoint.save(done, curve, window)
                context.log(f"interrupted after step {done}, which it goes on from")
                raise KeyboardInterrupt
            if done < total_steps:
                checkpoint.save_if_due(done, curve, window)
    if rank() == 0:
        context.write_json(CURVE_NAME, curve)
    context.counts["steps"] = curve[-1]["step"]
    if best is not None:
        _restore(best, context, early=curve[-1]["step"] < total_steps)
    return curve


def _finite_values(
    context: StageContext,
    step: Callable[[int], Mapping[str, float]],
    i: int,
    images: Callable[[int], Sequence[str]] | None,
) -> dict[str, float]:
    """The values of step i, means over the processes of a group."""
    seed_everything(context.seed, context.outer_iteration or 0, i)

    def where() -> str:
        return f"at step {i}" + (f", images {', '.join(images(i))}" if images is not None else "")

    try:
        values = dict(step(i))
    except NonFiniteError as error:
        if images is None:  # the step names itself
            raise
        raise NonFiniteError(f"{context.title}: {error}, {where()}") from error
    for name, value in values.items():
        if not math.isfinite(value):
            raise NonFiniteError(f"{context.title}: '{name}' became {value} {where()}")
    if not distributed.is_initialized():
        return values
    total = torch.tensor(list(values.values()), dtype=torch.float64, device=context.device)
    distributed.all_reduce(total)
    return dict(zip(values, (total / distributed.get_world_size()).tolist(), strict=True))


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
    word = random_word(*key)
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


class _Hashed:
    """Passes what is written on to a file and takes its sha256 meanwhile: a checkpoint may be gigabytes."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256 = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


class _Checkpoint:
    """Everything that a training is, in a file of its work folder: sha256 of the rest, then torch's file. torch itself
    does not notice a flipped bit."""

    def __init__(self, context: StageContext, state: Mapping[str, Stateful]) -> None:
        self.context, self.state = context, state
        self.path = context.workdir / CHECKPOINT_NAME
        self._last = time.monotonic()

    def save_if_due(self, step: int, curve: list[dict[str, float]], window: list[dict[str, float]]) -> None:
        """Write it where the last one is old enough."""
        if rank() > 0 or time.monotonic() - self._last < self.context.execution.checkpoint_seconds:
            return
        self.save(step, curve, window)

    def save(self, step: int, curve: list[dict[str, float]], window: list[dict[str, float]]) -> None:
        """Write it, in place of the last one."""
        states = {name: item.state_dict() for name, item in self.state.items()}

        def write(file: BinaryIO) -> None:
            file.write(bytes(_DIGEST_BYTES))
            hashed = _Hashed(file)
            torch.save({"step": step, "curve": curve, "window": window, "state": states}, hashed)  # type: ignore[arg-type]
            file.seek(0)
            file.write(hashed.sha256.digest())

        write_atomic(self.path, write)
        self._last = time.monotonic()

    def resume(self) -> tuple[int, list[dict[str, float]], list[dict[str, float]]]:
        """Load it where it is: steps that are done, the curve, and the values after its last point."""
        data = of_rank_0(self._stored)
        if data is None:
            return 0, [], []
        checkpoint = _load(io.BytesIO(data), self.path)
        for name, item in self.state.items():
            item.load_state_dict(checkpoint["state"][name])
        self.context.log(f"resumes at step {checkpoint['step']}")
        # those of earlier versions were written at points of the curve alone
        return checkpoint["step"], checkpoint["curve"], checkpoint.get("window", [])

    def _stored(self) -> bytes | None:
        """What torch wrote."""
        if not self.path.exists():
            return None
        raw = self.path.read_bytes()
        digest, data = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        if hashlib.sha256(data).digest() != digest:
            # Checkpoints are written atomically, so this is disk damage: the steps are lost, the run is not.
            self.context.log(f"{self.path} is damaged (its sha256 is another); this stage starts afresh")
            return None
        return data
