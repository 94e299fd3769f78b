"""Walk a plan against a store: reuse what is intact, compute the rest, keep the run's record. No Prefect here."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from data_contracts.errors import (
    ArtefactMissingError,
    ContractError,
    CorruptArtefactError,
    origins,
)
from data_contracts.runs import (
    DataFacts,
    RunEntry,
    RunRecord,
    Status,
    check_run_name,
    load_run,
    now,
    save_run,
)
from data_contracts.store import Store
from wsis.engine.device import device_line, unfed_line, unused_gpu
from wsis.engine.progress import Progress
from wsis.engine.stage import Outcome
from wsis.engine.stage_process import StageProcesses
from wsis.readers.config import found_line
from wsis.readers.formats.coco_file import files_read
from wsis.runs.board import Board
from wsis.runs.config import RunConfig, stored_config
from wsis.runs.data_at_hand import changed_data, data_differences, data_is_away, data_now
from wsis.runs.durations import Durations
from wsis.runs.forecast import content_of_data, forecast
from wsis.runs.identity import refuse_differences, refuse_other_settings, setting_differences
from wsis.runs.node_work import NodeWork
from wsis.runs.plan import Node, check_ceiling, masks_line, missing_inputs, needed_for, plan, select
from wsis.runs.plan_checks import check_plan, check_planned, given_line
from wsis.runs.side_by_side import Walk, one_by_one, walk_of
from wsis.runs.turns import Turn, Turns
from wsis.runs.whereabouts import Whereabouts
from wsis.views.run import Run

_FIRST_STAGES = 2  # that need no other: their processes start while the data is looked at

Execute = Callable[[Node, Callable[[], Outcome]], Outcome]
"""Called for each node with a function that executes it; an orchestrator wraps its task around it."""


def _plainly(node: Node, work: Callable[[], Outcome]) -> Outcome:
    return work()


def _interruption(error: BaseException) -> BaseException | None:
    """Ctrl-C, or a signal as an orchestrator raises it, if that is what ended a run: MMEngine's bare `except` makes it
    an error of its own where it comes while a configuration is printed."""
    return next((one for one in origins(error) if not isinstance(one, Exception)), None)


class Runner(Run):
    """One run in one store, to be computed or gone on with.

    Attributes:
        share_done: gives the share of the expected time of `run` that is done, in [0, 1].

    Args:
        name: the run's name; an existing run goes on.
        config: None to use the stored run's.
        replace: an existing run that has computed something goes on although `config`, or its data, is another.
        masks_read: the files of `data.masks` were read and checked before, and what they hold was said.

    Raises:
        ConfigError: bad run name; or the run is of another configuration, with what differs.
        ArtefactMissingError: no config is given and there is no such run.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        config: RunConfig | None = None,
        config_name: str = "",
        progress: Progress | None = None,
        replace: bool = False,
        masks_read: bool = False,
    ) -> None:
        self.progress, self._replace, self._masks_read = progress or Progress(), replace, masks_read
        self._entering = threading.Lock()
        self._places: dict[str, int] = {}  # key of a node -> its place in the plan
        self.share_done: Callable[[], float] = float  # of a run that has not begun
        check_run_name(name)
        self._known: tuple[Any, ...] | None = None  # what the name stood for when it was last looked at
        super().__init__(store, self._record(store, name, config, config_name))
        self.config = config or stored_config(self.record)

    def _save(self) -> None:
        """The record into the store.

        Raises:
            ConfigError: another process has meanwhile begun a run of this name with other settings or data.
        """
        save_run(self.store, self.record, self._agree)
        self._known = _standing(self.record)

    def _agree(self, there: RunRecord) -> None:
        if _standing(there) in (self._known, _standing(self.record)):
            return
        refuse_differences(
            self.record.name,
            [
                *setting_differences(stored_config(there), self.config),
                *changed_data(there.data, self.record.data),
            ],
        )

    def _record(self, store: Store, name: str, config: RunConfig | None, config_name: str) -> RunRecord:
        """The run's record, of `config` if there is one. A damaged record is then made anew: it is an index."""
        try:
            record = load_run(store, name)
            self._known = _standing(record)
        except (ArtefactMissingError, CorruptArtefactError) as error:
            if config is None:
                raise
            if isinstance(error, CorruptArtefactError):
                self.progress.log(f"{error}; it is written anew, the artefacts are found again")
            record = RunRecord(name=name, config_name=config_name, config={}, created=now())
        if config is not None:
            begun = self._known is not None and record.status == "running"  # by another process, or killed
            if (record.entries or begun) and not self._replace:
                refuse_other_settings(name, stored_config(record), config)
            record.config = config.model_dump(mode="json")
            record.config_name = config_name or record.config_name
        return record

    def run(
        self,
        wrap: Execute = _plainly,
        after: Callable[[Node, Outcome], None] | None = None,
        until: str | None = None,
        walk: Walk | None = None,
    ) -> RunRecord:
        """Execute the whole plan, or the part of it that one node needs.

        The run is recorded once it can begin: one that is refused leaves no record, or the one it had as it was.

        Args:
            wrap: called as wrap(node, execute) for each node; with a `walk` of several threads, in any of them.
            after: called with each node and its outcome, by one thread at a time.
            walk: how the plan is walked. None: side by side within `execution.cores`; with one core one node after the
                other, in this process.
            until: key of a node, `pseudo_labels@1`; the run is then "interrupted", and goes on when it is run.

        Raises:
            ConfigError: it cannot run as configured; or the run was made from other data, with what differs.
            DataError: the data is not at hand, and what the run needs of it is not in the store; or it is wrong.
            ClusterError: no scheduler is there.
        """
        walk = walk or walk_of(self.config.execution)
        with StageProcesses(NodeWork) as processes:
            if walk is not one_by_one and self.record.status != "completed":
                processes.begin(min(_FIRST_STAGES, self.config.execution.cores))
            nodes, data = self.prepare()
            chosen = nodes if until is None else needed_for(nodes, until)
            where = self._whereabouts(nodes, chosen, data)
            self._begin(nodes, data, where)
            try:
                began = time.monotonic()
                where.expect()
                self.record.overhead_seconds += time.monotonic() - began
                turns = Turns(chosen, self.config.execution, where, walk, processes, self._warn)
                # they end, and what they have to keep is kept, before the run is said to have ended
                with processes, Board(self, self.config, self.progress.log, self._warn) as board:
                    self._take_turns(turns, chosen, data, wrap, [board] if after is None else [board, after])
            except BaseException as error:
                signal = _interruption(error)
                if signal is None:
                    self._status("failed", f"{type(error).__name__}: {error}")
                    raise
                self._status("interrupted")
                raise signal from None
        self._status("completed" if len(chosen) == len(nodes) else "interrupted")
        return self.record

    def _whereabouts(self, nodes: list[Node], chosen: list[Node], data: DataFacts) -> Whereabouts:
        durations = Durations.of_run(self.store, self.config, data, nodes)
        return Whereabouts(
            self.store, chosen, forecast(nodes, self.config, data), durations, self.config.execution
        )

    def _begin(self, nodes: list[Node], data: DataFacts, where: Whereabouts) -> None:
        where.reach_cluster()
        self.record.data = data
        self._places = {node.key: place for place, node in enumerate(nodes)}
        self._forget_what_is_not_planned(nodes, data)
        self._status("running")
        self.share_done = where.share_done

    def prepare(self) -> tuple[list[Node], DataFacts]:
        """The plan of the run and its data, after every check that can be made before the first stage; writes nothing.

        Raises: as `run`.
        """
        data = data_now(self, self.config, self.progress.log)
        if not self._replace:
            refuse_differences(self.record.name, data_differences(self, data), of_data=True)
        nodes = plan(self.config, data)
        is_here = not data_is_away(self.record, self.config)
        source = check_plan(nodes, self.config, data, is_here, self.store.root, self._warn)
        given = None if source is None or self._masks_read else given_line(self.config, source)
        found = found_line(self.config.data) if is_here else None
        for said in filter(None, (found, masks_line(self.config, data), given)):
            self.progress.log(said)
        self.progress.log(device_line(self.config.execution.torch_device()))
        if line := unfed_line(self.config.execution):
            self.progress.log(line)
        if self.config.execution.device == "auto" and (why := unused_gpu()):
            self._warn(f"{why}; the run goes on the CPU")
        return nodes, data

    def run_stage(
        self,
        name: str,
        iteration: int | None = None,
        overrides: tuple[str, ...] = (),
        force: bool = False,
        wrap: Execute = _plainly,
    ) -> list[tuple[Node, Outcome]]:
        """Execute one stage alone from the stored artefacts of this run.

        Overrides stay in the run's record, so that the next run of the flow uses them too.
        """
        before = self.config.data
        if overrides:
            self.config = stored_config(self.record, overrides)
            self.record.config = self.config.model_dump(mode="json")
        asked = select(plan(self.config.model_copy(update={"evaluate": True})), name, iteration)
        check_planned(asked, plan(self.config), self.config)
        of_data = any(n.stage.config is type(self.config.data) for n in asked)
        if of_data or self.record.data is None or self.config.data != before:
            self.record.data = data_now(self, self.config, self.progress.log)
        check_ceiling(self.config, self.record.data)
        nodes = plan(self.config, self.record.data)
        check_planned(asked, nodes, self.config)
        self._places = {node.key: place for place, node in enumerate(nodes)}
        chosen = select(nodes, name, iteration)
        if iteration is None and chosen[0].outer_iteration is not None:
            chosen = [n for n in chosen if n.key in self.record.entries] or chosen[:1]
        for node in chosen:
            missing_inputs(node, self.record.entries.__contains__, self.name)
        return [(node, self._execute(node, wrap, force)) for node in chosen]

    def _take_turns(
        self,
        turns: Turns,
        nodes: Sequence[Node],
        data: DataFacts,
        wrap: Execute,
        listeners: Sequence[Callable[[Node, Outcome], None]],
    ) -> None:
        def execute(node: Node) -> Outcome:
            with turns.of(node) as turn:
                outcome = self._execute(node, wrap, content=content_of_data(node, data), turn=turn)
            with self._entering:
                made = outcome.artefact.manifest
                if outcome.reused:
                    turn.where.durations.recall(node, made)
                else:
                    turn.where.durations.learn(node, made.wall_seconds)
                for listener in listeners:
                    listener(node, outcome)
            return outcome

        turns.walk(nodes, execute, turns.stop)

    def _warn(self, message: str) -> None:
        self.progress.log(f"warning: {message}")

    def _forget_what_is_not_planned(self, nodes: list[Node], data: DataFacts) -> None:
        """Remove entries from the record that are not in the plan; their artefacts stay in the store."""
        planned: dict[str, str] = dict.fromkeys((n.key for n in nodes), "")
        if self._replace:  # what was made with the settings before must not stand beside what is made now
            planned = forecast(nodes, self.config, data)
        for key, entry in list(self.record.entries.items()):
            if planned.get(key) not in ("", entry.fingerprint):
                del self.record.entries[key]

    def _execute(
        self,
        node: Node,
        wrap: Execute,
        force: bool = False,
        content: str | None = None,
        turn: Turn | None = None,
    ) -> Outcome:
        """Execute a node, in this process or where its turn says, and enter it into the run's record."""
        start = time.monotonic()
        work = NodeWork(
            node,
            {
                name: (self.record.entries[key].stage, self.record.entries[key].fingerprint)
                for name, key in node.inputs.items()
            },
            self.store.location,
            self.config.seed,
            self.config.execution.on(None if turn is None else turn.cores),
            "" if turn is None else turn.where.said(node),
            force,
            content,
            () if content is None else files_read(),
        )

        def ran() -> Outcome:
            if turn is None or turn.do is None:
                return work.execute(self.store, self.opened, self.progress)
            if (found := turn.where.intact(node, self.opened)) is not None:
                return Outcome(found, True, 0.0, 0.0)
            done = turn.do(work, node.key, self.progress)
            artefact = self.store.open(node.stage.name, done.fingerprint, verify=False)
            return Outcome(artefact, done.reused, done.wall_seconds, done.waited_seconds)

        try:
            outcome = wrap(node, ran)
        except ContractError:
            self._opened.clear()
            raise
        with self._entering:
            self._enter(node, outcome)
            spent = time.monotonic() - start - outcome.wall_seconds - outcome.waited_seconds
            self.record.overhead_seconds += spent
            self._save()
        return outcome

    def _enter(self, node: Node, outcome: Outcome) -> None:
        """Into the record; entries stand in the order of the plan, whatever was ready first."""
        manifest = outcome.artefact.manifest
        self._opened[node.stage.name, manifest.fingerprint] = outcome.artefact
        self.record.entries[node.key] = RunEntry(
            stage=node.stage.name,
            outer_iteration=node.outer_iteration,
            fingerprint=manifest.fingerprint,
            reused=outcome.reused,
            finished=now(),
            wall_seconds=manifest.wall_seconds,
        )
        self.record.waited_seconds += outcome.waited_seconds
        places = self._places
        self.record.entries = dict(
            sorted(self.record.entries.items(), key=lambda e: places.get(e[0], len(places)))
        )
        self.progress.log(
            f"{node.key}: {'reused' if outcome.reused else 'committed'} {node.stage.name}/{manifest.fingerprint}"
        )

    def cancelled(self) -> None:
        """Record that what interrupted the run was its cancellation."""
        self._status("cancelled")

    def _status(self, status: Status, error: str | None = None) -> None:
        self.record.status, self.record.error = status, error
        self._save()


def _standing(record: RunRecord) -> tuple[Any, ...]:
    """What must stay the same under one name: the run's configuration and the content of its data."""
    return record.config, None if record.data is None else record.data.digests
