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

from data_contracts.schemas import DATASET, DETECTIONS, PROPOSALS, SEEDS
from stages.base import Artefact, Stage, StageConfig, StageContext
from stages.readers.images import decode_image
from stages.training import WEIGHTS_NAME, Stateful, finish, load_weights, run_steps, seed_everything
from wsis.backbones.structure import BatchNormMode
from wsis.conditional.architectures import Architecture, NetworkConfig, build_network
from wsis.conditional.energy import EnergyConfig, Pairwise, Terms
from wsis.conditional.graph import GraphConfig, ProposalGraph
from wsis.conditional.network import ConditionalNetwork
from wsis.conditional.pooling import Pooling
from wsis.conditional.unet import KOHL_WIDTHS
from wsis.dissimilarity.learning import ImageProblem, LearningConfig, dissimilarity_loss
from wsis.dissimilarity.problems import ImageArrays, ProblemConfig, build_problem
from wsis.dissimilarity.sampler import (
    Record,
    SamplerConfig,
    arrays_of_image,
    filtered_rows,
    image_batch,
    image_noise,
    resized,
)
from wsis.dissimilarity.seed_targets import SeedTargetConfig, seed_targets
from wsis.dissimilarity.surrogate import Direction, SurrogateConfig
from wsis.dissimilarity.targets import (
    Targets,
    confident_detections,
    join_targets,
    select_targets,
    targets_from_detections,
)
from wsis.dissimilarity.task_loss import TaskLossConfig
from wsis.errors import InputError, WsisError
from wsis.masks.boxes import box_iou
from wsis.prm.schedule import warmup_cosine

NAME = "conditional"
ALGORITHM_VERSION = 1
SAMPLER_NAME = "sampler.json"
_BATCH_STREAM, _FLIP_STREAM, _NOISE_STREAM = 1, 2, 3


