"""What a running stage is given besides its inputs and configuration."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from data_contracts.atomic import write_atomic
from data_contracts.shards import SharedShards
from data_contracts.store import Store
from wsis.engine.progress import Progress
from wsis.engine.scalars import Write, scalars
from wsis.engine.settings import Execution
from wsis.engine.stage_inputs import Reads, nobody_else


@dataclass(frozen=True)
class Cluster:
    """Whose workers make the shards of a stage, and what they are told.

    Attributes:
        address: of the scheduler.
        store: where the shards are committed, below `StageContext.shared`.
        stage_module: whose code decides the result.
        resources: what each shard takes of its worker.
    """

    address: str
    store: Store
    stage_module: str
    resources: Mapping[str, float]


@dataclass
class StageContext:
    """What a running stage is given besides inputs and configuration.

    Attributes:
        workdir: the folder to write into; the same one after a kill.
        reads: the stage's inputs, None where they lie in no store.
        check_owner: ends a training that another machine has taken over; to be called now and then.
        seed: the run's seed; derive every random stream from it and from the step or image.
        name: what the stage is called in lines, `predictions.val` in a run.
        counts: numbers and lists for the manifest. Derive them from what is written, not while computing:
            a resumed stage computes only what was missing.
        worker_memory: process id or address of each worker -> its peak resident bytes.
        shared: where other machines make shards of the same artefact, None in a folder.
        cluster: whose workers make the shards, None: this machine does.
        cluster_cpu_seconds: what they spent on them.
    """

    workdir: Path
    seed: int
    outer_iteration: int | None
    execution: Execution
    progress: Progress
    name: str
    reads: Reads | None = None
    check_owner: Callable[[], None] = nobody_else
    counts: dict[str, Any] = field(default_factory=dict)
    worker_memory: dict[int | str, int] = field(default_factory=dict)
    shared: SharedShards | None = None
    cluster: Cluster | None = None
    cluster_cpu_seconds: float = 0.0

    @property
    def title(self) -> str:
        """For progress lines, `predictions.val@2`."""
        return self.name if self.outer_iteration is None else f"{self.name}@{self.outer_iteration}"

    @property
    def device(self) -> torch.device:
        return self.execution.torch_device()

    def log(self, message: str) -> None:
        self.progress.log(f"{self.title}: {message}")

    def warn(self, message: str) -> None:
        """Say what harms the result, and what helps, in one line, and keep it in the manifest: the count `warnings`."""
        self.log(f"warning: {message}")
        self.counts.setdefault("warnings", []).append(message)

    def track(
        self, items: Iterable[Any], total: int, description: str = "", unit: str = "it"
    ) -> Iterable[Any]:
        return self.progress.track(items, total, f"{self.title} {description}".strip(), unit)

    def scalars(self, done: int) -> AbstractContextManager[Write]:
        """What a training writes to TensorBoard with, see `wsis.engine.scalars.scalars`."""
        return scalars(self.execution.tensorboard, self.workdir.name, self.title, done)

    def write_json(self, name: str, value: Any) -> None:
        """A small JSON file of the artefact."""
        write_atomic(self.workdir / name, json.dumps(value, indent=1, allow_nan=False).encode())
