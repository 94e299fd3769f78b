"""What is said of the objects of an image whose masks a person has given: they are certain.

Suffix legend: N masks, S superpixels.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from wsis.method.conditional.graph import ProposalGraph
from wsis.method.dissimilarity.object_marks import ObjectMark
from wsis.method.dissimilarity.targets import Targets, one_hot_targets


class GivenLabels:
    """The objects of one image.

    Args:
        graph: of the proposals.
        labels: int32 [N], classes 1..C.
        membership: bool [N, S], superpixels of each mask.
    """

    def __init__(
        self, graph: ProposalGraph, labels: NDArray[np.integer], membership: NDArray[np.bool_]
    ) -> None:
        self.graph, self.labels, self.membership = graph, labels, membership

    def targets(self, num_classes: int) -> Targets:
        """y_p: each mask, with certainty."""
        labels = torch.from_numpy(self.labels.astype(np.int64))
        return one_hot_targets(labels, torch.from_numpy(self.membership).float(), num_classes)

    def marks(self) -> list[ObjectMark]:
        """A mark a mask, at the largest of its superpixels."""
        inside = self.membership * self.graph.superpixel_areas.numpy()
        return [
            ObjectMark(int(label), (int(row.argmax()),))
            for label, row in zip(self.labels, inside, strict=True)
        ]
