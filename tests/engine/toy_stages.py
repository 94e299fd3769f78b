"""Two small stages to kill: one writes records, one trains a network with dropout under Adam.

Run as a program it executes one of them: `python toy_stages.py STORE shards|training '{"config": "as JSON"}'`.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from data_contracts.records import RecordReader
from data_contracts.schemas import Field, Schema
from data_contracts.store import Store
from wsis.engine.per_image import read_failures, write_records
from wsis.engine.progress import Progress
from wsis.engine.stage import Artefact, Execution, Stage, StageConfig, StageContext, execute, execution_only
from wsis.engine.training import finish, run_steps
from wsis.engine.weight_selection import BestWeights
from wsis.errors import InputError

SCHEMA = Schema(
    "toy", 1, {"values": Field("float32", ("N", 3), "noise"), "name": Field("uint8", ("L",), "id")}
)
SHARD = 8
ALGORITHM_VERSION = int(os.environ.get("TOY_VERSION", "1"))  # of a worker with other code


class ShardConfig(StageConfig):
    images: int = 40
    scale: float = 1.0
    delay: float = execution_only(0.0)
    fail_at: str = execution_only("")


class Compute:
    """Records that depend on the id alone."""

    def __init__(self, config: ShardConfig) -> None:
        self.config = config

    def __call__(self, ids: Sequence[str]) -> Iterator[Mapping[str, np.ndarray]]:
        for image_id in ids:
            time.sleep(self.config.delay)
            if image_id == self.config.fail_at:
                raise RuntimeError(f"cannot read {image_id}")
            rng = np.random.default_rng(int(image_id[3:]))
            values = rng.normal(scale=self.config.scale, size=(int(rng.integers(0, 5)), 3)).astype(np.float32)
            yield {"values": values, "name": np.frombuffer(image_id.encode(), np.uint8)}


def run_shards(inputs: Mapping[str, Artefact], config: ShardConfig, context: StageContext) -> None:
    ids = [f"img{i:03d}" for i in range(config.images)]
    write_records(context, SCHEMA, ids, Compute(config), context.execution.workers, SHARD)
    context.counts["images"] = len(ids)


SHARDS = Stage("toy_shards", 1, ShardConfig, run_shards, (), "toy", optional=("a", "b"), per_image=True)


class DoubledConfig(StageConfig):
    tolerate: bool = False


class Doubled:
    """Records of another artefact, times two."""

    def __init__(self, records: RecordReader) -> None:
        self.records = records

    def __call__(self, ids: Sequence[str]) -> Iterator[Mapping[str, np.ndarray]]:
        for image_id in ids:
            one = self.records[image_id]
            if not len(one["values"]):
                raise InputError(f"{image_id}: nothing to double")
            yield {**one, "values": 2 * one["values"]}


def run_doubled(inputs: Mapping[str, Artefact], config: DoubledConfig, context: StageContext) -> None:
    records = inputs["shards"].records(SCHEMA)
    write_records(context, SCHEMA, records.ids, Doubled(records), 1, SHARD, config.tolerate)
    context.counts["failed"] = list(read_failures(context.workdir).values())


DOUBLED = Stage("toy_doubled", 1, DoubledConfig, run_doubled, ("shards",), "toy", per_image=True)


class TrainingConfig(StageConfig):
    steps: int = 60
    rate: float = 0.01
    patience: int = 0  # above 0: validates every 7 steps
    delay: float = execution_only(0.0)
    say: bool = execution_only(False)  # which step begins


def run_training(inputs: Mapping[str, Artefact], config: TrainingConfig, context: StageContext) -> None:
    torch.manual_seed(context.seed)
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 16),
        torch.nn.BatchNorm1d(16),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.3),
        torch.nn.Linear(16, 1),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=config.rate)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 7, 0.8)

    def step(i: int) -> dict[str, float]:
        if config.say:
            print(f"step {i}", file=sys.stderr, flush=True)
        time.sleep(config.delay)
        x = torch.randn(16, 8)  # from the global generator, which run_steps seeds for each step
        scale = float(np.random.rand())
        loss = (model(x) - scale * x.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        return {"loss": loss.item(), "rate": schedule.get_last_lr()[0]}

    fixed = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def validate() -> list[float]:
        model.eval()
        values = (model(fixed) - fixed.sum(1, keepdim=True)).square().mean(1).tolist()
        model.train()
        return values

    best = BestWeights(model, validate, every=7, patience=config.patience) if config.patience else None
    state = {"model": model, "optimizer": optimizer, "schedule": schedule}
    run_steps(context, state, config.steps, step, log_every=3, best=best)
    finish(context, model.state_dict())


TRAINING = Stage("toy_training", 1, TrainingConfig, run_training, (), "weights")


def main() -> None:
    store, which, changes = sys.argv[1:4]
    stage = {"shards": SHARDS, "training": TRAINING}[which]
    tree = json.loads(changes)
    execution = Execution(threads=1, **tree.pop("execution", {}))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the `wsis` command does
    try:
        execute(stage, stage.config(**tree), {}, Store(store), execution=execution, progress=Progress())
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
