"""One node of a plan as a piece of work that can be sent to another process and tried again."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

from data_contracts.errors import ContractError
from data_contracts.store import Artefact, Store
from wsis.engine.passing import may_pass
from wsis.engine.progress import Progress
from wsis.engine.settings import Execution
from wsis.engine.stage import Outcome, execute
from wsis.readers.formats.coco_file import ReadFiles, take_files_read
from wsis.runs.plan import Node

OpenArtefact = Callable[[str, str], Artefact]
Send = Callable[[Callable[[Progress], Any], str, Progress, float], Any]
"""`wsis.engine.stage_process.StageProcesses.do`."""
Do = Callable[["NodeWork", str, Progress], "Ran"]


_TRIES = 3
_FIRST_PAUSE_SECONDS = 5.0  # before the second try; four times as long before the next


@dataclass(frozen=True)
class Ran:
    """Result of a node that can be pickled: the fingerprint of its artefact and the other fields of
    `wsis.engine.stage.Outcome`."""

    fingerprint: str
    reused: bool
    wall_seconds: float
    waited_seconds: float


@dataclass(frozen=True)
class NodeWork:
    """A node with all that its execution needs.

    Attributes:
        inputs: input name -> stage and fingerprint.
        store: location of the store.
        place: said when the stage starts, see `Progress.place`.
        content: see `wsis.engine.stage.execute`.
        files_read: what the sending process has read of large COCO files, so that each is read once a run.
    """

    node: Node
    inputs: Mapping[str, tuple[str, str]]
    store: str
    seed: int
    execution: Execution
    place: str = ""
    force: bool = False
    content: str | None = None
    files_read: ReadFiles = ()

    def __call__(self, progress: Progress) -> Ran:
        """Execute it with a store and inputs that this process keeps open.

        Raises: as `wsis.engine.stage.execute`.
        """
        shelf = _shelf(self.store)
        take_files_read(self.files_read)
        try:
            done = self.execute(shelf.store, shelf.open, progress)
            return Ran(done.artefact.fingerprint, done.reused, done.wall_seconds, done.waited_seconds)
        except ContractError:
            shelf.opened.clear()  # what is damaged must be looked at again
            raise

    def execute(self, store: Store, open_artefact: OpenArtefact, progress: Progress) -> Outcome:
        """Execute it in this process."""
        progress.place = lambda: self.place
        return execute(
            self.node.stage,
            self.node.config,
            {name: open_artefact(*at) for name, at in self.inputs.items()},
            store,
            seed=self.seed,
            outer_iteration=self.node.outer_iteration,
            execution=self.execution,
            progress=progress,
            force=self.force,
            content=self.content,
            name=self.node.name,
        )


@dataclass
class _Shelf:
    """A store and the artefacts that this process has opened. Opening hashes an artefact, so it is done once."""

    store: Store
    opened: dict[tuple[str, str], Artefact] = field(default_factory=dict)

    def open(self, stage: str, fingerprint: str) -> Artefact:
        if (stage, fingerprint) not in self.opened:
            self.opened[stage, fingerprint] = self.store.open(stage, fingerprint)
        return self.opened[stage, fingerprint]


@cache
def _shelf(location: str) -> _Shelf:
    return _Shelf(Store(location))


def retried(send: Send, execution: Execution, warn: Callable[[str], None]) -> Do:
    """A function that sends a node to another process, and again after a pause if the error may be temporary.

    Args:
        warn: gets a line before each further try.
    """

    def do(work: NodeWork, title: str, progress: Progress) -> Ran:
        seconds = execution.timeouts.get(work.node.stage.name, float("inf"))
        pause = _FIRST_PAUSE_SECONDS
        for _ in range(_TRIES - 1):
            try:
                return cast(Ran, send(work, title, progress, seconds))
            except Exception as error:
                if not may_pass(error):
                    raise
                warn(f"{error}; {title} is tried again in {pause:.0f} s")
            time.sleep(pause)
            pause *= 4
        return cast(Ran, send(work, title, progress, seconds))

    return do
