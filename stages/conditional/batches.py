"""Which images a training step takes, and their problems: made in the step itself or ahead of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from stages.conditional.examples import Examples
from wsis.method.dissimilarity.objective import ImageProblem

_BATCH_STREAM = 1  # beside those of stages.conditional.training


@dataclass(frozen=True)
class Order:
    """Consecutive places in an endless row of seeded permutations of the images.

    Attributes:
        ids: of the images to learn from.
        batch_size: places of a step.
        key: seed and outer iteration.
    """

    ids: tuple[str, ...]
    batch_size: int
    key: tuple[int, int]

    def __call__(self, step: int) -> list[str]:
        """Ids of a step's images."""
        result = []
        for place in range(step * self.batch_size, (step + 1) * self.batch_size):
            epoch, position = divmod(place, len(self.ids))
            order = np.random.default_rng([*self.key, _BATCH_STREAM, epoch]).permutation(len(self.ids))
            result.append(self.ids[int(order[position])])
        return result


@dataclass(frozen=True)
class MakeProblems:
    """Step -> inputs of the network uint8 [3, h, w] and problems, of the images at `places` of its batch."""

    examples: Examples
    order: Order
    places: Sequence[int]

    def __call__(self, step: int) -> list[tuple[Tensor, ImageProblem]]:
        """Raises WsisError as `Examples.build`."""
        ids = self.order(step)
        return [self.examples.get(ids[place]) for place in self.places]
