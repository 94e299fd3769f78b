"""Batches of a training, made in this process when they are needed or ahead of time by worker processes. Their content
is the same either way."""

import time
from collections.abc import Callable, Generator
from contextlib import closing
from types import TracebackType
from typing import Any, Self

from wsis.engine.settings import Execution
from wsis.engine.worker_processes import Patience, WorkerPool

DATA_WAIT = "data_wait_share"
"""A count of the manifest that says what training cost: `Batches.wait_share` of the call that finished."""
_AHEAD = 2  # batches a worker
_FEW_IMAGES = 200  # so many are prepared faster than a process starts


def processes_ahead(execution: Execution, images: int, on_cpu: bool, group: int) -> int:
    """How many worker processes prepare the batches of the next steps; 0: each step prepares its own.

    Args:
        images: that are prepared at least, those seen again from memory not counted.
        group: processes that share the training, each with workers of its own.
    """
    if images < _FEW_IMAGES or execution.workers == 1:
        return 0
    if on_cpu and execution.threads > 1:
        return 0  # sums over several threads are those of this process alone, in the last bits
    return max(1, (execution.workers - 1) // group)


class _Step(int):
    """A step's number, as messages name it."""

    def __str__(self) -> str:
        return f"step {int(self)}"


class Batches:
    """The batches of consecutive steps. Leaving the block ends the workers.

    Args:
        make: gives the batch of a step, a function of the step alone; is pickled to the workers.
        total_steps: there is no batch from this step on.
        workers: processes that prepare batches ahead; 0: this one prepares each when it is wanted.
        patience: what to say of workers that are waited for.
    """

    def __init__(
        self, make: Callable[[int], Any], total_steps: int, workers: int, patience: Patience
    ) -> None:
        self._make, self._total, self._workers, self._patience = make, total_steps, workers, patience
        self._batches: Generator[Any, None, None] | None = None
        self._since: float | None = None  # when the second batch was asked for
        self._waited = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._batches is not None:
            self._batches.close()

    def at(self, step: int) -> Any:
        """The batch of a step. The first call may ask for any step, every further one for the next.

        Raises:
            WorkerDiedError, WorkerStuckError, WorkerStartError: no batch comes.
            Exception: whatever `make` raises.
        """
        if self._batches is None:
            self._batches = self._from(step)
            return next(self._batches)
        asked = time.monotonic()
        if self._since is None:
            self._since = asked
        batch = next(self._batches)
        self._waited += time.monotonic() - asked
        return batch

    @property
    def wait_share(self) -> float | None:
        """Share of the wall time until now that was spent waiting for batches. The first step is left out, which waits
        for the workers to start; None before the second."""
        return None if self._since is None else self._waited / (time.monotonic() - self._since)

    def wait_counts(self) -> dict[str, float]:
        """The count `DATA_WAIT` of a training whose batches are prepared ahead; empty where it takes one step."""
        waited = self.wait_share
        return {DATA_WAIT: round(waited, 4)} if self._workers and waited is not None else {}

    def _from(self, step: int) -> Generator[Any, None, None]:
        steps = map(_Step, range(step, self._total))
        if not self._workers:
            yield from map(self._make, steps)
            return
        with (
            WorkerPool(self._make, self._workers, self._patience) as pool,
            closing(pool.map(steps, _AHEAD * self._workers)) as batches,
        ):
            yield from batches
