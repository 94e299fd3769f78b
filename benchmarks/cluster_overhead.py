"""What a Dask cluster adds to a per-image stage, in CPU seconds a shard of 64, and two workers against one.

    PYTHONPATH=. OMP_NUM_THREADS=1 python benchmarks/cluster_overhead.py

Scheduler and workers are processes on loopback. An image takes `--seconds` of waiting in place of work, so that workers
need no core of their own, and gives a record of the size of a set of proposals. The CPU seconds are then overhead.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import psutil

from data_contracts.schemas import Field, Schema
from data_contracts.store import Artefact, Store
from tests.dask_processes import DaskProcesses
from wsis.engine.per_image import write_records
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, Stage, StageConfig, StageContext, execute

_BYTES = 29_000  # a set of proposals
SCHEMA = Schema("bench", 1, {"values": Field("uint8", ("N",), "noise")})


class Config(StageConfig):
    images: int
    seconds: float
    number: int  # another one is another artefact


@dataclass(frozen=True)
class Compute:
    """Waits, and gives noise."""

    seconds: float

    def __call__(self, ids: Sequence[str]) -> Iterator[Mapping[str, np.ndarray]]:
        for image_id in ids:
            time.sleep(self.seconds)
            yield {"values": np.random.default_rng(int(image_id)).integers(0, 256, _BYTES, np.uint8)}


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Write the records."""
    write_records(context, SCHEMA, [str(i) for i in range(config.images)], Compute(config.seconds))


STAGE = Stage("bench", 1, Config, run, (), "bench", per_image=True)


def measure(store: Store, config: Config, address: str | None, pids: Sequence[int]) -> tuple[float, float]:
    """Wall and CPU seconds, those of other processes included."""
    watched = [psutil.Process(), *map(psutil.Process, pids)]

    def cpu() -> float:
        return sum(sum(one.cpu_times()[:2]) for one in watched)

    began, before = time.monotonic(), cpu()
    stage = import_module("benchmarks.cluster_overhead").STAGE  # as the workers know it
    execution = Execution(threads=1, workers=1, device="cpu", cluster=address)
    execute(stage, config, {}, store, execution=execution, progress=Progress(quiet=True))
    return time.monotonic() - began, cpu() - before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=0.03)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    images = 64 * arguments.shards
    with tempfile.TemporaryDirectory() as folder, DaskProcesses(Path(folder)) as dask:
        store, number = Store(Path(folder, "store")), 0
        preload = ["--preload", "wsis.engine.cluster_work"]
        found: dict[str, list[tuple[float, float]]] = {"one process": [], "one worker": [], "two workers": []}
        for name, address in (
            ("one process", None),
            ("one worker", dask.address),
            ("two workers", dask.address),
        ):
            if address is not None:
                dask.start_worker(preload)
                measure(
                    store, Config(images=512, seconds=0, number=-len(dask.workers)), address, []
                )  # it is warm
            pids = [dask.scheduler.pid, *(worker.pid for worker in dask.workers)] if address else []
            for _ in range(arguments.repeats):
                number += 1
                config = Config(images=images, seconds=arguments.seconds, number=number)
                found[name].append(measure(store, config, address, pids))
    medians = {name: np.median(some, axis=0) for name, some in found.items()}
    plain = medians["one process"]
    print("| | wall s | CPU s | more CPU a shard, ms | of the work |\n|---|---:|---:|---:|---:|")
    for name, (wall, cpu) in medians.items():
        more = (cpu - plain[1]) / arguments.shards
        share = more / (64 * arguments.seconds)
        print(f"| {name} | {wall:.1f} | {cpu:.2f} | {1000 * more:.0f} | {100 * share:.1f} % |")
    print(
        f"two workers against one: {medians['one worker'][0] / medians['two workers'][0]:.2f} times as fast"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
