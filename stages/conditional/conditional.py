"""The conditional network of one outer iteration, trained by Algorithm 2 (eq. 22-26).

Outer iteration 1 pretrains on the seeds; later ones start from the previous weights and use the prediction network's
detections on the training images as y_p. One trainer serves both. A few images are held back to choose the weights
that are kept: other ones in every outer iteration, so that none is never learned from, and all get pseudo labels.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from stages.conditional.examples import Examples
from stages.conditional.training import Trainer, TrainingSettings
from wsis.engine.stage import Artefact, Execution, Stage, StageContext
from wsis.engine.training import WEIGHTS_NAME, finish, load_weights, run_steps, seed_everything
from wsis.errors import InputError
from wsis.method.backbones.layers import BatchNormMode
from wsis.method.conditional.architectures import (
    Architecture,
    NetworkConfig,
    build_network,
    compile_features,
    save_activations,
)
from wsis.method.conditional.energy import EnergyConfig, Pairwise, Terms
from wsis.method.conditional.graph import GraphConfig
from wsis.method.conditional.network import ConditionalNetwork, Precision
from wsis.method.conditional.pooling import Pooling
from wsis.method.conditional.unet import KOHL_WIDTHS
from wsis.method.dissimilarity.image_problem import ProblemConfig
from wsis.method.dissimilarity.network_inputs import SamplerConfig
from wsis.views.dataset import class_names

NAME = "conditional"
ALGORITHM_VERSION = 4
SAMPLER_NAME = "sampler.json"


class Config(TrainingSettings):
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
    frozen_blocks: int = Field(3, ge=0, le=64, description="encoder blocks that do not learn")
    batch_norm: BatchNormMode = Field(
        "frozen", description="train; frozen_statistics: only its factors learn; frozen: nothing does"
    )
    precision: Precision = Field("float32", description="of the features; energy and inference stay float32")
    image_size: int = Field(256, ge=32, le=2048, description="longer side of the network input")
    pooling: Pooling = Field(
        "image",
        description="a proposal's sum of features is divided by: image: the image's pixels (paper); area: its own; "
        "root: the root of their product",
    )
    background_margin: float = Field(
        0.0, ge=0, description="initial cost of ground inside a proposal; 0 leaves it out"
    )
    background_bias: float = Field(
        2.0,
        description="initial constant score of the background; within 3 epsilon, the reach of the task loss",
    )
    temperature: float = Field(30.0, gt=0, description="initial scale of the scores, then learned")
    noise_grid: int = Field(4, ge=0, le=256, description="cells a side; 0: independent noise at every pixel")
    noise_scale: float = Field(1.0, ge=0, description="scale of the noise that makes the samples differ")
    score_noise: float = Field(
        0.1, ge=0, description="scale of Gumbel noise on the scores in training; paper: 0; see pseudo_labels"
    )
    max_proposals: int = Field(
        300, ge=1, le=20_000, description="proposals kept after the filter, by objectness"
    )
    seed_threshold: float = Field(
        0.3, ge=0, le=1, description="share of a seed map's maximum that counts as seed"
    )
    max_neighbours: int = Field(
        16, ge=0, le=1024, description="neighbours of a proposal in the pairwise term"
    )
    separation: Literal["sum", "mean"] = Field(
        "sum", description="I_uv: sum (paper) or mean of the contour strength"
    )
    separation_weight: float = Field(1.0, ge=0, description="factor on I_uv in eq. 1; paper: 1")
    terms: Terms = Field("U+P+H", description="unary U, pairwise P and higher-order H terms (Table 2)")
    pairwise: Pairwise = Field(
        "diffuse", description="form of the pairwise term: literal is eq. 1 as printed"
    )
    delta: float = Field(0.1, gt=0, description="stabiliser of eq. 1")
    pairwise_iterations: int = Field(3, ge=0, le=100, description="unrolled iterations of eq. 1 and 2")
    contrast_weight: float = Field(
        1.0, ge=0, description="weight of an outline on contours: pairwise=contrast"
    )
    containment: float = Field(0.5, ge=0, le=1, description="t of Algorithm 1")
    box_threshold: float = Field(
        0.8, ge=0, le=1, description="a box draws on proposals whose box has at least this IoU with it"
    )

    def sampler(self, num_classes: int) -> SamplerConfig:
        """Everything that sampling must do as training did."""
        energy = EnergyConfig(
            self.terms, self.pairwise, self.delta, self.pairwise_iterations, self.contrast_weight
        )
        neighbours = self.max_neighbours if energy.uses_neighbours else 0  # most of a graph's time
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
                precision=self.precision,
                pooling=self.pooling,
                background_margin=self.background_margin,
                background_bias=self.background_bias,
                temperature=self.temperature,
                noise_scale=self.noise_scale,
            ),
            energy=energy,
            problem=ProblemConfig(
                GraphConfig(neighbours, self.separation, self.separation_weight),
                self.containment,
                self.box_threshold,
            ),
            image_size=self.image_size,
            noise_grid=self.noise_grid,
            score_noise=self.score_noise,
            max_proposals=self.max_proposals,
            seed_threshold=self.seed_threshold,
        )


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Train the conditional network of one outer iteration.

    Raises:
        InputError: there is no training image.
        NonFiniteError: features, scores or the surrogate became NaN or infinite; names stage, step and image.
    """
    sampler = config.sampler(len(class_names(inputs["dataset"])))
    seed_everything(context.seed, context.outer_iteration or 0)
    previous = inputs.get("previous")
    network = _build(config, sampler, load_pretrained=previous is None).to(context.device)
    if previous is not None:
        network.load_state_dict(load_weights(previous.file(WEIGHTS_NAME)))
    examples = Examples(inputs, config, sampler, network.extractor.stride)
    if not examples.ids:
        raise InputError(f"{NAME}: expected at least one training image, got none")
    trainer = Trainer(network, examples, config, context)
    curve = run_steps(context, trainer.state(), trainer.steps, trainer.step, best=trainer.best_weights())
    context.write_json(SAMPLER_NAME, sampler.to_json())
    context.counts.update(
        images=len(trainer.train_ids),
        held_back_images=len(trainer.held_back_ids),
        targets="seeds" if examples.detections is None else "detections",
        first=curve[0],
        last=curve[-1],
    )
    finish(context, network.state_dict())


def _build(config: Config, sampler: SamplerConfig, load_pretrained: bool = True) -> ConditionalNetwork:
    network = build_network(sampler.network, load_pretrained=load_pretrained)
    if config.checkpointing:
        save_activations(network)
    if config.compile:
        compile_features(network)
    return network


def _check(config: Config, _: Execution) -> None:
    """Fail before hours are spent: a wrong stride, absent weights, settings that exclude each other."""
    _build(config, config.sampler(1))


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=("dataset", "proposals", "prm_seeds"),
    optional=("train_predictions", "previous"),
    contract="weights",
    check=_check,
    threaded=True,
)
