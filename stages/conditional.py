"""The conditional network of one outer iteration, trained by Algorithm 2 (eq. 22-26).

Outer iteration 1 pretrains on the seeds; later ones start from the previous weights and use the prediction network's
detections on the training images as y_p. One trainer serves both.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from data_contracts.schemas import DATASET, DETECTIONS, PROPOSALS, SEEDS, array_to_text
from stages.base import Artefact, Stage, StageConfig, StageContext
from stages.readers.images import decode_image
from stages.training import WEIGHTS_NAME, finish, load_weights, run_steps
from wsis.conditional.architectures import Architecture, NetworkConfig, build_network
from wsis.conditional.energy import EnergyConfig, Pairwise, Terms
from wsis.conditional.graph import GraphConfig, ProposalGraph
from wsis.conditional.network import ConditionalNetwork
from wsis.conditional.pooling import Pooling
from wsis.conditional.unet import KOHL_WIDTHS, BatchNormMode
from wsis.dissimilarity.filtering import filtered_rows
from wsis.dissimilarity.learning import ImageProblem, LearningConfig, dissimilarity_loss
from wsis.dissimilarity.problems import ProblemConfig, build_problem, network_size
from wsis.dissimilarity.sampler import SamplerConfig, arrays_of_image, image_batch, image_noise, resized
from wsis.dissimilarity.seed_targets import SeedTargetConfig, seed_targets
from wsis.dissimilarity.surrogate import Direction, SurrogateConfig
from wsis.dissimilarity.targets import Targets, join_targets, targets_from_detections
from wsis.dissimilarity.task_loss import TaskLossConfig

NAME = "conditional"
ALGORITHM_VERSION = 1
SAMPLER_NAME = "sampler.json"
_BATCH_STREAM, _FLIP_STREAM, _NOISE_STREAM = 1, 2, 3


class Config(StageConfig):
    """How the conditional network is made and trained."""

    architecture: Architecture = Field("lite_unet", description="unet is the paper's; lite_unet for small machines")
    pretrained: str | None = Field("imagenet", description="encoder weights; null only by choice; unused by unet")
    widths: tuple[int, ...] = Field(KOHL_WIDTHS, description="block widths of unet")
    stride: int = Field(4, ge=1, le=32, description="output stride: lite_unet 2 or 4, resnet 16 or 32")
    channels: int = Field(32, ge=0, le=4096, description="feature channels; 0: all of a ResNet's (the paper's letter)")
    frozen_blocks: int = Field(3, ge=0, le=64)
    batch_norm: BatchNormMode = "frozen"
    image_size: int = Field(256, ge=32, le=2048, description="longer side of the network input")
    pooling: Pooling = "image"
    background_margin: bool = True
    temperature: float = Field(10.0, gt=0, description="initial scale of the scores, then learned")
    noise_grid: int = Field(4, ge=0, le=256, description="cells a side; 0: independent noise at every pixel")
    noise_scale: float = Field(1.0, ge=0)
    max_proposals: int = Field(300, ge=1, le=20_000, description="proposals kept after the filter, by objectness")
    max_neighbours: int = Field(16, ge=0, le=1024)
    separation: Literal["sum", "mean"] = Field("sum", description="I_uv: sum (paper) or mean of the contour strength")
    separation_weight: float = Field(1.0, ge=0)
    terms: Terms = "U+P+H"
    pairwise: Pairwise = "diffuse"
    delta: float = Field(0.1, gt=0)
    pairwise_iterations: int = Field(3, ge=0, le=100)
    containment: float = Field(0.5, ge=0, le=1, description="t of Algorithm 1")
    box_threshold: float = Field(0.5, ge=0, le=1)
    k: int = Field(10, ge=1, le=256, description="samples of an image in a training step")
    zero_noise: bool = Field(False, description="pointwise PW_c: with k = 1 and gamma = 0")
    gamma: float = Field(0.5, ge=0, le=1)
    epsilon: float = Field(1.0, gt=0)
    direction: Direction = Field("central", description="away: Algorithm 2 by the letter (eps = +1)")
    match_iou: float = Field(0.5, ge=0, le=1)
    floor: float = Field(0.05, gt=0, lt=1, description="smallest probability inside a logarithm of the task loss")
    seed_target: Literal["prm", "crm_proposal"] = "crm_proposal"
    seed_top: int = Field(1, ge=1, le=100)
    min_detection_score: float = Field(0.05, ge=0, le=1)
    undetected: Literal["seeds", "none"] = Field(
        "seeds", description="what stands for an annotated class that the prediction network did not find"
    )
    pretrain_epochs: float = Field(3.0, gt=0)
    epochs: float = Field(1.0, gt=0, description="of every later outer iteration")
    batch_size: int = Field(4, ge=1, le=256)
    learning_rate: float = Field(1e-3, gt=0)
    backbone_factor: float = Field(0.1, ge=0, le=1)
    weight_decay: float = Field(1e-5, ge=0)
    warmup_steps: int = Field(20, ge=0)
    clip_gradient: float = Field(10.0, gt=0)
    flip: bool = True
    cached_images: int = Field(4000, ge=0, json_schema_extra={"execution_only": True})

    def sampler(self, num_classes: int) -> SamplerConfig:
        """Everything that sampling must do as training did."""
        return SamplerConfig(
            network=NetworkConfig(
                architecture=self.architecture,
                num_classes=num_classes,
                pretrained=self.pretrained,
                widths=self.widths,
                stride=self.stride,
                channels=self.channels,
                frozen_blocks=self.frozen_blocks,
                batch_norm=self.batch_norm,
                pooling=self.pooling,
                background_margin=self.background_margin,
                temperature=self.temperature,
                noise_scale=self.noise_scale,
            ),
            energy=EnergyConfig(self.terms, self.pairwise, self.delta, self.pairwise_iterations),
            problem=ProblemConfig(
                GraphConfig(self.max_neighbours, self.separation, self.separation_weight),
                self.containment,
                self.box_threshold,
            ),
            image_size=self.image_size,
            noise_grid=self.noise_grid,
            max_proposals=self.max_proposals,
        )

    def learning(self) -> LearningConfig:
        """Settings of one step."""
        return LearningConfig(
            EnergyConfig(self.terms, self.pairwise, self.delta, self.pairwise_iterations),
            TaskLossConfig(self.match_iou, self.floor),
            SurrogateConfig(self.gamma, self.epsilon, self.direction),
        )


class _Examples:
    """Training images and their problems, built on demand and kept."""

    def __init__(self, inputs: Mapping[str, Artefact], config: Config, sampler: SamplerConfig, stride: int) -> None:
        self.dataset = inputs["dataset"].records(DATASET)
        self.proposals = inputs["proposals"].records(PROPOSALS)
        self.seeds = inputs["prm_seeds"].records(SEEDS)
        detections = inputs.get("train_predictions")
        self.detections = None if detections is None else detections.records(DETECTIONS)
        self.config, self.sampler, self.stride = config, sampler, stride
        self.ids = [i for i in self.seeds.ids if array_to_text(self.dataset.read(i, ("split",))["split"]) == "train"]
        self.get = lru_cache(maxsize=config.cached_images)(self._build)

    def _build(self, image_id: str) -> tuple[Tensor, ImageProblem]:
        record, proposals, seeds = self.dataset[image_id], self.proposals[image_id], self.seeds[image_id]
        image = resized(decode_image(record["encoded"].tobytes(), image_id), self.config.image_size)
        kept, _ = filtered_rows(record, proposals, seeds, self.sampler)
        arrays = arrays_of_image(record, proposals, kept)
        size = (image.shape[1] // self.stride, image.shape[2] // self.stride)

        def make_targets(graph: ProposalGraph) -> Targets:
            return self._targets(image_id, graph, arrays.superpixels, arrays.proposal_boxes, record, seeds)

        loss = self.config.learning().task_loss
        return image, build_problem(arrays, size, self.sampler.problem, make_targets, loss)

    def _targets(
        self,
        image_id: str,
        graph: ProposalGraph,
        arrays: ImageArrays,
        record: Mapping[str, np.ndarray],
        seeds: Mapping[str, np.ndarray],
    ) -> Targets:
        """y_p of one image: its seeds in outer iteration 1, then the prediction network's detections."""
        from_seeds = self._seed_targets(graph, arrays, record, seeds)
        if self.detections is None:
            return from_seeds
        found = self.detections[image_id]
        kept = np.isin(found["labels"], record["labels"]) & (found["scores"] >= self.config.min_detection_score)
        detected = targets_from_detections(
            found["class_probabilities"][kept],
            found["boxes"][kept],
            found["masks"][kept],
            arrays.superpixels,
            graph.superpixel_areas,
            (int(record["size"][0]), int(record["size"][1])),
        )
        if self.config.undetected == "none":
            return detected
        absent = ~np.isin(from_seeds.probabilities.argmax(1).numpy(), found["labels"][kept])
        return join_targets(detected, select_targets(from_seeds, torch.from_numpy(absent)))
