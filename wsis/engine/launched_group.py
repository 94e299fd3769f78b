"""Processes that torchrun has started, on one machine or several, as one group: rank 0 runs the command, the others
take part in the trainings that it shares, and end as it ends.

They meet at the key-value store that RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT name. There rank 0 puts one call
after the other: a training, or the end. For the time of a training they are a group of torch.distributed.
"""

import json
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from torch import distributed
from torch.distributed.rendezvous import rendezvous

from data_contracts.errors import ConfigError
from data_contracts.patience import answered
from data_contracts.printable import one_line
from wsis.engine.group import COLLECTIVE_SECONDS, member
from wsis.engine.machine import peak_memory
from wsis.engine.progress import Progress
from wsis.engine.stage import StageContext
from wsis.engine.stage_inputs import nobody_else
from wsis.engine.told_errors import raised_again, told, within
from wsis.errors import WorkerDiedError, WorkerStuckError, WsisError

_LOGGER = logging.getLogger("wsis.engine.launched_group")
Work = Callable[[StageContext], None]
_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_MEETING_SECONDS = 600.0  # nodes of a cluster start one after the other
_SILENCE_SECONDS = 900.0  # of rank 0, which beats every few seconds whatever it does
_BEAT_SECONDS = 5.0
_LOOK_SECONDS = 0.2
_LAST_WORDS_SECONDS = 20.0
_NOTICED_SECONDS = 2.0
_INTERRUPTED = 130
_KEPT = "the last checkpoint is kept. Give the command again"


def processes_started() -> int:
    """How many processes torchrun, or what stands for it, says that it has started.

    Raises:
        ConfigError: it says no number.
    """
    return _number("WORLD_SIZE", 1, least=1)


def joined() -> "LaunchedGroup | None":
    """The group whose rank 0 this process is."""
    return _joined


def run_in_group(command: Callable[[], int | None]) -> int | None:
    """Run a command in rank 0, and serve it in every other process; the exit code is rank 0's everywhere.

    Raises:
        ConfigError: some of the variables are missing. WorkerStuckError: not all processes came.
        Exception: in rank 0 what the command raises. In the others rank 0's error, once on each other machine.
    """
    global _joined
    group = LaunchedGroup()
    if group.rank > 0:
        return group.follow()
    _joined = group
    try:
        code = command()
    except BaseException as error:
        group.end(getattr(error, "exit_code", 1), error)
        raise
    finally:
        _joined = None
    group.end(code or 0)
    return code


@dataclass(frozen=True)
class _Shared:
    """What rank 0 sends to the others for a training."""

    work: Work
    context: StageContext


class _FailedError(Exception):
    """A training that this process took part in has failed."""


