"""When a node of a run may begin, with how many cores, and in which process its work is done."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from wsis.engine.settings import Execution
from wsis.engine.stage_process import StageProcesses
from wsis.runs.node_work import Do, retried
from wsis.runs.plan import Node
from wsis.runs.side_by_side import Places, Walk, one_by_one
from wsis.runs.whereabouts import Whereabouts


@dataclass(frozen=True)
class Turn:
    """What a node is given when it may begin.

    Attributes:
        cores: for work on images; None: as `execution.workers` says.
        do: does the work in another process; None: the work is done in this one.
    """

    cores: int | None
    where: Whereabouts
    do: Do | None


class Turns:
    """Turns of the nodes of a run.

    Args:
        walk: how the plan is walked, see `wsis.runs.side_by_side.walk_of`.
        processes: do the work of a walk that is not one by one.
        warn: gets a line before a node is tried again.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        execution: Execution,
        where: Whereabouts,
        walk: Walk,
        processes: StageProcesses,
        warn: Callable[[str], None],
    ) -> None:
        self.walk = walk
        self._execution, self._where, self._warn = execution, where, warn
        # One by one there is nobody to share with: a place would be held for what is ready and comes later.
        self._beside = None if walk is one_by_one else (Places.of_run(nodes, execution), processes)
        self._stopping = False

    @contextmanager
    def of(self, node: Node) -> Iterator[Turn]:
        """Wait until a node may begin. After an error inside the block no other node begins.

        Raises:
            RunEndsError: another node failed, or the run is ended.
        """
        if self._beside is None:
            yield Turn(None, self._where, None)
            return
        places, processes = self._beside
        do = retried(processes.do, self._execution, self._warn)
        try:
            with places.taken(node.key) as cores:
                yield Turn(cores if self._execution.cores > 1 else None, self._where, do)
        except BaseException as error:
            places.close(error)
            raise

    def stop(self, error: BaseException) -> None:
        """Interrupt the nodes at work, as Ctrl-C does, and let no other begin; a second call kills them."""
        if self._beside is not None:
            places, processes = self._beside
            places.close(error)
            if self._stopping:
                processes.kill()
            self._stopping = True
            processes.stop()
