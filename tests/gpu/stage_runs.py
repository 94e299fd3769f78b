"""Commands of `wsis` one after the other in one process, on the device that is there: its start takes seconds.

Its arguments: a file with [[name, mistake or null, words of the command], ...], and one that gets name -> [exit code,
stderr].
"""

import copy
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from tests.gpu.pretend.counts import COUNTS
from tests.runs.tiny_run import Result, wsis
from wsis.engine import training


class Stop(Exception):
    """The stage ends here, as if it were killed."""


@contextmanager
def stopped(step: int) -> Iterator[None]:
    """Trainings end before this step."""

    def seed(*key: int) -> None:
        if key[2:] == (step,):
            raise Stop
        training_seed(*key)

    training_seed = training.seed_everything
    with mock.patch.object(training, "seed_everything", seed):
        yield


def left_on_the_cpu(field: str) -> Any:
    """Problems of the conditional network that are moved without one of their tensors."""
    from stages.conditional import training as conditional
    from wsis.method.transfers import moved

    def all_but_one(batch: Any, device: Any) -> Any:
        images, problems, noises = moved(batch, device)
        there = [copy.copy(problem) for problem in problems]
        for problem, original in zip(there, batch[1], strict=True):
            object.__setattr__(problem, field, getattr(original, field))
        return images, there, noises

    return mock.patch.object(conditional, "moved", all_but_one)


def image_not_moved() -> Any:
    """The classifier's input stays on the CPU."""
    from stages.prm.peak_network import PeakNetwork

    plain = PeakNetwork.batch
    return mock.patch.object(PeakNetwork, "batch", lambda peaks, image_id: plain(peaks, image_id).cpu())


def no_cpu() -> Any:
    """`.cpu().numpy()` is written `.numpy()`."""
    return mock.patch.object(torch.Tensor, "cpu", lambda tensor: tensor)


def loaded_where_saved() -> Any:
    """torch.load without map_location."""
    return mock.patch.object(training, "_load", lambda stream, path: torch.load(stream, weights_only=True))


MISTAKES: dict[str | None, Callable[[], Any]] = {
    None: nullcontext,
    "a table of the CPU": lambda: left_on_the_cpu("target_table"),
    "an image of the CPU": image_not_moved,
    "numpy of the device": no_cpu,
    "no map_location": loaded_where_saved,
    "stopped before step 1": lambda: stopped(1),
    "stopped before step 2": lambda: stopped(2),
}


def outcome(command: list[str]) -> Result:
    """Of a command in this process, errors that nobody raised on purpose included."""
    try:
        return wsis(*command)
    except (RuntimeError, TypeError, Stop) as error:
        return Result(1, "", f"{type(error).__name__}: {error}")


class Records:
    """The records of the runs of stores as they were when each was first seen: settings of a command stay in them."""

    def __init__(self) -> None:
        self._files: dict[Path, dict[Path, bytes]] = {}

    def restore(self, command: list[str]) -> None:
        """Of the store that a command names."""
        store = Path(command[command.index("--store") + 1])
        now = {path: path.read_bytes() for path in (store / "runs").glob("*.json")}
        for path, text in self._files.setdefault(store, now).items():
            path.write_bytes(text)


def main() -> None:
    """Do all that the file names; each is a unit of what is counted."""
    records = Records()
    found = {}
    for name, mistake, command in json.loads(Path(sys.argv[1]).read_text()):
        records.restore(command)
        with COUNTS.counting(name), MISTAKES[mistake]():
            done = outcome(command)
        found[name] = [done.code, done.err]
    Path(sys.argv[2]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
