"""Which images make up the batch of step i: a function of (seed, i) alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from mmengine.dataset import pseudo_collate
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.prediction.data.dataset import PseudoLabelDataset, SampleKey
from wsis.method.random_words import random_word


class BatchOrder:
    """The images of every step's batch.

    Every epoch visits every image once in a new order (the last batch is filled up from the epoch's first
    images). Landscape and portrait images are put in batches of their own where possible: mixed batches are
    padded to the square of both.

    Args:
        landscape: bool [N], whether each image is at least as wide as high.
        batch_size: images of one process's step.
        rank, world_size: this process's share of the global batch of `batch_size * world_size` images.
    """

    def __init__(
        self,
        landscape: Sequence[bool] | NDArray[np.bool_],
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not len(landscape) or batch_size < 1:
            raise InputError(
                f"batches: expected at least one image and batch size, got {len(landscape)} images, "
                f"batch size {batch_size}"
            )
        self._given = landscape, batch_size, seed, rank, world_size
        self.landscape = np.asarray(landscape, bool)
        self.batch_size, self.seed, self.rank, self.world_size = batch_size, seed, rank, world_size
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def __reduce__(self) -> tuple[Any, ...]:
        return BatchOrder, self._given

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
    return random_word(*key) >> 1


@dataclass(frozen=True)
class MakeBatches:
    """Step -> the parts of its batch that one process computes, each as MMDetection's data preprocessor takes it."""

    dataset: PseudoLabelDataset
    orders: Sequence[BatchOrder]

    def __call__(self, step: int) -> list[dict[str, Any]]:
        """Raises InputError as the data set."""
        return [pseudo_collate([self.dataset[key] for key in order.batch(step)]) for order in self.orders]
