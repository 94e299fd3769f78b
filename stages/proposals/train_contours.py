"""Stage `train_contours`: the contour network of the proposals, trained on boundaries that people drew.

Not part of a run: the weights that ship with wsis came from it, and a user's own boundaries can replace them.
Writes contours.pt (fp16, what `proposals.contour_model` takes) and curve.json.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator

from data_contracts.atomic import write_atomic
from wsis.engine.optimisation import descend, set_learning_rates, warmup_cosine
from wsis.engine.stage import Artefact, Stage, StageConfig, StageContext, execution_only
from wsis.engine.training import CHECKPOINT_NAME, run_steps
from wsis.method.backbones import weights_digest
from wsis.method.placement import placed
from wsis.method.proposals.contours.network import ContourNetwork
from wsis.method.proposals.contours.training import contour_loss, soft_target, stack_views, training_view
from wsis.method.proposals.contours.weights import encode_weights
from wsis.readers.formats import bsds

NAME = "train_contours"
ALGORITHM_VERSION = 2
MODEL_NAME = "contours.pt"
_ORDER_STREAM, _VIEW_STREAM = 1, 2  # independent random streams of one seed


class Config(StageConfig):
    """Which boundaries, and how the network learns them."""

    root: Path = execution_only(description="folder with images/SPLIT/ID.jpg and boundaries/SPLIT/ID.png")
    splits: tuple[Literal["train", "val"], ...] = Field(("train", "val"), min_length=1)
    pretrained: str | None = Field(
        "imagenet", description="encoder: imagenet, PATH or URL with #sha256=; null only by choice"
    )
    steps: int = Field(1700, ge=1, le=1_000_000)
    batch_size: int = Field(6, ge=1, le=256)
    crop: int = Field(256, ge=32, le=2048, multiple_of=32, description="side of the training views, pixels")
    smallest: float = Field(0.6, gt=0.1, le=4, description="least factor by which a photograph is scaled")
    largest: float = Field(1.5, gt=0.1, le=4, description="greatest such factor")
    rotation: float = Field(20.0, ge=0, le=180, description="largest rotation, degrees")
    target_side: float = Field(
        0.5, ge=0, le=1, description="what a neighbour of a drawn pixel counts in an annotator's target"
    )
    positive_weight: float = Field(3.0, ge=1, le=100, description="weight of boundary pixels")
    side_weight: float = Field(0.2, ge=0, le=10, description="weight of each side output's loss")
    learning_rate: float = Field(2e-3, gt=0, description="of the decoder")
    encoder_rate: float = Field(0.2, ge=0, description="factor for the encoder")
    weight_decay: float = Field(1e-4, ge=0)
    warmup_steps: int = Field(50, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.smallest > self.largest:
            raise ValueError(f"smallest: expected at most largest ({self.largest}), got {self.smallest}")
        return self


def content_digest(config: Config) -> str:
    """Digest of the photographs, their boundaries and the encoder's weights."""
    return bsds.digest(config.root, config.splits) + weights_digest(config.pretrained)


class _Examples:
    """Photographs and targets in memory; batch i is a function of (seed, i)."""

    def __init__(self, config: Config, seed: int) -> None:
        self.config, self.seed = config, seed
        self.items = [
            (one.image, soft_target(one.annotators, config.target_side))
            for one in bsds.read_examples(config.root, config.splits)
        ]

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        size = self.config.batch_size
        views = []
        for position in range(step * size, (step + 1) * size):
            epoch, place = divmod(position, len(self.items))
            order = np.random.default_rng((self.seed, _ORDER_STREAM, epoch)).permutation(len(self.items))
            image, target = self.items[order[place]]
            rng = np.random.default_rng((self.seed, _VIEW_STREAM, position))
            scales = (self.config.smallest, self.config.largest)
            views.append(training_view(image, target, self.config.crop, scales, self.config.rotation, rng))
        return stack_views(views)


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Train, then write the model file.

    Raises:
        DataError: naming the photographs and boundary maps that are missing or broken.
        MissingWeightsError: the encoder's weights are absent or of another network.
    """
    examples = _Examples(config, context.seed)
    torch.manual_seed(context.seed)  # the decoder's initial weights
    network = placed(ContourNetwork(config.pretrained), context.device)
    network.train()
    optimizer = torch.optim.AdamW(
        network.parameter_groups(config.learning_rate, config.encoder_rate),
        weight_decay=config.weight_decay,
        fused=True,
    )

    def step(i: int) -> dict[str, float]:
        images, target, seen = (part.to(context.device) for part in examples.batch(i))
        set_learning_rates(optimizer, warmup_cosine(i, config.steps, config.warmup_steps))
        loss = contour_loss(network, images, target, seen, config.positive_weight, config.side_weight)
        descend(loss, optimizer, network.parameters(), clip_norm=10.0)
        return {"loss": loss.item()}

    run_steps(context, {"model": network, "optimizer": optimizer}, config.steps, step)
    context.counts.update(images=len(examples.items))
    write_atomic(context.workdir / MODEL_NAME, encode_weights(network))
    (context.workdir / CHECKPOINT_NAME).unlink(missing_ok=True)


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=(),
    contract="contour weights",
    supervision=lambda config: (f"boundaries: {'+'.join(config.splits)} of the named folder",),
    content_digest=content_digest,
    threaded=True,
    on_device=True,
    less_gpu_memory="a smaller train_contours.batch_size",
)
