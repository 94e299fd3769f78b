"""Which node of a plan may begin when: after its inputs, and within the cores and GPUs that a run may use.

Whoever drives the plan (threads here, Prefect's task runner in a flow) asks in any order; this decides. Of the nodes
that are ready those come first on which most others wait, one after another.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from data_contracts.printable import one_line
from wsis.engine.device import turns_of_gpus
from wsis.engine.settings import Execution
from wsis.engine.stage import Outcome
from wsis.errors import RunEndsError
from wsis.runs.plan import Node

Execute = Callable[[Node], Outcome]
Stop = Callable[[BaseException], None]
Walk = Callable[[Sequence[Node], Execute, Stop], None]
"""Calls the first function with every node, each after its inputs; several at once if it likes. The second ends what is
at work, for a walk that is interrupted; called again, at once."""

_FEEDING = 8  # cores that prepare work as fast as a GPU takes it
_LATE_SECONDS = 5.0  # a node that is ready and that nobody begins holds no place after it


def side_by_side(execution: Execution) -> bool:
    """Whether stages run beside one another."""
    return execution.cores > 1


def walk_of(execution: Execution) -> Walk:
    """How a plan is walked where nobody else drives it: side by side where there are cores for it."""
    return all_at_once if side_by_side(execution) else one_by_one


def one_by_one(nodes: Sequence[Node], execute: Execute, _: Stop) -> None:
    """In the order of the plan, in this thread."""
    for node in nodes:
        execute(node)


def all_at_once(nodes: Sequence[Node], execute: Execute, stop: Stop) -> None:
    """A thread for each node, which waits for those of its inputs; `Places` decides which of them are at work.

    Raises:
        Exception: what the first node that fails raises; none begins after that, those at work go on to their end.
        KeyboardInterrupt, SystemExit: all end.
    """
    begun: dict[str, Future[Outcome]] = {}
    with ThreadPoolExecutor(max(1, len(nodes)), thread_name_prefix="node") as pool:
        try:
            for node in nodes:
                inputs = [begun[key] for key in node.inputs.values() if key in begun]
                begun[node.key] = pool.submit(_after, inputs, node, execute)
            wait(begun.values(), return_when=FIRST_EXCEPTION)
        except BaseException as error:
            stop(error)
            try:
                pool.shutdown()
            except BaseException as again:  # Ctrl-C a second time
                stop(again)
                raise
            raise
        for future in begun.values():
            future.cancel()  # does nothing to those at work
    for future in begun.values():
        if not future.cancelled() and not isinstance(future.exception(), CancelledError | RunEndsError):
            future.result()


def _after(inputs: Sequence[Future[Outcome]], node: Node, execute: Execute) -> Outcome:
    for future in inputs:
        future.result()
    return execute(node)


@dataclass(frozen=True)
class Demand:
    """Cores that a node needs at least and can use at most, its GPUs, and whether it works on images: that takes half
    the time on twice the cores."""

    cores: int
    most_cores: int
    gpus: int = 0
    on_images: bool = False


def demand(node: Node, execution: Execution) -> Demand:
    """Of a node: a training takes its threads in each of its processes, and a core to prepare steps if one is free
    (several for a GPU); work on images takes what is free, or a cluster's."""
    stage = node.stage
    if stage.per_image and execution.cluster is not None:
        return Demand(1, 1)  # it waits for others
    processes = int(getattr(node.config, "processes", 1))
    if stage.on_gpu(execution):
        if stage.per_image:
            gpus = len(turns_of_gpus(execution.torch_device()))
            return Demand(1, execution.workers, min(gpus, execution.workers), on_images=True)
        return Demand(1, max(1, min(_FEEDING * processes, execution.workers)), processes)
    threads = stage.threads(execution) * processes
    if stage.per_image:
        return Demand(threads, max(threads, execution.workers), on_images=True)
    return Demand(threads, min(2, execution.workers) if stage.prepared_ahead and threads == 1 else threads)


