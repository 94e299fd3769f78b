"""Training images of the conditional network with their problems: what it sees, and the y_p that it learns from."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from data_contracts.schemas import DATASET, DETECTIONS, PROPOSALS, SEEDS
from wsis.engine.stage import Artefact, StageConfig, execution_only
from wsis.errors import WsisError
from wsis.method.conditional.graph import ProposalGraph
from wsis.method.dissimilarity.image_problem import ImageArrays, build_problem
from wsis.method.dissimilarity.network_inputs import (
    Record,
    SamplerConfig,
    arrays_of_image,
    filtered_rows,
    resized,
    targets_of_seeds,
)
from wsis.method.dissimilarity.objective import ImageProblem
from wsis.method.dissimilarity.seed_targets import SeedTargetConfig
from wsis.method.dissimilarity.targets import (
    Targets,
    confident_detections,
    detections_of_boxes,
    join_targets,
    select_targets,
    targets_from_detections,
)
from wsis.method.dissimilarity.task_loss import TaskLossConfig
from wsis.method.masks.boxes import box_iou
from wsis.method.masks.proposal_set import ProposalSet
from wsis.readers.files.images import decode_image


class ExampleSettings(StageConfig):
    """How the targets y_p of a training image are made, and what missing them costs."""

    match_iou: float = Field(
        0.5, ge=0, le=1, description="soft IoU from which a proposal is matched to its best target"
    )
    floor: float = Field(
        0.05, gt=0, lt=1, description="smallest probability inside a logarithm of the task loss"
    )
    seed_target: Literal["prm", "crm_proposal"] = Field(
        "crm_proposal",
        description="prm: the peak response map (the paper); crm_proposal: the best proposal for the seed",
    )
    seed_contour_power: float = Field(
        3.0, ge=0, le=20, description="how much a contour along its perimeter counts for a seed's proposal"
    )
    seed_box_power: float = Field(
        4.0, ge=0, le=20, description="under boxes: how much the overlap with the box counts for its proposal"
    )
    seed_split: float | None = Field(
        None,
        ge=0,
        description="seeds on one proposal get one each with this share of its contour (try 0.85); null: never",
    )
    seed_top: int = Field(1, ge=1, le=100, description="crm_proposal: mean of so many best proposals")
    min_detection_score: float = Field(0.05, ge=0, le=1, description="detections below are no targets")
    detection_target: Literal["soft", "confident"] = Field(
        "soft", description="y_p: class probabilities as they are, or confident detections as one-hot"
    )
    confident_score: float = Field(0.5, ge=0, le=1, description="from which a detection is confident")
    undetected: Literal["seeds", "none"] = Field(
        "seeds", description="what stands for an annotated class that the prediction network did not find"
    )
    cached_images: int = execution_only(
        4000, ge=0, description="problems of so many images are kept in memory"
    )

    def seed_targets(self) -> SeedTargetConfig:
        """Settings of a seed's target."""
        return SeedTargetConfig(
            self.seed_target,
            self.seed_contour_power,
            self.seed_top,
            box_power=self.seed_box_power,
            split=self.seed_split,
        )

    def task_loss(self) -> TaskLossConfig:
        """Settings of Delta."""
        return TaskLossConfig(self.match_iou, self.floor)


class Examples:
    """Training images and their problems, built on demand; `get` keeps the last `cached_images` of them.

    Args:
        inputs: dataset, proposals, prm_seeds and, from outer iteration 2 on, train_predictions.
        stride: of the network's features.

    Attributes:
        ids: all training images.
        detections: None where the targets are the seeds.
    """

    def __init__(
        self, inputs: Mapping[str, Artefact], settings: ExampleSettings, sampler: SamplerConfig, stride: int
    ) -> None:
        self.dataset = inputs["dataset"].records(DATASET)
        self.proposals = inputs["proposals"].records(PROPOSALS)
        self.seeds = inputs["prm_seeds"].records(SEEDS)
        detections = inputs.get("train_predictions")
        self.detections = None if detections is None else detections.records(DETECTIONS)
        self.settings, self.sampler, self.stride = settings, sampler, stride
        self.ids = list(self.seeds.ids)
        self.get = lru_cache(maxsize=settings.cached_images)(self.build)

    def build(self, image_id: str) -> tuple[Tensor, ImageProblem]:
        """The network's input uint8 [3, h, w] and the problem of one image.

        Raises:
            WsisError: the image's records do not fit together; names the image.
        """
        record, seeds = self.dataset[image_id], self.seeds[image_id]
        proposals = ProposalSet.from_record(self.proposals[image_id])
        image = resized(decode_image(record["encoded"].tobytes(), image_id), self.sampler.image_size)
        arrays = arrays_of_image(record, proposals, seeds, filtered_rows(proposals, seeds, self.sampler))
        size = (image.shape[1] // self.stride, image.shape[2] // self.stride)

        def make_targets(graph: ProposalGraph) -> Targets:
            return self._targets(image_id, graph, arrays, record, seeds)

        loss = self.settings.task_loss()
        try:
            problem = build_problem(arrays, size, self.sampler.problem, make_targets, loss)
        except WsisError as error:
            raise type(error)(f"image {image_id}: {error}") from error
        return image, replace(problem, image_id=image_id)

    def _targets(
        self, image_id: str, graph: ProposalGraph, arrays: ImageArrays, record: Record, seeds: Record
    ) -> Targets:
        """y_p of one image: its seeds in outer iteration 1, then the prediction network's detections.

        Under image-level labels those of annotated classes; under boxes, for each box the one detection of its class
        that fits it.
        """
        classes, config = self.sampler.network.num_classes, self.settings.seed_targets()
        from_seeds = targets_of_seeds(graph, arrays, record, seeds, classes, config, self.settings.floor)
        if self.detections is None:
            return from_seeds
        settings, found = self.settings, self.detections[image_id]
        kept = np.flatnonzero(
            np.isin(found["labels"], record["labels"]) & (found["scores"] >= settings.min_detection_score)
        )
        if len(arrays.boxes):
            of_box = detections_of_boxes(
                found["labels"][kept],
                found["scores"][kept],
                box_iou(found["boxes"][kept], arrays.boxes),
                arrays.box_labels,
            )
            kept, absent = kept[of_box[of_box >= 0]], of_box < 0
        else:
            if settings.detection_target == "confident":
                sure_of = (found["labels"][kept], found["scores"][kept], settings.confident_score)
                kept = kept[confident_detections(*sure_of)]
            absent = ~np.isin(from_seeds.probabilities.argmax(1).numpy(), found["labels"][kept])
        detected = self._detected(graph, arrays, record, found, kept)
        if settings.undetected == "none":
            return detected
        return join_targets(detected, select_targets(from_seeds, torch.from_numpy(absent)))

    def _detected(
        self, graph: ProposalGraph, arrays: ImageArrays, record: Record, found: Record, kept: np.ndarray
    ) -> Targets:
        """Some of an image's detections as targets."""
        probabilities = found["class_probabilities"]
        if self.settings.detection_target == "confident":
            probabilities = np.eye(probabilities.shape[1], dtype=np.float32)[found["labels"]]
        return targets_from_detections(
            probabilities[kept],
            found["boxes"][kept],
            found["masks"][kept],
            arrays.superpixels,
            graph.superpixel_areas,
            _size(record),
            self.settings.floor,
        )


def _size(record: Record) -> tuple[int, int]:
    return int(record["size"][0]), int(record["size"][1])
