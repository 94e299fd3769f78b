"""Training images of the conditional network with their problems: what it sees, and the y_p that it learns from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property, lru_cache
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from data_contracts.records import RecordReader
from data_contracts.schemas import CORRECTIONS, DATASET, DETECTIONS, PROPOSALS, SEEDS
from wsis.engine.stage import Artefact, execution_only
from wsis.errors import WsisError
from wsis.method.conditional.graph import ProposalGraph
from wsis.method.dissimilarity.image_labels import ImageLabels
from wsis.method.dissimilarity.image_problem import ImageArrays, build_problem, network_size
from wsis.method.dissimilarity.network_inputs import (
    Record,
    SamplingConfig,
    arrays_of_image,
    filtered_rows,
    resized,
)
from wsis.method.dissimilarity.object_marks import ObjectMark, marks_of_masks
from wsis.method.dissimilarity.objective import ImageProblem
from wsis.method.dissimilarity.seed_targets import SeedTargetConfig
from wsis.method.dissimilarity.targets import Targets, one_hot_targets
from wsis.method.masks.given_masks import GivenMasks
from wsis.method.masks.network_detections import NetworkDetections
from wsis.method.masks.proposal_set import ProposalSet
from wsis.method.prm.seeds import Seeds
from wsis.readers.files.images import decode_image
from wsis.views.dataset import class_names

_MIN_DETECTION_SCORE = 0.05  # detections below are no targets and mark no object


def detections_of_image(record: Record) -> NetworkDetections:
    """The detections of a stored record with a score of at least `_MIN_DETECTION_SCORE`."""
    return NetworkDetections.from_record(record).sure(_MIN_DETECTION_SCORE)


def given_masks(records: RecordReader | None, image_id: str) -> GivenMasks | None:
    """The masks that a person has given of an image, from the records of `corrections`; None if there are none."""
    return None if records is None or image_id not in records else GivenMasks.from_record(records[image_id])


class ExampleSettings(SeedTargetConfig, SamplingConfig):
    """What the network sees of a training image, and how the targets y_p are made."""

    undetected: Literal["seeds", "none"] = Field(
        "seeds", description="what stands for an annotated class that the prediction network did not find"
    )
    cached_images: int = execution_only(
        4000, ge=0, description="problems of so many images are kept in memory"
    )


class Examples:
    """Training images and their problems, built on demand; `get` keeps the last `cached_images` of them.

    Args:
        inputs: dataset, proposals, prm_seeds, from outer iteration 2 on train_predictions, and corrections if there
            are some.
        stride: of the network's features.

    Attributes:
        ids: all training images in which something is segmented.
        detections: None where the targets are the seeds.
        given: masks that a person has given of some of the images; None: of none.
    """

    def __init__(self, inputs: Mapping[str, Artefact], settings: ExampleSettings, stride: int) -> None:
        self.dataset = inputs["dataset"].records(DATASET)
        self.proposals = inputs["proposals"].records(PROPOSALS)
        self.seeds = inputs["prm_seeds"].records(SEEDS)
        detections = inputs.get("train_predictions")
        self.detections = None if detections is None else detections.records(DETECTIONS)
        self.settings, self.stride = settings, stride
        self.num_classes = len(class_names(inputs["dataset"]))
        corrections = inputs.get("corrections")
        self.given = None if corrections is None else corrections.records(CORRECTIONS)
        self.ids = [image_id for image_id in self.seeds.ids if not self._is_empty(image_id)]

    @cached_property
    def get(self) -> Callable[[str], tuple[Tensor, ImageProblem]]:
        """`build`, whose last `cached_images` results are kept."""
        return lru_cache(maxsize=self.settings.cached_images)(self.build)

    def __getstate__(self) -> dict[str, Any]:
        # a worker keeps results of its own
        return {name: value for name, value in self.__dict__.items() if name != "get"}

    def build(self, image_id: str) -> tuple[Tensor, ImageProblem]:
        """The network's input uint8 [3, h, w] and the problem of one image.

        Raises:
            WsisError: the image's records do not fit together; names the image.
        """
        record, seeds = self.dataset[image_id], Seeds.from_record(self.seeds[image_id])
        proposals = ProposalSet.from_record(self.proposals[image_id])
        image = resized(decode_image(record["encoded"].tobytes(), image_id), self.settings.image_size)
        size = (image.shape[1] // self.stride, image.shape[2] // self.stride)
        kept = filtered_rows(proposals, seeds, self.settings)
        given = given_masks(self.given, image_id)
        try:
            if given is not None:
                problem = self._given_problem(given, proposals, seeds, kept, size)
            else:
                arrays = arrays_of_image(record, proposals, seeds, kept)
                problem = self._weak_problem(image_id, arrays, record, seeds, size)
        except WsisError as error:
            raise type(error)(f"image {image_id}: {error}") from error
        return image, replace(problem, image_id=image_id)

    def _weak_problem(
        self, image_id: str, arrays: ImageArrays, record: Record, seeds: Seeds, size: tuple[int, int]
    ) -> ImageProblem:
        """Of an image of which weak labels are known: learned from the seeds or from the last detections."""
        found = None if self.detections is None else detections_of_image(self.detections[image_id])
        labels = cache(lambda graph: ImageLabels(graph, arrays, record, seeds, found))

        def make_targets(graph: ProposalGraph) -> Targets:
            return labels(graph).targets(self.num_classes, self.settings, self.settings.undetected)

        def make_marks(graph: ProposalGraph) -> list[ObjectMark]:
            return labels(graph).marks()

        return build_problem(arrays, size, self.settings, make_targets, make_marks)

    def _given_problem(
        self,
        given: GivenMasks,
        proposals: ProposalSet,
        seeds: Seeds,
        kept: np.ndarray,
        size: tuple[int, int],
    ) -> ImageProblem:
        """Of an image whose masks are given: they are proposals among the others, and what is learned."""
        rows = given.rows(len(proposals))
        record = {"labels": np.unique(given.labels)}
        arrays = arrays_of_image(record, proposals, seeds, np.union1d(kept, rows))
        if len(arrays.boxes):
            arrays = replace(arrays, boxes=given.boxes, box_labels=given.labels)
        labels, members = torch.from_numpy(given.labels.astype(np.int64)), proposals.membership[rows]
        return build_problem(
            arrays,
            size,
            self.settings,
            lambda _: one_hot_targets(labels, torch.from_numpy(members), self.num_classes),
            lambda graph: marks_of_masks(given.labels, members, graph.superpixel_areas),
        )

    def _is_empty(self, image_id: str) -> bool:
        """Whether it is said that no instance is there."""
        given = given_masks(self.given, image_id)
        return given is not None and not len(given)

    def largest(self, image_ids: Sequence[str]) -> tuple[int, int]:
        """Height and width of the network's input that hold each of these images."""
        sizes = [self.dataset.read(i, ("size",))["size"].tolist() for i in image_ids]
        inputs = [network_size((height, width), self.settings.image_size) for height, width in sizes]
        return max(h for h, _ in inputs), max(w for _, w in inputs)