class Places:
    """Cores and GPUs of a run, and who has them. All methods may be called from any thread.

    Args:
        nodes: the plan; inputs that are not in it are there already.
        cores, gpus: how many there are. A node that needs more than all gets all.
    """

    def __init__(self, nodes: Sequence[Node], demands: Mapping[str, Demand], cores: int, gpus: int) -> None:
        self._nodes, self._cores, self._gpus = list(nodes), cores, gpus
        self._demands = {
            key: replace(
                d, cores=min(d.cores, cores), most_cores=min(d.most_cores, cores), gpus=min(d.gpus, gpus)
            )
            for key, d in demands.items()
        }
        self._rank = {key: place for place, key in enumerate(_most_awaited_first(nodes))}
        self._free_cores, self._free_gpus = cores, gpus
        self._begun: set[str] = set()
        self._done: set[str] = set()
        self._asked: set[str] = set()
        self._ready_since: dict[str, float] = {}
        self._closed: BaseException | None = None
        self._changed = threading.Condition()
        self._note_ready()

    @classmethod
    def of_run(cls, nodes: Sequence[Node], execution: Execution) -> "Places":
        """Those of this machine, as far as the run may use them."""
        on_cuda = execution.torch_device().type == "cuda"
        return cls(
            nodes,
            {node.key: demand(node, execution) for node in nodes},
            execution.cores,
            torch.cuda.device_count() if on_cuda else 0,
        )

    @contextmanager
    def taken(self, key: str) -> Iterator[int]:
        """Wait for a place for a node; gives how many cores it has inside the block. It is done when that ends well.

        Raises:
            RunEndsError: `close` was called before the place was free.
        """
        wanted = self._demands[key]
        with self._changed:
            self._asked.add(key)
            self._changed.notify_all()
            while (granted := self._granted(key)) is None:
                self._changed.wait(1.0)
            self._begun.add(key)
            self._free_cores -= granted
            self._free_gpus -= wanted.gpus
        try:
            yield granted
        except BaseException:
            self._give_back(key, granted, wanted.gpus, done=False)
            raise
        self._give_back(key, granted, wanted.gpus, done=True)

    def close(self, error: BaseException) -> None:
        """Nothing begins any more, for this reason."""
        with self._changed:
            self._closed = self._closed or error
            self._changed.notify_all()

    def _give_back(self, key: str, granted: int, gpus: int, done: bool) -> None:
        with self._changed:
            self._free_cores += granted
            self._free_gpus += gpus
            if done:
                self._done.add(key)
                self._note_ready()
            else:
                self._begun.discard(key)  # it may be tried again
            self._changed.notify_all()

    def _note_ready(self) -> None:
        inside = {node.key for node in self._nodes}
        for node in self._nodes:
            if all(key in self._done or key not in inside for key in node.inputs.values()):
                self._ready_since.setdefault(node.key, time.monotonic())

    def _granted(self, key: str) -> int | None:
        """Cores for a node now; None: it waits."""
        if self._closed is not None:
            raise RunEndsError(
                f"{key} was not begun: {one_line(self._closed) or type(self._closed).__name__}"
            )
        wanted, free, gpus, behind = self._demands[key], self._free_cores, self._free_gpus, 0
        for one in self._waiting():
            other = self._demands[one]
            if self._rank[one] > self._rank[key]:
                # a core is no use to what does not fit; and of two that scale, one with all the cores is ready sooner
                fits = wanted.cores + behind + other.cores <= free
                behind += other.cores if fits and not (wanted.on_images and other.on_images) else 0
            elif one != key:
                if other.cores <= free and other.gpus <= gpus:
                    taken = min(free, other.most_cores) if other.on_images else other.cores
                    free, gpus = free - taken, gpus - other.gpus
                elif wanted.on_images and other.cores > free:
                    return None  # it would keep for long the few cores that it gets now
        if free < wanted.cores or gpus < wanted.gpus:
            return None
        return max(wanted.cores, min(wanted.most_cores, free - behind))

    def _waiting(self) -> list[str]:
        """Nodes that are ready and have not begun, the most awaited first; one that nobody asks for does not count
        for long."""
        now = time.monotonic()
        ready = [
            key
            for key, since in self._ready_since.items()
            if key not in self._begun and (key in self._asked or now - since < _LATE_SECONDS)
        ]
        return sorted(ready, key=self._rank.__getitem__)


def _most_awaited_first(nodes: Sequence[Node]) -> list[str]:
    """Keys by the length of the longest chain of nodes that wait for them; among equals, in the order of the plan."""
    chain = dict.fromkeys((node.key for node in nodes), 0)
    for node in reversed(nodes):
        for key in node.inputs.values():
            if key in chain:
                chain[key] = max(chain[key], chain[node.key] + 1)
    return sorted(chain, key=lambda key: -chain[key])