class Config(StageConfig):
    """How the conditional network is made and trained."""

    architecture: Architecture = Field(
        "lite_unet", description="unet is the paper's; lite_unet for small machines"
    )
    pretrained: str | None = Field(
        "imagenet", description="encoder weights; null only by choice; unused by unet"
    )
    widths: tuple[int, ...] = Field(KOHL_WIDTHS, description="block widths of unet")
    stride: int = Field(4, ge=1, le=32, description="output stride: lite_unet 2 or 4, resnet 16 or 32")
    channels: int = Field(
        32, ge=0, le=4096, description="feature channels; 0: all of a ResNet's (the paper's letter)"
    )
    frozen_blocks: int = Field(3, ge=0, le=64)
    batch_norm: BatchNormMode = "frozen"
    image_size: int = Field(256, ge=32, le=2048, description="longer side of the network input")
    pooling: Pooling = "image"
    background_margin: float = Field(
        1.0, ge=0, description="initial cost of ground inside a proposal; 0 leaves it out"
    )
    background_bias: float = Field(
        4.0,
        description="initial constant score of the background; above 3 epsilon for U+P+H, about 2 without H",
    )
    temperature: float = Field(30.0, gt=0, description="initial scale of the scores, then learned")
    noise_grid: int = Field(4, ge=0, le=256, description="cells a side; 0: independent noise at every pixel")
    noise_scale: float = Field(1.0, ge=0)
    max_proposals: int = Field(
        300, ge=1, le=20_000, description="proposals kept after the filter, by objectness"
    )
    seed_threshold: float = Field(
        0.3, ge=0, le=1, description="share of a seed map's maximum that counts as seed"
    )
    max_neighbours: int = Field(16, ge=0, le=1024)
    separation: Literal["sum", "mean"] = Field(
        "sum", description="I_uv: sum (paper) or mean of the contour strength"
    )
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
    floor: float = Field(
        0.05, gt=0, lt=1, description="smallest probability inside a logarithm of the task loss"
    )
    seed_target: Literal["prm", "crm_proposal"] = "crm_proposal"
    seed_top: int = Field(1, ge=1, le=100)
    min_detection_score: float = Field(0.05, ge=0, le=1)
    detection_target: Literal["soft", "confident"] = Field(
        "soft", description="y_p: class probabilities as they are, or confident detections as one-hot"
    )
    confident_score: float = Field(0.5, ge=0, le=1, description="from which a detection is confident")
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
    clip_gradient: float = Field(1.0, gt=0)
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
                background_bias=self.background_bias,
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
            seed_threshold=self.seed_threshold,
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

    def __init__(
        self, inputs: Mapping[str, Artefact], config: Config, sampler: SamplerConfig, stride: int
    ) -> None:
        self.dataset = inputs["dataset"].records(DATASET)
        self.proposals = inputs["proposals"].records(PROPOSALS)
        self.seeds = inputs["prm_seeds"].records(SEEDS)
        detections = inputs.get("train_predictions")
        self.detections = None if detections is None else detections.records(DETECTIONS)
        self.config, self.sampler, self.stride = config, sampler, stride
        self.ids = list(self.seeds.ids)
        self.get = lru_cache(maxsize=config.cached_images)(self._build)

    def _build(self, image_id: str) -> tuple[Tensor, ImageProblem]:
        record, seeds = self.dataset[image_id], self.seeds[image_id]
        proposals = self.proposals[image_id]
        image = resized(decode_image(record["encoded"].tobytes(), image_id), self.config.image_size)
        arrays = arrays_of_image(record, proposals, filtered_rows(record, proposals, seeds, self.sampler))
        size = (image.shape[1] // self.stride, image.shape[2] // self.stride)

        def make_targets(graph: ProposalGraph) -> Targets:
            return self._targets(image_id, graph, arrays, record, seeds)

        loss = self.config.learning().task_loss
        try:
            return image, build_problem(arrays, size, self.sampler.problem, make_targets, loss)
        except WsisError as error:
            raise type(error)(f"{NAME}: image {image_id}: {error}") from error

    def _targets(
        self, image_id: str, graph: ProposalGraph, arrays: ImageArrays, record: Record, seeds: Record
    ) -> Targets:
        """y_p of one image: its seeds in outer iteration 1, then the prediction network's detections."""
        from_seeds = self._seed_targets(graph, arrays, record, seeds)
        if self.detections is None:
            return from_seeds
        found = self.detections[image_id]
        sure = found["scores"] >= self.config.min_detection_score
        kept = np.flatnonzero(np.isin(found["labels"], record["labels"]) & sure)
        probabilities = found["class_probabilities"]
        if self.config.detection_target == "confident":
            sure_of = (found["labels"][kept], found["scores"][kept], self.config.confident_score)
            kept = kept[confident_detections(*sure_of)]
            probabilities = np.eye(probabilities.shape[1], dtype=np.float32)[found["labels"]]
        detected = targets_from_detections(
            probabilities[kept],
            found["boxes"][kept],
            found["masks"][kept],
            arrays.superpixels,
            graph.superpixel_areas,
            _size(record),
        )
        if self.config.undetected == "none":
            return detected
        absent = ~np.isin(from_seeds.probabilities.argmax(1).numpy(), found["labels"][kept])
        return join_targets(detected, select_targets(from_seeds, torch.from_numpy(absent)))

    def _seed_targets(
        self, graph: ProposalGraph, arrays: ImageArrays, record: Record, seeds: Record
    ) -> Targets:
        overlap = None
        if len(arrays.boxes):
            overlap = torch.from_numpy(box_iou(arrays.proposal_boxes, arrays.boxes).astype(np.float32))
        return seed_targets(
            graph,
            arrays.superpixels,
            seeds["peaks"],
            seeds["scores"],
            seeds["peak_response_maps"],
            seeds["class_response_maps"],
            seeds["response_classes"],
            _size(record),
            self.sampler.network.num_classes,
            SeedTargetConfig(self.config.seed_target, self.config.seed_top),
            overlap,
        )


def _size(record: Record) -> tuple[int, int]:
    return int(record["size"][0]), int(record["size"][1])


class _Trainer:
    """Steps that are functions of (seed, outer iteration, step) and of the weights alone."""

    def __init__(
        self, network: ConditionalNetwork, examples: _Examples, config: Config, context: StageContext
    ) -> None:
        self.network, self.examples, self.config, self.context = network, examples, config, context
        self.optimizer = torch.optim.Adam(
            network.parameter_groups(config.learning_rate, config.backbone_factor),
            weight_decay=config.weight_decay,
        )
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.learning = config.learning()
        epochs = config.pretrain_epochs if examples.detections is None else config.epochs
        self.steps = max(1, math.ceil(epochs * len(examples.ids) / config.batch_size))

    def key(self, stream: int, *rest: int) -> list[int]:
        return [self.context.seed, self.context.outer_iteration or 0, stream, *rest]

    def batch_ids(self, step: int) -> list[str]:
        """Ids of step's images: consecutive places in an endless row of seeded permutations of the data set."""
        count = len(self.examples.ids)
        result = []
        for place in range(step * self.config.batch_size, (step + 1) * self.config.batch_size):
            epoch, position = divmod(place, count)
            order = np.random.default_rng(self.key(_BATCH_STREAM, epoch)).permutation(count)
            result.append(self.examples.ids[int(order[position])])
        return result

    def step(self, index: int) -> dict[str, float]:
        """One optimisation step; returns what `dissimilarity_loss` logs."""
        config, device = self.config, self.context.device
        self.network.train()
        images, problems = zip(*(self.examples.get(i) for i in self.batch_ids(index)), strict=True)
        chance = np.random.default_rng(self.key(_FLIP_STREAM, index)).random(len(images))
        flipped = [bool(config.flip and c < 0.5) for c in chance]
        noises = [
            image_noise(
                config.k,
                problem.feature_size,
                self.examples.sampler,
                self.key(_NOISE_STREAM, index, place),
                zero=config.zero_noise,
            ).to(device)
            for place, problem in enumerate(problems)
        ]
        factor = warmup_cosine(index, self.steps, min(config.warmup_steps, self.steps - 1))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        batch = image_batch(images, flipped).to(device)
        moved = [p.to(device) for p in problems]
        loss, logs = dissimilarity_loss(self.network, batch, moved, noises, flipped, self.learning)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_gradient)
        self.optimizer.step()
        return {"loss": logs["surrogate"], **logs}


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Train the conditional network of one outer iteration.

    Raises:
        InputError: there is no training image.
        NonFiniteError: scores or the surrogate became NaN or infinite.
    """
    sampler = config.sampler(_num_classes(inputs["dataset"]))
    seed_everything(context.seed, context.outer_iteration or 0)
    previous = inputs.get("previous")
    network = build_network(sampler.network, load_pretrained=previous is None).to(context.device)
    if previous is not None:
        network.load_state_dict(load_weights(previous.file(WEIGHTS_NAME)))
    examples = _Examples(inputs, config, sampler, network.extractor.stride)
    if not examples.ids:
        raise InputError(f"{NAME}: expected at least one training image, got none")
    trainer = _Trainer(network, examples, config, context)
    state: dict[str, Stateful] = {"model": network, "optimizer": trainer.optimizer}
    curve = run_steps(context, state, trainer.steps, trainer.step)
    context.write_json(SAMPLER_NAME, sampler.to_json())
    context.counts.update(
        images=len(examples.ids),
        targets="seeds" if examples.detections is None else "detections",
        first=curve[0],
        last=curve[-1],
    )
    finish(context, network.state_dict())


def _num_classes(dataset: Artefact) -> int:
    names = dataset.manifest.counts.get("classes")
    if not isinstance(names, list) or not names:
        raise InputError(f"{dataset.path}: expected a list 'classes' in the manifest's counts, got {names!r}")
    return len(names)


def _check(config: Config) -> None:
    """Fail before hours are spent: a wrong stride, absent weights."""
    build_network(config.sampler(1).network)


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=("dataset", "proposals", "prm_seeds"),
    optional=("train_predictions", "previous"),
    contract="weights",
    check=_check,
)
