"""What is said of the objects of one image, by its seeds and by the last detections: as targets y_p and as marks.

Both need the groups of the seeds and the masks of the detections on the superpixels; they are computed once an image,
and only where something hangs on them.
"""

from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from wsis.method.conditional.graph import ProposalGraph
from wsis.method.dissimilarity.image_problem import ImageArrays
from wsis.method.dissimilarity.network_inputs import Record, targets_of_seeds
from wsis.method.dissimilarity.object_marks import ObjectMark, marks_of_detections, marks_of_groups
from wsis.method.dissimilarity.seed_groups import SeedGroup, group_seeds, superpixel_at
from wsis.method.dissimilarity.seed_targets import SeedTargetConfig
from wsis.method.dissimilarity.targets import (
    Targets,
    detections_of_boxes,
    join_targets,
    masks_from_detections,
    select_targets,
    targets_from_detections,
)
from wsis.method.masks.boxes import box_iou
from wsis.method.masks.network_detections import NetworkDetections
from wsis.method.prm.seeds import Seeds


class ImageLabels:
    """The objects of one image.

    Args:
        graph: of the proposals kept by the filter.
        arrays: the arrays that it was made of.
        dataset: record with `labels` and `size`.
        detections: of the prediction network on this image; None in outer iteration 1.
    """

    def __init__(
        self,
        graph: ProposalGraph,
        arrays: ImageArrays,
        dataset: Record,
        seeds: Seeds,
        detections: NetworkDetections | None,
    ) -> None:
        self.graph, self.arrays, self.dataset, self.seeds = graph, arrays, dataset, seeds
        self.size = (int(dataset["size"][0]), int(dataset["size"][1]))
        self.found = (
            None if detections is None else detections.take(np.isin(detections.labels, dataset["labels"]))
        )

    def targets(
        self, num_classes: int, config: SeedTargetConfig, undetected: Literal["seeds", "none"]
    ) -> Targets:
        """y_p: the seeds in outer iteration 1, then the prediction network's detections.

        Under image-level labels those of annotated classes; under boxes, for each box the one detection of its class
        that fits it.

        Args:
            undetected: what stands for an annotated class or box without a detection.

        Raises:
            InputError: see `seed_targets`.
        """
        if self.found is None:
            return self._seed_targets(num_classes, config)
        boxes, absent = self.arrays.boxes, None
        if len(boxes):
            overlap = box_iou(self.found.boxes, boxes)
            of_box = detections_of_boxes(
                self.found.labels, self.found.scores, overlap, self.arrays.box_labels
            )
            detected, absent = self._on_superpixels(self.found.take(of_box[of_box >= 0])), of_box < 0
            all_found = not bool(absent.any())
        else:
            detected = self._detected
            all_found = bool(np.isin(self.seeds.peaks[:, 0], self.found.labels).all())
        if undetected == "none" or all_found:
            return detected
        from_seeds = self._seed_targets(num_classes, config)
        if absent is None:
            absent = ~np.isin(from_seeds.probabilities.argmax(1).numpy(), self.found.labels)
        return join_targets(detected, select_targets(from_seeds, torch.from_numpy(absent)))

    def marks(self) -> list[ObjectMark]:
        """Where the objects are: at the seeds, or at the last detections where there are any of the class."""
        if self.found is None:
            return self._seed_marks()
        areas = self.graph.superpixel_areas
        detected = marks_of_detections(self.found.labels, self.found.scores, self._detected_masks, areas)
        seen = {mark.label for mark in detected}
        if seen.issuperset(self.seeds.peaks[:, 0].tolist()):
            return detected
        return detected + [mark for mark in self._seed_marks() if mark.label not in seen]

    def _seed_targets(self, num_classes: int, config: SeedTargetConfig) -> Targets:
        return targets_of_seeds(
            self.graph, self.arrays, self.dataset, self.seeds, num_classes, config, lambda: self._groups
        )

    def _seed_marks(self) -> list[ObjectMark]:
        return marks_of_groups(
            self._groups, superpixel_at(self.arrays.superpixels, self.seeds.peaks, self.size)
        )

    @cached_property
    def _groups(self) -> list[SeedGroup]:
        return group_seeds(
            self.graph,
            self.arrays.superpixels,
            self.seeds.peaks,
            superpixel_at(self.arrays.superpixels, self.seeds.peaks, self.size),
            self.seeds.class_response_maps,
            self.seeds.response_classes,
            self.size,
        )

    @cached_property
    def _detected(self) -> Targets:
        """The detections of annotated classes on the superpixels."""
        return self._on_superpixels(NetworkDetections.none(self.size) if self.found is None else self.found)

    @property
    def _detected_masks(self) -> Tensor:
        """Their masks, float32 [N, S]; where nothing is learned from them, without the costs."""
        if self.found is None or "_detected" in vars(self):
            return self._detected.masks
        found, areas = self.found, self.graph.superpixel_areas
        return masks_from_detections(found.boxes, found.masks, self.arrays.superpixels, areas, self.size)

    def _on_superpixels(self, found: NetworkDetections) -> Targets:
        return targets_from_detections(
            found.class_probabilities,
            found.boxes,
            found.masks,
            self.arrays.superpixels,
            self.graph.superpixel_areas,
            self.size,
        )
