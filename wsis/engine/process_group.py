"""Several processes of this machine at one piece of work: started, heard, and ended with the stage.

Each is a rank of a torch.distributed group: gloo on the CPU, nccl on CUDA, where rank r takes GPU r.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from torch import distributed

from wsis.engine.forwarded_progress import Send
from wsis.engine.group import member
from wsis.engine.machine import peak_memory
from wsis.engine.told_errors import told
from wsis.engine.worker_processes import SpawnContext, follow_parent, start_failures_named
from wsis.errors import WorkerDiedError, WorkerStuckError

Work = Callable[[Send], None]
_HOST = "127.0.0.1"
_PATIENCE_SECONDS = 5.0
_SILENCE_SECONDS = 1800.0  # longer than a collective: the ranks name what is wrong before the stage ends them


def _fewer(title: str) -> str:
    """What to set where several processes are too many for the machine."""
    return f"--set {title.partition('@')[0]}.processes=1"


@dataclass(frozen=True)
class _Said:
    """What the work of rank 0 sends."""

    what: Any


@dataclass(frozen=True)
class _Ended:
    """The work is done; process id and peak resident bytes."""

    pid: int
    peak: int


@dataclass(frozen=True)
class _Failed:
    """An error on purpose with its class, or any other as the text of its traceback; `when` is the machine's clock."""

    kind: type[Exception] | None
    message: str
    when: float


@dataclass(frozen=True)
class Group:
    """How many processes, where, with how many threads each; `title` is for messages."""

    processes: int
    device: str
    threads: int
    title: str


def run_in_processes(work: Work, group: Group, hear: Send, worker_memory: dict[int | str, int]) -> None:
    """Call `work` in every process of a group, and return when all are through.

    Args:
        work: pickled to spawned processes; is called with a function that sends things (of rank 0) to `hear`.
        worker_memory: is filled with process id -> peak resident bytes.

    Raises:
        ContractError, WsisError: as the work raises in any process; the others are ended.
        WorkerDiedError: a process was killed. WorkerStuckError: nobody says anything any more.
        WorkerStartError: the system has no room for the processes.
        RuntimeError: any other error, with its traceback.
    """
    server = distributed.TCPStore(_HOST, 0, is_master=True, wait_for_workers=False)
    with _started(work, group, server.port) as ranks:
        for message in _messages(ranks, group.title):
            if isinstance(message, _Said):
                hear(message.what)
            else:
                worker_memory[message.pid] = message.peak


@contextmanager
def _started(work: Work, group: Group, port: int) -> Iterator[dict[Connection, BaseProcess]]:
    spawn = SpawnContext(work, group.threads)
    ranks: dict[Connection, BaseProcess] = {}
    try:
        with start_failures_named(group.title, _fewer(group.title)):
            for rank in range(group.processes):
                receiver, sender = spawn.Pipe(duplex=False)
                process: BaseProcess = spawn.Process(target=_rank, args=(work, group, rank, port, sender))
                process.start()
                sender.close()  # its end is then the end of the process
                ranks[receiver] = process
        yield ranks
        for process in ranks.values():
            process.join(_PATIENCE_SECONDS)
    finally:
        _end(ranks)


def _end(ranks: dict[Connection, BaseProcess]) -> None:
    """Nothing of the group is left."""
    for process in ranks.values():
        process.terminate()
    for receiver, process in ranks.items():
        process.join(_PATIENCE_SECONDS)
        if process.is_alive():
            process.kill()
            process.join(_PATIENCE_SECONDS)
        receiver.close()


def _messages(ranks: dict[Connection, BaseProcess], title: str) -> Iterator[_Said | _Ended]:
    """What all processes say until the last has ended. Errors come before those that follow from them, whatever order
    they are heard in: when one process fails the others lose their connection to it."""
    left, until = dict(ranks), float("inf")
    last_words: set[Connection] = set()
    unnamed: dict[Connection, tuple[float, str]] = {}  # when and why, of what is no error on purpose
    while left:
        ready = wait(list(left), min(_SILENCE_SECONDS, max(0.0, until - time.monotonic())))
        if not ready and not unnamed:
            raise WorkerStuckError(
                f"{title}: the training processes said nothing for {_SILENCE_SECONDS:.0f} s; the last checkpoint is "
                f"kept. Give the command again, or with {_fewer(title)}"
            )
        if not ready:
            break
        for receiver in [r for r in left if r in ready]:
            try:
                message = receiver.recv()
            except EOFError:
                process = left.pop(receiver)
                process.join(_PATIENCE_SECONDS)
                if receiver in last_words:  # how it ended after them says nothing
                    continue
                if process.exitcode and process.exitcode < 0:
                    raise WorkerDiedError(
                        f"{title}: a training process was ended by signal {-process.exitcode}, most often because "
                        "memory ran out; the last checkpoint is kept. Give the command again with fewer: "
                        f"{_fewer(title)}"
                    ) from None
                if process.exitcode:  # whoever loses a connection says so
                    unnamed[receiver] = (0.0, f"it ended with exit code {process.exitcode}; see above")
                    until = min(until, time.monotonic() + _PATIENCE_SECONDS)
                continue
            if not isinstance(message, _Said):
                last_words.add(receiver)
            if not isinstance(message, _Failed):
                yield message
            elif message.kind is not None:
                raise message.kind(message.message)
            else:
                unnamed[receiver] = (message.when, message.message)
                until = min(until, time.monotonic() + _PATIENCE_SECONDS)
    if unnamed:
        raise RuntimeError(f"{title}: a training process failed:\n{min(unnamed.values())[1]}")


def _rank(work: Work, group: Group, rank: int, port: int, connection: Connection) -> None:
    """The life of one process. It leaves at once after its last words: on the interpreter's way out threads of gloo
    that wait for a rank that is gone may end it by a signal."""
    follow_parent()
    try:
        store = distributed.TCPStore(_HOST, port, is_master=False)
        with member(store, rank, group.processes, group.device, group.threads, gpu=rank):
            work((lambda what: connection.send(_Said(what))) if rank == 0 else (lambda what: None))
        connection.send(_Ended(os.getpid(), peak_memory()))
        _leave(0)
    except Exception as error:
        when = time.monotonic()
        said = told(error, f"rank {rank}")
        connection.send(_Failed(type(error) if said["kind"] else None, said["text"], when))
        _leave(1)


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
