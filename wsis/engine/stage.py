"""What a stage is, and how one is executed: reuse, lock, resume, run, check, commit."""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from data_contracts.atomic import full_disk_named, write_atomic
from data_contracts.errors import LeaseLostError
from data_contracts.fingerprint import SCHEMA_VERSION, fingerprint
from data_contracts.leases import Alone
from data_contracts.manifest import Manifest, Parent
from data_contracts.record_shards import SHARDS_HERE
from data_contracts.runs import now
from data_contracts.store import Artefact, Store
from wsis.engine.device import computing, device_facts
from wsis.engine.gpu_memory import gpu_memory_named
from wsis.engine.machine import cpu_seconds, environment, peak_memory, reset_peak_memory
from wsis.engine.progress import Progress
from wsis.engine.settings import Execution, StageConfig, execution_only
from wsis.engine.stage_context import Cluster, StageContext
from wsis.engine.stage_counts import plain_count
from wsis.engine.stage_inputs import Reads, intact, remove_empty
from wsis.engine.threads import arithmetic_threads

__all__ = [
    "Artefact",
    "Execution",
    "Outcome",
    "Stage",
    "StageConfig",
    "StageContext",
    "execute",
    "execution_only",
    "identify",
]

CHECKPOINT_NAME = "checkpoint.pt"
"""File of a work folder from which a training goes on."""
_TIMING = "timing.json"
_SAVED = (CHECKPOINT_NAME, SHARDS_HERE)
_LOGGER = logging.getLogger("wsis.stages")


Run = Callable[[Mapping[str, Artefact], Any, StageContext], None]


@dataclass(frozen=True)
class Stage:
    """A stage: a pure function from artefacts and configuration to one artefact.

    Attributes:
        version: raised whenever the code changes the result (ALGORITHM_VERSION).
        inputs: names of required input artefacts; `optional` may be absent.
        contract: schema of its records, or another name for what it holds ("weights", "metrics").
        supervision: sources of labels the stage itself adds, from its config.
        content_digest: digest of external content that the stage reads.
        check: fails early on a configuration that cannot run here (missing weights, too few devices).
        seeded: false for a stage that draws nothing at random: runs of several seeds share its artefact.
        threaded: its arithmetic uses `execution.threads`, as that of trainings does. Any other uses one thread, in
            this process as in workers, so that no number of either decides its result.
        per_image: its work is spread over `execution.workers` processes.
        prepared_ahead: the others of these processes prepare its steps.
        on_device: it computes on `execution.device`.
        less_gpu_memory: the settings that take less of a GPU's memory, in words that follow "use".
    """

    name: str
    version: int
    config: type[StageConfig]
    run: Run
    inputs: tuple[str, ...]
    contract: str
    optional: tuple[str, ...] = ()
    supervision: Callable[[Any], Sequence[str]] = lambda config: ()
    content_digest: Callable[[Any], str] | None = None
    check: Callable[[Any, Execution], None] | None = None
    seeded: bool = True
    threaded: bool = False
    per_image: bool = False
    prepared_ahead: bool = False
    on_device: bool = False
    less_gpu_memory: str = "--set execution.workers=1"

    def __reduce__(self) -> tuple[Callable[[str], "Stage"], tuple[str]]:
        return _stage_of, (self.run.__module__,)

    def on_gpu(self, execution: Execution) -> bool:
        """Whether it computes on a GPU."""
        return self.on_device and execution.torch_device().type == "cuda"

    def threads(self, execution: Execution) -> int:
        """Threads of its arithmetic."""
        return execution.threads if self.threaded else 1

    def deciding_threads(self, execution: Execution) -> int:
        """The part of them that decides the result: all on the CPU; on a GPU it does not, and 1 stands for any."""
        return self.threads(execution) if execution.torch_device().type == "cpu" else 1


def _stage_of(module: str) -> Stage:
    """The stage of a module; its functions cannot be sent to another process, its name can."""
    stage: Stage = import_module(module).STAGE
    return stage


