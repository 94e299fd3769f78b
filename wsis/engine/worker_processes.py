"""Worker processes: started afresh, never forked, and never waited for without end.

A fork copies a process without its threads: locks that they held stay locked, and exit hooks of other libraries run in
the copy (in a Prefect process they end it with an error). So all processes come from :class:`SpawnContext`. What they
give back goes through pipes: unlike torch's tensors in shared memory it needs no room in /dev/shm and no open file a
tensor, both of which are scarce in containers.
"""

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import context, reduction, resource_tracker
from multiprocessing.queues import SimpleQueue
from types import TracebackType
from typing import Any, Self

import numpy as np

from data_contracts.printable import one_line
from wsis.errors import InputError, WorkerDiedError, WorkerStartError, WorkerStuckError

# BLAS libraries read these when they are loaded, before any code of a worker runs
THREADS_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_SAY_AFTER_SECONDS = 60.0
_GRACE_SECONDS = 10.0
_LOOK_SECONDS = 0.02
_starting = threading.Lock()
_log = logging.getLogger("wsis.engine.worker_processes")


class _Process(context.SpawnProcess):
    """A process that starts with variables of its own, and without the caller's script where it needs none of it."""

    variables: Mapping[str, str]
    needs_main: bool

    def start(self) -> None:
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise InputError(
                "worker processes: the calling script is imported by each of them because it defines what they use; "
                "expected its calls under `if __name__ == '__main__':`, got calls on import"
            )
        resource_tracker.ensure_running()  # as it starts it would let signals through
        with _starting, _environment(self.variables), _main(self.needs_main), _ctrl_c_held():
            super().start()


class SpawnContext(context.SpawnContext):
    """`multiprocessing`'s spawn for processes that need none of the caller's script, with `threads` threads each.

    Args:
        payload: what the processes are given. They import the caller's script again (so that it needs its
            `if __name__ == "__main__":`) only if something in it is defined there.
        turns: variables of the environment that the processes get in turn, as the GPU that each may see.

    Attributes:
        started: all processes, living or not.
    """

    def __init__(self, payload: object, threads: int = 1, turns: Sequence[Mapping[str, str]] = ({},)) -> None:
        self.started: list[context.SpawnProcess] = []
        self._queues: list[SimpleQueue[Any]] = []
        self._turns = [{**dict.fromkeys(THREADS_VARIABLES, str(threads)), **own} for own in turns]
        self._needs_main = b"__main__" in pickle.dumps(payload)

    def Process(self, *args: Any, **kwargs: Any) -> context.SpawnProcess:  # type: ignore[override]
        process = _Process(*args, **kwargs)
        process.variables = self._turns[len(self.started) % len(self._turns)]
        process.needs_main = self._needs_main
        self.started.append(process)
        return process

    def SimpleQueue(self) -> SimpleQueue[Any]:
        queue: SimpleQueue[Any] = super().SimpleQueue()
        self._queues.append(queue)
        return queue

    def kill(self) -> None:
        """End all at once. What one of them had half sent then ends too, for whoever reads it here."""
        for process in self.started:
            if process.is_alive():
                process.kill()
        for queue in self._queues:
            queue._writer.close()  # type: ignore[attr-defined]  # else that read never ends: this end is open still

    def running(self) -> bool:
        """Whether of one no exit code is known."""
        return any(process.exitcode is None for process in self.started)

    def lost(self) -> bool:
        """Whether one ended that was not told to."""
        return any(process.exitcode not in (None, 0) for process in self.started)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """A process that starts inside does not hear Ctrl-C, and so prints no traceback of an import, until
    `follow_parent` leaves it to its parent."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _main(needed: bool) -> Iterator[None]:
    """Without its name and file the caller's script is not imported by the process that starts inside."""
    names = vars(sys.modules["__main__"])
    hidden = () if needed else ("__spec__", "__file__")
    before: dict[str, Any] = {name: names[name] for name in hidden if name in names}
    names.update(dict.fromkeys(before))
    try:
        yield
    finally:
        names.update(before)


@contextmanager
def start_failures_named(title: str, remedy: str) -> Iterator[None]:
    """Errors of the system on starting processes as one line.

    Raises:
        WorkerStartError: no room in /dev/shm, no more files, processes or memory; says `remedy`.
    """
    try:
        yield
    except OSError as error:
        raise WorkerStartError(
            f"{title}: worker processes cannot be started: {error.strerror or error} (they need a few semaphores in "
            f"/dev/shm and a few open files: df /dev/shm, ulimit -n, docker run --shm-size); or use {remedy}"
        ) from error


@dataclass(frozen=True)
class Patience:
    """What to say of workers that are waited for.

    Attributes:
        title: what waits.
        seconds: longest wait for one result.
        remedy: the setting that does without workers.
    """

    title: str
    seconds: float
    remedy: str


