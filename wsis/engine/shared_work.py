"""One stage's work in several processes: what rank 0 says is said by the stage."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import distributed

from wsis.engine.process_group import Group, Send, run_in_processes
from wsis.engine.progress import Bar, Progress
from wsis.engine.stage import StageContext


def run_shared(work: Callable[[StageContext], None], context: StageContext, processes: int) -> None:
    """Call `work` with a stage's context in this process, or in each of several with a context of its own.

    Progress, log lines and counts of rank 0 become those of `context`. Rank 0 alone may write.

    Args:
        work: is pickled where there are several processes.

    Raises:
        As the work does, and as :func:`wsis.engine.process_group.run_in_processes`.
    """
    if processes == 1:
        work(context)
        return
    group = Group(processes, context.device.type, context.execution.threads, context.title)
    given = replace(context, progress=Progress(quiet=True), counts={}, worker_memory={})
    with ExitStack() as stack:
        bars: list[Bar] = []

        def hear(said: Any) -> None:
            if isinstance(said, _Opened):
                bars.append(stack.enter_context(context.progress.bar(*said.arguments)))
            elif isinstance(said, _Moved):
                bars[-1].update(said.number, said.notes)
            elif isinstance(said, _Counted):
                context.counts.update(said.counts)
            else:
                context.progress.log(said)

        run_in_processes(_OfARank(work, given), group, hear, context.worker_memory)


@dataclass(frozen=True)
class _OfARank:
    """The work in one process of the group."""

    work: Callable[[StageContext], None]
    context: StageContext

    def __call__(self, send: Send) -> None:
        execution = self.context.execution
        if distributed.get_rank() > 0:
            execution = execution.model_copy(update={"tensorboard": None})
        context = replace(self.context, execution=execution, progress=_Told(send))
        self.work(context)
        send(_Counted(context.counts))


@dataclass(frozen=True)
class _Opened:
    """A bar begins, of total, description, unit and units done before."""

    arguments: tuple[int, str, str, int]


@dataclass(frozen=True)
class _Moved:
    """More units are done; `notes` are shown beside."""

    number: int
    notes: Mapping[str, float] | None


@dataclass(frozen=True)
class _Counted:
    """Counts for the manifest."""

    counts: Mapping[str, Any]


class _Told(Progress):
    """Progress that is sent to the stage's process and shown there."""

    def __init__(self, send: Send) -> None:
        super().__init__(quiet=True)
        self._send = send

    def log(self, message: str) -> None:
        self._send(message)

    @contextmanager
    def bar(self, total: int, description: str, unit: str = "it", initial: int = 0) -> Iterator[Bar]:
        self._send(_Opened((total, description, unit, initial)))
        yield _ToldBar(self._send, total, description, unit, initial)


class _ToldBar(Bar):
    """A bar of it."""

    def __init__(self, send: Send, total: int, description: str, unit: str, initial: int) -> None:
        super().__init__(total, description, unit, initial, [], quiet=True)
        self._send = send

    def update(self, n: int = 1, notes: Mapping[str, float] | None = None) -> None:
        self._send(_Moved(n, notes))