@dataclass(frozen=True)
class Outcome:
    """The artefact of an executed stage, whether it was there already, what this call spent on it, and how long it
    waited for another process that was making the same one."""

    artefact: Artefact
    reused: bool
    wall_seconds: float
    waited_seconds: float


def execute(
    stage: Stage,
    config: StageConfig,
    inputs: Mapping[str, Artefact],
    store: Store,
    seed: int = 0,
    outer_iteration: int | None = None,
    execution: Execution | None = None,
    progress: Progress | None = None,
    force: bool = False,
    content: str | None = None,
    name: str | None = None,
) -> Outcome:
    """Give the stage's artefact: the stored one if it is intact, else compute and commit it.

    A damaged artefact is set aside and recomputed. Two processes at the same artefact: the second waits,
    says who holds it, and reuses the result.

    Args:
        content: what `stage.content_digest` gives, from a caller who has just computed it.
        name: what it is called in lines, as the node of a run that it is; None: as the stage.

    Raises:
        ConfigError: this machine cannot execute like that (`Execution.check`).
        ValueError: a required input is missing from `inputs` or an unknown one is given.
        StoreError, DataError, WsisError: as the stage raises; what it had committed stays for the next try.
    """
    execution, progress = execution or Execution(), progress or Progress()
    execution.check()
    unknown = set(inputs) - set(stage.inputs) - set(stage.optional)
    missing = set(stage.inputs) - set(inputs)
    if unknown or missing:
        raise ValueError(f"stage {stage.name}: unknown inputs {sorted(unknown)}, missing {sorted(missing)}")
    if content is None and stage.content_digest is not None:
        content = stage.content_digest(config)
    if not stage.seeded:
        seed = 0  # in its context too, so that it could not use the run's
    parents = {name: a.fingerprint for name, a in inputs.items()}
    identity = identify(stage, config, parents, seed, outer_iteration, content, execution)
    _LOGGER.debug(
        "%s/%s: parents %s, seed %d, content %s",
        stage.name,
        identity,
        parents,
        seed,
        (content or "none")[:12],
    )
    made = _Making(
        stage,
        config,
        inputs,
        store,
        seed,
        outer_iteration,
        execution,
        progress,
        force,
        content,
        name or stage.name,
        identity,
    )
    while True:
        try:
            return made.outcome()
        except LeaseLostError as error:
            progress.log(f"{error}; its artefact is waited for")


