"""Losses of a training for TensorBoard while it runs: event files beside the store, never part of an artefact."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from data_contracts.paths import user_path

Write = Callable[[int, Mapping[str, float]], None]
"""Called with (steps done, value of each scalar)."""

_FLUSH_SECONDS = 10


def why_unwritable(folder: Path) -> str | None:
    """Why no files of a run can be made in a folder that may not be there yet; None where they can. Writes nothing."""
    below = user_path(folder, "execution.tensorboard").absolute() / "runs"  # the deepest that all runs share
    there = next(place for place in (below, *below.parents) if os.path.lexists(place))
    if not there.is_dir():
        return f"{there} is no folder"
    return None if os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written"


@contextmanager
def scalars(folder: Path | None, fingerprint: str, title: str, done: int) -> Iterator[Write]:
    """What writes scalars to `folder`/`fingerprint`/`title`; nothing is written where `folder` is None.

    Args:
        done: steps that were done before: later ones, of a process that was killed after its last checkpoint, are
            no longer shown.
    """
    if folder is None:
        yield lambda step, values: None
        return
    from torch.utils.tensorboard import SummaryWriter

    target = folder / fingerprint / title
    with SummaryWriter(str(target), purge_step=done + 1, flush_secs=_FLUSH_SECONDS) as writer:

        def write(step: int, values: Mapping[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        yield write
