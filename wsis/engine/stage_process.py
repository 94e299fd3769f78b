"""A process that does one piece of work after another for this one, so that stages run side by side.

Stages share what cannot be shared by threads: random numbers, the threads of arithmetic, registries of MMEngine, peak
memory. So each has a process to itself, which imports the libraries once and lives for the whole run. What it logs, and
how far it is, comes back through a pipe and is shown by the progress of the caller.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Self

import torch

from wsis.engine.forwarded_progress import ForwardedProgress, Screen
from wsis.engine.progress import Progress
from wsis.engine.told_errors import sendable
from wsis.engine.worker_processes import SpawnContext, follow_parent, start_failures_named
from wsis.errors import RunEndsError, StageTimeoutError, WorkerDiedError

Work = Callable[[Progress], Any]
"""A piece of work; it and what it gives are pickled."""

_ONE_BY_ONE = "--set execution.cores=1"
_LOOK_SECONDS = 1.0
_GRACE_SECONDS = 30.0  # a training writes its last checkpoint
_LOGGER = "wsis"


@dataclass(frozen=True)
class _Done:
    """What the work gave."""

    what: Any


@dataclass(frozen=True)
class _Failed:
    """What the work raised, see `told_errors.sendable`."""

    error: Exception


class StageProcess:
    """One such process. `do` may be called from any thread, by one at a time.

    Args:
        title: for messages.
        first: something of a module that its work needs: it imports that as it starts, and does not wait for work.

    Raises:
        WorkerStartError: the system has no room for it.
    """

    def __init__(self, title: str, first: object = None) -> None:
        self._title, self._ending, self._kill_at = title, threading.Event(), float("inf")
        spawn = SpawnContext(None)
        with start_failures_named(title, _ONE_BY_ONE):
            self._connection, theirs = spawn.Pipe(duplex=True)
            self._process = spawn.Process(
                target=_live, args=(theirs, logging.getLogger(_LOGGER).level, first)
            )
            self._process.start()
            theirs.close()  # its end is then the end of the process

    @property
    def alive(self) -> bool:
        """Whether it can be given work."""
        return self._process.is_alive() and not self._ending.is_set()

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._process.pid

    def do(self, work: Work, title: str, progress: Progress, seconds: float = float("inf")) -> Any:
        """What `work` gives there.

        Args:
            title: of this work, for messages.
            progress: gets its lines and bars.
            seconds: longest time it may take; the process is ended then.

        Raises:
            WorkerDiedError: the process ended without a word. StageTimeoutError: the time is up.
            RunEndsError: it was asked to end.
            Exception: whatever the work raises; one that cannot be sent is a RuntimeError with its traceback.
        """
        with Screen(progress) as screen:
            try:
                self._connection.send((title, work))
                for message in self._messages(title, seconds):
                    if isinstance(message, _Done):
                        return message.what
                    if isinstance(message, _Failed):
                        raise message.error
                    screen.show(message)
            except (EOFError, BrokenPipeError, ConnectionResetError):
                pass
        if self._ending.is_set():
            raise RunEndsError(f"{title}: ended with the run; what is committed is kept")
        raise WorkerDiedError(self._death(title))

    def _messages(self, title: str, seconds: float) -> Iterator[Any]:
        until = time.monotonic() + seconds
        while True:
            if time.monotonic() >= self._kill_at:
                self.kill()
            if self._connection.poll(min(_LOOK_SECONDS, max(0.0, until - time.monotonic()))):
                yield self._connection.recv()
            elif time.monotonic() >= until:
                self.end()
                raise StageTimeoutError(
                    f"{title}: expected it to end within {seconds:.0f} s (execution.timeouts), and ended it; what is "
                    "committed is kept"
                )

    def _death(self, title: str) -> str:
        self._process.join(_GRACE_SECONDS)
        code = self._process.exitcode or 0
        how = (
            f"was ended by signal {-code}, most often because memory ran out"
            if code < 0
            else f"ended with exit code {code}; see above"
        )
        return (
            f"{title}: the process of the stage {how}; what is committed is kept. Give the command again, one stage "
            f"at a time: {_ONE_BY_ONE}"
        )

    def ask_to_end(self) -> None:
        """As Ctrl-C does: what it works at is an interrupted stage, which goes on from there when it is run again."""
        if not self._ending.is_set():  # a second signal would interrupt what it does on the first
            self._kill_at = time.monotonic() + _GRACE_SECONDS
            self._ending.set()
            self._process.terminate()

    def end(self) -> None:
        """Nothing of it is left. Waits for `_GRACE_SECONDS` at most."""
        self.ask_to_end()
        self._process.join(_GRACE_SECONDS)
        if self._process.is_alive():
            self.kill()
            self._process.join(_GRACE_SECONDS)

    def kill(self) -> None:
        """End it at once, whatever it is at."""
        self._ending.set()
        self._process.kill()


class StageProcesses:
    """As many as are at work at once; each lives until the end. All methods may be called from any thread.

    Args:
        first: see `StageProcess`.
    """

    def __init__(self, first: object = None) -> None:
        self._first = first
        self._all: list[StageProcess] = []
        self._idle: list[StageProcess] = []
        self._lock, self._ending = threading.Lock(), False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        try:
            for process in self._all:
                process.end()
        except BaseException:  # Ctrl-C again
            self.kill()
            raise

    def do(self, work: Work, title: str, progress: Progress, seconds: float = float("inf")) -> Any:
        """As `StageProcess.do`, by one that has nothing to do, or by another one."""
        process = self._take(title)
        try:
            return process.do(work, title, progress, seconds)
        finally:
            with self._lock:
                if process.alive:
                    self._idle.append(process)

    def begin(self, count: int) -> None:
        """Start so many that will be asked for soon: they import while this process does something else.

        Raises: as `StageProcess`.
        """
        with self._lock:
            for _ in range(0 if self._ending else count):
                self._all.append(StageProcess("stages side by side", self._first))
                self._idle.append(self._all[-1])

    def stop(self) -> None:
        """Ask all to end, and let none begin."""
        with self._lock:
            self._ending = True
            for process in self._all:
                process.ask_to_end()

    def kill(self) -> None:
        """End all at once, and let none begin."""
        with self._lock:
            self._ending = True
            for process in self._all:
                process.kill()

    def _take(self, title: str) -> StageProcess:
        with self._lock:
            if self._ending:
                raise RunEndsError(f"{title}: the run ends")
            while self._idle:
                process = self._idle.pop(0)
                if process.alive:
                    return process
            self._all.append(StageProcess(title, self._first))
            return self._all[-1]


# -- in the process ---------------------------------------------------------------------------------------------


def _live(connection: Connection, level: int, _: object) -> None:
    """The life of the process: work until nobody asks any more. What it is given last was imported as it came here."""
    follow_parent()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    say = _Voice(connection)
    logger = logging.getLogger(_LOGGER)
    logger.setLevel(level)
    logger.addHandler(_Forwarded(say))
    try:
        while True:
            title, work = connection.recv()
            say(_answer(title, work, say))
    except (EOFError, KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        return


def _answer(title: str, work: Work, say: "_Voice") -> _Done | _Failed:
    try:
        done = _Done(work(ForwardedProgress(say)))
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # another process may need it
        return done
    except Exception as error:
        return _Failed(sendable(error, f"the process of {title}"))


class _Voice:
    """What may be said from several threads of the process."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()

    def __call__(self, message: Any) -> None:
        with self._lock:
            self._connection.send(message)


class _Forwarded(logging.Handler):
    """Records of `logging` on their way to the caller."""

    def __init__(self, say: _Voice) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """The record with its text, whatever its arguments were."""
        record.msg, record.args, record.exc_info = record.getMessage(), (), None
        self._say(record)