@dataclass(frozen=True)
class _Making:
    """One artefact to be had; fields as the arguments of `execute`, with defaults filled in.

    Attributes:
        identity: its fingerprint.
    """

    stage: Stage
    config: StageConfig
    inputs: Mapping[str, Artefact]
    store: Store
    seed: int
    outer_iteration: int | None
    execution: Execution
    progress: Progress
    force: bool
    content: str | None
    name: str
    identity: str

    def outcome(self) -> Outcome:
        """The artefact, once this process has its lock: the stored one, or a new one."""
        stage, store, identity = self.stage, self.store, self.identity
        asked = time.monotonic()
        # a training has no shards that several machines could make: one trains, and the others wait for it
        alone = Alone(CHECKPOINT_NAME, again=self.force) if stage.threaded else None
        with store.writing(stage.name, identity, self.progress.log, alone) as work:
            waited = time.monotonic() - asked
            if not self.force and (found := intact(store, stage.name, identity, self.progress)):
                remove_empty(work)
                return Outcome(found, True, 0.0, waited)
            context = self._context(work)
            began = time.monotonic()
            timing = self._run(context)
            spent = time.monotonic() - began
            if self.force:
                store.discard(stage.name, identity)
            artefact = store.commit(stage.name, identity, work, self._manifest(context, timing))
            store.sweep(stage.name, identity)
        return Outcome(artefact, False, spent, waited)

    def _context(self, work: Path) -> StageContext:
        stage, store, execution = self.stage, self.store, self.execution
        context = StageContext(
            work,
            self.seed,
            self.outer_iteration,
            execution,
            self.progress,
            self.name,
            Reads.of(store, self.inputs),
        )
        context.check_owner = partial(store.check_owner, stage.name, self.identity)
        if stage.per_image and execution.cluster is not None:
            resources = {"GPU": 1.0} if stage.on_gpu(execution) else {}
            context.cluster = Cluster(execution.cluster, store, stage.run.__module__, resources)
        on_cluster = context.cluster is not None
        if (
            on_cluster or not self.force
        ):  # `force` takes nothing that is there; a cluster commits its shards anew
            context.shared = store.shared_shards(stage.name, self.identity, on_cluster, self.force)
        return context

    def _run(self, context: StageContext) -> dict[str, float]:
        """Run the stage; wall and CPU seconds that it took, those of tries that were killed included."""
        stage, execution = self.stage, self.execution
        if stage.check is not None:
            stage.check(self.config, execution)
        reset_peak_memory()
        timing_file = context.workdir / _TIMING
        before = json.loads(timing_file.read_text()) if timing_file.exists() else {"wall": 0.0, "cpu": 0.0}
        wall, cpu = time.monotonic(), cpu_seconds()
        context.log(_beginning(context.workdir) + context.progress.place())
        on_device = computing(context.device, execution.deterministic, context.counts)
        named = gpu_memory_named(context.title, stage.less_gpu_memory)
        threads = arithmetic_threads(stage.threads(execution))
        try:
            with full_disk_named(context.workdir), threads, named, on_device:
                stage.run(self.inputs, self.config, context)
        finally:
            cpu_spent = before["cpu"] + cpu_seconds() - cpu + context.cluster_cpu_seconds
            spent = {"wall": before["wall"] + time.monotonic() - wall, "cpu": cpu_spent}
            write_atomic(timing_file, json.dumps(spent).encode())
        timing_file.unlink()
        context.log(f"done in {spent['wall']:.1f} s")
        return spent

    def _manifest(self, context: StageContext, timing: Mapping[str, float]) -> Manifest:
        stage, inputs = self.stage, self.inputs
        lineage = {source for a in inputs.values() for source in a.manifest.supervision}
        lineage.update(stage.supervision(self.config))
        return Manifest(
            schema_version=SCHEMA_VERSION,
            stage=stage.name,
            algorithm_version=stage.version,
            fingerprint=self.identity,
            contract=stage.contract,
            outer_iteration=self.outer_iteration,
            seed=self.seed,
            config=self.config.identity(),
            content=self.content,
            parents={n: Parent(stage=a.manifest.stage, fingerprint=a.fingerprint) for n, a in inputs.items()},
            supervision=sorted(lineage),
            counts={name: plain_count(name, value) for name, value in context.counts.items()},
            files={},
            wall_seconds=timing["wall"],
            cpu_seconds=timing["cpu"],
            peak_memory_bytes=peak_memory() + sum(context.worker_memory.values()),
            created=now(),
            code_version=metadata.version("wsis"),
            environment={
                **environment(),
                "threads": str(stage.threads(self.execution)),
                **(device_facts(context.device) if stage.on_device else {}),
            },
            threads=stage.deciding_threads(self.execution),
        )


def _beginning(work: Path) -> str:
    """Whether an earlier try left something to go on from: a checkpoint, or shards."""
    if any(path for name in _SAVED for path in work.glob(name)):
        return "goes on from what an earlier try left"
    return "starts again, an earlier try had saved nothing yet" if any(work.iterdir()) else "starts"


def identify(
    stage: Stage,
    config: StageConfig,
    parents: Mapping[str, str],
    seed: int,
    outer_iteration: int | None,
    content: str | None,
    execution: Execution,
) -> str:
    """The fingerprint of the artefact that `execute` gives.

    Args:
        parents: input name -> fingerprint.
        content: what `stage.content_digest` gives, None for a stage without.
    """
    return fingerprint(
        stage.name,
        stage.version,
        config.identity(),
        parents,
        seed if stage.seeded else 0,
        outer_iteration,
        content,
        stage.deciding_threads(execution),
    )