class LaunchedGroup:
    """This process and the others.

    Attributes:
        rank, size: which one it is, of how many.
        local, size_here: the same on its machine; rank `local` uses GPU `local`.
    """

    def __init__(self) -> None:
        if missing := [name for name in _NEEDED if not os.environ.get(name)]:
            raise ConfigError(
                f"WORLD_SIZE: expected {', '.join(missing)} beside it, as torchrun sets them, because it is "
                f"{processes_started()}, got none; start with torchrun, or unset WORLD_SIZE"
            )
        self.size = processes_started()
        self.rank = _number("RANK", 0, most=self.size - 1)
        self.local = _number("LOCAL_RANK", 0)
        self.size_here = _number("LOCAL_WORLD_SIZE", 1, least=1)
        self._post = self._met(f"{os.environ['MASTER_ADDR']}:{_number('MASTER_PORT', 0, most=65535)}")
        self._calls = 0
        self._ended = threading.Event()
        if self.rank == 0:
            threading.Thread(target=self._beat, daemon=True).start()

    def _met(self, address: str) -> Any:
        """The store that all of them share, once all are there. torch itself hears no Ctrl-C meanwhile."""

        def meet() -> Any:
            return next(rendezvous("env://", timeout=timedelta(seconds=_MEETING_SECONDS)))[0]

        def say(waited: float) -> None:
            _LOGGER.warning(
                "rank %d: %d processes not met at %s after %.0f s", self.rank, self.size, address, waited
            )

        try:
            return answered(meet, say)
        except distributed.DistError as error:
            if "EADDRINUSE" in str(error):
                raise ConfigError(f"MASTER_PORT: expected a free port, got one in use: {address}") from error
            raise WorkerStuckError(
                f"rank {self.rank}: the {self.size} processes did not meet at {address} within "
                f"{_MEETING_SECONDS:.0f} s: {one_line(error):.300}"
            ) from error

    # -- rank 0 -------------------------------------------------------------------------------------------
    def share(self, work: Work, context: StageContext, processes: int) -> None:
        """Call `work` in this process with `context`, and in others with quiet ones of their own.

        Raises:
            ContractError, WsisError: as the work raises in any process.
            WorkerDiedError: a process has gone. WorkerStuckError: one does not answer.
            RuntimeError: any other error of another process, with its traceback.
        """
        self._call(processes=processes, device=context.device.type, threads=context.execution.threads)
        execution = context.execution.model_copy(update={"tensorboard": None})
        given = replace(context, progress=Progress(quiet=True), execution=execution, counts={})
        given.worker_memory, given.shared, given.check_owner = {}, None, nobody_else
        number = self._calls
        part = self._part(number, processes, context.device.type, context.execution.threads)
        with self._failures_of_others(number, context.title), member(*part):
            distributed.broadcast_object_list([_Shared(work, given)], 0)
            work(context)
            peaks: list[Any] = [None] * processes
            distributed.all_gather_object(peaks, peak_memory())
        # by rank: other machines have the same pids
        context.worker_memory.update(enumerate(peaks[1:], start=1))

    def end(self, code: int, error: BaseException | None = None) -> None:
        """Tell the others how the command ended, and give them the time to hear it."""
        self._ended.set()
        why = told(error) if isinstance(error, Exception) else {}
        try:
            self._call(end=code, **why)
            until = time.monotonic() + _LAST_WORDS_SECONDS
            names = [f"left/{rank}" for rank in range(1, self.size)]
            while time.monotonic() < until and not self._post.check(names):
                time.sleep(_LOOK_SECONDS)
        except distributed.DistError:  # the place to tell it has gone, and with it whoever would listen
            return

    def _call(self, **what: Any) -> None:
        self._calls += 1
        self._post.set(f"call/{self._calls}", json.dumps(what))

    def _beat(self) -> None:
        try:
            while not self._ended.wait(_BEAT_SECONDS):
                self._post.add("beats", 1)
        except distributed.DistError:
            return

    @contextmanager
    def _failures_of_others(self, number: int, title: str) -> Iterator[None]:
        """In place of a lost connection, what has cut it."""
        try:
            yield
        except Exception as error:
            if not _is_lost(error):
                self._fail(number, error)
                _leave_group()
                raise
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of torchrun, for the loss that is just being told
            first = self._first_failure(number)
            _leave_group()
            raise self._loss(number, title, error) if first is None else raised_again(first, title) from None

    def _loss(self, number: int, title: str, error: Exception) -> WsisError:
        """Which processes have gone: those that do not notice that others have."""
        time.sleep(_NOTICED_SECONDS)
        ranks = [r for r in range(1, self.size) if not self._post.check([f"noticed/{number}/{r}"])]
        who = (
            f"rank {', '.join(map(str, ranks))} of the group" if ranks else "the connection between the ranks"
        )
        if "imed out" in str(error):
            return WorkerStuckError(f"{title}: {who} did not answer for {COLLECTIVE_SECONDS:.0f} s; {_KEPT}")
        return WorkerDiedError(f"{title}: {who} has gone, most often because memory ran out; {_KEPT}")

    # -- the others ---------------------------------------------------------------------------------------
    def follow(self) -> int:
        """Take part in what rank 0 calls until its command ends; the exit code."""
        try:
            while True:
                self._calls += 1
                called = self._awaited(f"call/{self._calls}", _SILENCE_SECONDS)
                if "end" in called:
                    return self._end_like_rank_0(called)
                if self.rank < called["processes"]:
                    self._take_part(called)
        except _FailedError:
            return self._end_like_rank_0(self._last_words())
        except KeyboardInterrupt:  # of torchrun, or with rank 0, which says so
            return _INTERRUPTED

    def _take_part(self, called: dict[str, Any]) -> None:
        """One training. What fails here is told to rank 0, which says it."""
        box: list[Any] = [None]
        try:
            with member(*self._part(self._calls, called["processes"], called["device"], called["threads"])):
                distributed.broadcast_object_list(box, 0)
                if (reads := box[0].context.reads) is not None:
                    reads.open_here(verify=self.local == 0)
                box[0].work(box[0].context)
                distributed.all_gather_object([None] * called["processes"], peak_memory())
        except Exception as error:
            if _is_lost(error):
                self._tell(f"noticed/{self._calls}/{self.rank}", "yes")
            else:
                self._fail(self._calls, error)
            _leave_group()
            raise _FailedError from error

    def _last_words(self) -> dict[str, Any]:
        """How rank 0 ends after a training that failed; it names what has failed, wherever that was."""
        try:
            return self._awaited(f"call/{self._calls + 1}", _LAST_WORDS_SECONDS)
        except WorkerStuckError:
            raise WorkerDiedError(f"rank {self.rank}: rank 0 has gone; see its lines. {_KEPT}") from None

    def _end_like_rank_0(self, called: dict[str, Any]) -> int:
        """Raise rank 0's error where its own line is not seen; every other end is silent."""
        self._tell(f"left/{self.rank}", "yes")
        if called.get("kind") and self.local == 0:
            raise raised_again(called, "rank 0")
        return int(called["end"])

    def _awaited(self, key: str, seconds: float) -> dict[str, Any]:
        """A value that rank 0 will put.

        Raises:
            WorkerDiedError: the store has gone. WorkerStuckError: rank 0 did not beat for so long.
        """

        def look() -> tuple[int, Any]:
            return self._post.add("beats", 0), json.loads(self._post.get(key)) if self._post.check(
                [key]
            ) else None

        beats, silent = 0, 0.0
        try:
            while silent < seconds:
                heard, value = within(look, seconds - silent)
                if value is not None:
                    return dict(value)
                beats, silent = heard, (0.0 if heard != beats else silent + _LOOK_SECONDS)
                time.sleep(_LOOK_SECONDS)
        except distributed.DistError as error:
            raise WorkerDiedError(f"rank {self.rank}: rank 0 has gone; see its lines. {_KEPT}") from error
        except TimeoutError:
            pass
        raise WorkerStuckError(f"rank {self.rank}: rank 0 said nothing for {seconds:.0f} s; {_KEPT}")

    # -- all ----------------------------------------------------------------------------------------------
    def _part(self, number: int, processes: int, device: str, threads: int) -> tuple[Any, ...]:
        return (
            distributed.PrefixStore(f"group/{number}", self._post),
            self.rank,
            processes,
            device,
            threads,
            self.local,
        )

    def _fail(self, number: int, error: Exception) -> None:
        self._tell(f"failed/{number}", json.dumps(told(error, f"rank {self.rank}")))

    def _tell(self, key: str, value: str) -> None:
        """Put a value that nobody has put before; whoever would read it may have gone."""
        with suppress(distributed.DistError, TimeoutError):
            within(lambda: self._post.compare_set(key, "", value), _LAST_WORDS_SECONDS)

    def _first_failure(self, number: int) -> dict[str, Any] | None:
        """The error that a process told before it left."""
        key = f"failed/{number}"
        return dict(json.loads(self._post.get(key))) if self._post.check([key]) else None


_joined: LaunchedGroup | None = None


def _number(name: str, default: int, least: int = 0, most: int | None = None) -> int:
    text = os.environ.get(name, str(default))
    if not re.fullmatch(r"\d{1,9}", text) or not least <= int(text) <= (int(text) if most is None else most):
        upper = "" if most is None else f" to {most}"
        raise ConfigError(
            f"{name}: expected a whole number from {least}{upper}, as torchrun sets it, got {text!r}"
        )
    return int(text)


def _leave_group() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _is_lost(error: Exception) -> bool:
    """Whether a collective operation failed because of another process."""
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error)
    )
