"""Batches of the training loop: made in this process, or ahead by worker processes."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from mmengine.dataset import pseudo_collate

from wsis.method.prediction.data.batches import StatelessBatchSampler
from wsis.method.prediction.data.dataset import PseudoLabelDataset, SampleKey
from wsis.worker_processes import Patience, WorkerPool

_AHEAD = 2  # batches a worker
_BATCH_SECONDS = (
    300.0  # a batch takes well under a second, the first one some more: workers import MMDetection
)
_PATIENCE = Patience("training data", _BATCH_SECONDS, "--set prediction.data_workers=0")


@dataclass(frozen=True)
class BatchLoader:
    """The samples of a sampler's batches, collated; what it gives does not depend on the number of workers.

    Attributes:
        workers: processes that prepare batches ahead; 0: this one prepares each when it is wanted.
    """

    dataset: PseudoLabelDataset
    batch_sampler: StatelessBatchSampler
    workers: int

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Generator[dict[str, Any], None, None]:
        """Close it when leaving early: its workers end then.

        Raises:
            InputError: as the data set. WorkerDiedError, WorkerStuckError, WorkerStartError: no batch comes.
        """
        make = _MakeBatch(self.dataset)
        if not self.workers:
            yield from map(make, self.batch_sampler)
            return
        with (
            WorkerPool(make, self.workers, _PATIENCE) as pool,
            closing(pool.map(self.batch_sampler, _AHEAD * self.workers)) as batches,
        ):
            yield from batches


@dataclass(frozen=True)
class _MakeBatch:
    """The keys of a batch -> the batch, as MMDetection's data preprocessor takes it."""

    dataset: PseudoLabelDataset

    def __call__(self, keys: list[SampleKey]) -> dict[str, Any]:
        batch: dict[str, Any] = pseudo_collate([self.dataset[key] for key in keys])
        return batch
