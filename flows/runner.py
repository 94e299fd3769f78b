"""Walk a plan against a store: reuse what is intact, compute the rest, keep the run's record. No Prefect here."""

import time
from collections.abc import Callable
from typing import Any

from data_contracts.errors import ArtefactMissingError, ConfigError, ContractError, CorruptArtefactError
from data_contracts.runs import RunEntry, RunRecord, check_run_name, load_run, now, save_run
from data_contracts.store import Artefact, Store
from flows.config import RunConfig, build_config
from flows.plan import Node, missing_inputs, plan, select
from stages.base import Outcome, execute
from stages.progress import Progress

Execute = Callable[[Node, Callable[[], Outcome]], Outcome]
"""Called for each node with a function that executes it; an orchestrator wraps its task around it."""


def _plainly(node: Node, work: Callable[[], Outcome]) -> Outcome:
    return work()


class Runner:
    """One run in one store.

    Args:
        name: the run's name; an existing run goes on, with `config` if it is given.
        config: None to use the stored run's.

    Raises:
        ConfigError: bad run name.
        ArtefactMissingError: no config is given and there is no such run.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        config: RunConfig | None = None,
        config_name: str = "",
        progress: Progress | None = None,
    ) -> None:
        self.store, self.progress = store, progress or Progress()
        check_run_name(name)
        self.record = self._record(name, config, config_name)
        self.config = config or build_config(self.record.config, f"run {name}")
        self._opened: dict[str, Artefact] = {}

    def _record(self, name: str, config: RunConfig | None, config_name: str) -> RunRecord:
        """The run's record, of `config` if there is one. A damaged record is then made anew: it is an index."""
        try:
            record = load_run(self.store, name)
        except (ArtefactMissingError, CorruptArtefactError) as error:
            if config is None:
                raise
            if isinstance(error, CorruptArtefactError):
                self.progress.log(f"{error}; it is written anew, the artefacts are found again")
            record = RunRecord(name=name, config_name=config_name, config={}, created=now())
        if config is not None:
            record.config = config.model_dump(mode="json")
            record.config_name = config_name or record.config_name
        return record

    def run(
        self, wrap: Execute = _plainly, after: Callable[[Node, Outcome], None] | None = None
    ) -> RunRecord:
        """Execute the whole plan.

        Args:
            wrap: called as wrap(node, execute) for each node.
            after: called with each node and its outcome.
        """
        self.config.execution.check()
        nodes = plan(self.config)
        for node in nodes:
            if node.stage.check is not None:
                node.stage.check(node.config, self.config.execution)
        stale = set(self.record.entries) - {n.key for n in nodes}
        for key in stale:
            del self.record.entries[key]
        self._status("running")
        try:
            for node in nodes:
                outcome = self._execute(node, wrap)
                if after is not None:
                    after(node, outcome)
        except KeyboardInterrupt:
            self._status("failed", "interrupted")
            raise
        except BaseException as error:
            self._status("failed", f"{type(error).__name__}: {error}")
            raise
        self._status("completed")
        return self.record

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
        if overrides:
            self.config = build_config(self.record.config, f"run {self.record.name}", overrides)
            self.record.config = self.config.model_dump(mode="json")
        chosen = select(plan(self.config), name, iteration)
        if iteration is None and chosen[0].outer_iteration is not None:
            chosen = [n for n in chosen if n.key in self.record.entries] or chosen[:1]
        for node in chosen:
            missing_inputs(node, self.record.entries.__contains__)
        return [(node, self._execute(node, wrap, force)) for node in chosen]

    def artefact(self, key: str, verify: bool = True) -> Artefact:
        """The artefact that this run used under a key, `pseudo_labels@1`.

        Raises:
            ConfigError: the run has no such key; names those it has.
            CorruptArtefactError: its files are damaged.
        """
        entry = self.record.entries.get(key)
        if entry is None:
            raise ConfigError(
                f"run {self.record.name} holds no {key!r}; it holds {', '.join(self.record.entries) or 'nothing yet'}"
            )
        return self.store.open(entry.stage, entry.fingerprint, verify)

    def latest(self, stage: str, iteration: int | None = None) -> Artefact:
        """The artefact of a stage of the outer loop: of one outer iteration, or of the last that has it.

        Raises:
            ConfigError: the run has none yet, or none of that iteration; names what it has.
            CorruptArtefactError: its files are damaged.
        """
        made = [e.outer_iteration or 0 for e in self.record.entries.values() if e.stage == stage]
        if not made:
            raise ConfigError(
                f"run {self.record.name} holds no {stage} yet; it holds "
                f"{', '.join(self.record.entries) or 'nothing'}: wsis run --name {self.record.name}"
            )
        return self.artefact(f"{stage}@{max(made) if iteration is None else iteration}")

    def _execute(self, node: Node, wrap: Execute, force: bool = False) -> Outcome:
        start = time.monotonic()
        inputs = {name: self._input(key) for name, key in node.inputs.items()}

        def work() -> Outcome:
            return execute(
                node.stage,
                node.config,
                inputs,
                self.store,
                seed=self.config.seed,
                outer_iteration=node.outer_iteration,
                execution=self.config.execution,
                progress=self.progress,
                force=force,
            )

        try:
            outcome = wrap(node, work)
        except ContractError:
            self._opened.clear()
            raise
        manifest = outcome.artefact.manifest
        self._opened[node.key] = outcome.artefact
        self.record.entries[node.key] = RunEntry(
            stage=node.stage.name,
            outer_iteration=node.outer_iteration,
            fingerprint=manifest.fingerprint,
            reused=outcome.reused,
            finished=now(),
            wall_seconds=manifest.wall_seconds,
        )
        self.progress.log(
            f"{node.key}: {'reused' if outcome.reused else 'committed'} {node.stage.name}/{manifest.fingerprint}"
        )
        self.record.waited_seconds += outcome.waited_seconds
        self.record.overhead_seconds += (
            time.monotonic() - start - outcome.wall_seconds - outcome.waited_seconds
        )
        save_run(self.store, self.record)
        return outcome

    def _input(self, key: str) -> Artefact:
        """Opened and hashed once a process: it is read-only afterwards, and every chunk carries a crc32c."""
        if key not in self._opened:
            entry = self.record.entries[key]
            self._opened[key] = self.store.open(entry.stage, entry.fingerprint)
        return self._opened[key]

    def _status(self, status: Any, error: str | None = None) -> None:
        self.record.status, self.record.error = status, error
        save_run(self.store, self.record)
