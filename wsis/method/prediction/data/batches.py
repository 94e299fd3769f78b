"""Which images make up the batch of step i: a function of (seed, i) alone."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from wsis.errors import InputError
from wsis.method.prediction.data.dataset import SampleKey


class StatelessBatchSampler(Sampler[list[SampleKey]]):
    """Batches of step `start`, `start + 1`, ... `total_steps - 1`.

    Every epoch visits every image once in a new order (the last batch is filled up from the epoch's first
    images). Landscape and portrait images are put in batches of their own where possible: mixed batches are
    padded to the square of both.

    Args:
        landscape: bool [N], whether each image is at least as wide as high.
        batch_size: images of one process's step.
        rank, world_size: this process's share of the global batch of `batch_size * world_size` images.

    Attributes:
        start: first step to give; set before iterating to resume.
    """

    def __init__(
        self,
        landscape: Sequence[bool] | NDArray[np.bool_],
        batch_size: int,
        total_steps: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not len(landscape) or batch_size < 1 or total_steps < 1:
            raise InputError(
                f"batches: expected at least one image, batch size and step, got {len(landscape)} images, "
                f"batch size {batch_size}, {total_steps} steps"
            )
        self.landscape = np.asarray(landscape, bool)
        self.batch_size, self.total_steps, self.seed = batch_size, total_steps, seed
        self.rank, self.world_size = rank, world_size
        self.start = 0
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def __len__(self) -> int:
        return self.total_steps - self.start

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for step in range(self.start, self.total_steps):
            yield self.batch(step)

    def batch(self, step: int) -> list[SampleKey]:
        """Images and augmentation seeds of one step on this process."""
        whole = self.batch_size * self.world_size
        epoch, number = divmod(step, -(-len(self.landscape) // whole))
        indices = self._epoch(epoch)[number]
        own = range(self.rank * self.batch_size, (self.rank + 1) * self.batch_size)
        return [SampleKey(int(indices[slot]), derived_seed(self.seed, step, slot)) for slot in own]

    def _shuffled(self, epoch: int) -> list[NDArray[np.intp]]:
        """All global batches of an epoch."""
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.landscape))
        size = self.batch_size * self.world_size
        batches, rest = [], []
        for kind in (True, False):
            group = order[self.landscape[order] == kind]
            whole = len(group) // size * size
            batches.extend(group[:whole].reshape(-1, size))
            rest.append(group[whole:])
        remainder = np.concatenate(rest)
        missing = -len(remainder) % size
        remainder = np.concatenate([remainder, np.resize(order, missing)])
        batches.extend(remainder.reshape(-1, size))
        return [batches[i] for i in rng.permutation(len(batches))]


def derived_seed(*key: int) -> int:
    """A seed in 0..2^63-1 from a tuple of integers."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