class WorkerPool:
    """Processes, one thread each, that apply one function; they end with this process, however it ends.

    Args:
        function: is pickled to each process once.
        turns: see :class:`SpawnContext`.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        workers: int,
        patience: Patience,
        turns: Sequence[Mapping[str, str]] = ({},),
    ) -> None:
        self._patience = patience
        self._context = SpawnContext(function, turns=turns)
        with start_failures_named(patience.title, patience.remedy):
            self._pool = ProcessPoolExecutor(workers, self._context, _start, (function,))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._context.kill()  # what they still compute is of no use, and may never end
        late = threading.Timer(_GRACE_SECONDS, self._context.kill)
        late.daemon = True
        late.start()
        self._pool.shutdown(cancel_futures=True)
        late.cancel()

    def map(self, items: Iterable[Any], ahead: int) -> Generator[Any, None, None]:
        """What the function gives for each item, in order, computed up to `ahead` items ahead.

        Raises:
            WorkerDiedError: a process ended without a word. WorkerStuckError: no result within the patience.
            WorkerStartError: the system has no room for the processes.
            Exception: whatever the function raises.
        """
        rest, waiting = iter(items), deque[tuple[Any, Future[Any]]]()
        try:
            while True:
                with start_failures_named(self._patience.title, self._patience.remedy):
                    for item in rest:
                        waiting.append((item, self._pool.submit(_apply, item)))
                        if len(waiting) >= ahead:
                            break
                if not waiting:
                    return
                yield self._result(*waiting.popleft())
        except BrokenProcessPool as error:
            raise WorkerDiedError(self._death()) from error

    def _result(self, item: Any, future: Future[Any]) -> Any:
        """The result of one item. Time in which this process itself was stopped is not counted."""
        waited, say_at, step, patience = 0.0, _SAY_AFTER_SECONDS, 1.0, self._patience
        lost = False
        while waited < patience.seconds:
            asked = time.monotonic()
            try:
                return future.result(step)
            except TimeoutError:
                if future.done():  # it is the function's own
                    return future.result()
            if lost:  # the pool would have said so, but for a worker that was killed while it sent a result
                raise WorkerDiedError(self._death())
            lost = self._context.lost()
            waited += min(time.monotonic() - asked, 2 * step)
            if waited >= say_at:
                _log.warning(
                    "%s: waits since %.0f s for a worker at %s", patience.title, waited, _brief(item)
                )
                say_at *= 2
        raise WorkerStuckError(
            f"{patience.title}: a worker gave nothing within {patience.seconds:.0f} s for {_brief(item)}: a disk or "
            f"network folder that does not answer, or a machine that swaps; what is finished is kept. Give the command "
            f"again, or with {patience.remedy}"
        )

    def _death(self) -> str:
        # The others may have been ended before the one at fault is seen to be, and where the pool's own thread has
        # collected it first its code is there a moment later.
        end = time.monotonic() + _GRACE_SECONDS
        while not self._codes() and time.monotonic() < end and self._context.running():
            time.sleep(_LOOK_SECONDS)
        code = min(self._codes(), default=0)
        how = (
            f"ended with exit code {code}; see above"
            if code > 0
            else "was killed, most often because memory ran out"
        )
        return (
            f"{self._patience.title}: a worker process {how}; what is finished is kept. Give the command again with "
            f"fewer of them: {self._patience.remedy}"
        )

    def _codes(self) -> set[int]:
        """Exit codes of processes that ended by themselves or were killed."""
        codes = (process.exitcode for process in self._context.started)
        return {code for code in codes if code is not None and code not in (0, -signal.SIGTERM)}


def _brief(item: Any) -> str:
    text = one_line(item)
    return text if len(text) <= 100 else f"{text[:100]}..."


_function: Callable[[Any], Any] | None = (
    None  # of a worker process: sent once, so that what it opens stays open
)


def _apply(item: Any) -> Any:
    if _function is None:
        raise RuntimeError("a worker process was not initialised")
    return _function(item)


def _start(function: Callable[[Any], Any]) -> None:
    import cv2
    import torch

    global _function
    _function = function
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    reduction.register(torch.Tensor, _by_value)  # in place of torch's own way, through shared memory
    follow_parent()


def _by_value(tensor: Any) -> tuple[Any, ...]:
    import torch

    if tensor.layout == torch.sparse_coo:
        indices = tensor.indices().numpy().astype(np.int32)  # half of what goes through the pipe
        return _sparse, (indices, tensor.values().numpy(), tuple(tensor.shape))
    return torch.from_numpy, (tensor.detach().numpy(),)


def _sparse(indices: Any, values: Any, shape: tuple[int, ...]) -> Any:
    import torch

    from wsis.method.transfers import coalesced

    return coalesced(torch.from_numpy(indices).long(), torch.from_numpy(values), shape)


def follow_parent() -> None:
    """Called in a worker process: it ends with its parent, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot tell its workers: they would wait for work, and hold memory, for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
