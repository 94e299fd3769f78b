"""The ceiling: the prediction network trained on the TRUE masks of the training images. For measuring only.

It says what the network would reach with full supervision, so that the weakly supervised results can be read as a
share of it. It is in a run's plan only where the run's config says `ceiling: true`, its lineage says pixel labels, and
no stage of the method may take it, or anything made from it, as an input.

The configuration is the prediction network's. One set of instances an image leaves nothing to be uncertain of, so there
is no self-diversity: the loss is Mask R-CNN's own. Void pixels are background, as in VOC's usual conversion
to instance masks. Writes what `stages.prediction.training` says.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from data_contracts.errors import DataError
from data_contracts.schemas import DATASET, GROUND_TRUTH
from stages.prediction.settings import PredictionConfig
from stages.prediction.training import (
    LESS_GPU_MEMORY,
    check_starts,
    content_digest,
    label_sources,
    train_network,
)
from wsis.engine.stage import Artefact, Stage, StageContext
from wsis.method.evaluation.instances import GroundTruth
from wsis.method.masks import rle
from wsis.method.prediction.data.training_images import ImageInstances
from wsis.views.dataset import class_names, image_ids, read_image_again

NAME = "ceiling"
ALGORITHM_VERSION = 3
SUPERVISION = "pixel labels: masks of the training images (ceiling)"


class Config(PredictionConfig):
    """The prediction network's configuration without self-diversity."""

    self_diversity: float | None = Field(0.0, ge=0, le=0)
    outer_iterations: int = Field(4, ge=1, description="as many steps as these together")

    @classmethod
    def like(cls, prediction: PredictionConfig, outer_iterations: int) -> Self:
        """The ceiling of a run: what belongs to self-diversity alone is left at one value."""
        settings = prediction.model_dump(exclude={"self_diversity"})
        return cls(**settings, outer_iterations=outer_iterations)

    def all_steps(self, images: int) -> int:
        """Steps of all outer iterations."""
        return sum(self.total_steps(images, t) for t in range(1, self.outer_iterations + 1))


class TruthSource:
    """The true instances of the training images that have masks, as one set of weight 1."""

    def __init__(self, inputs: Mapping[str, Artefact]) -> None:
        self.dataset = inputs["dataset"].records(DATASET)
        self.truths = inputs["ground_truth"].records(GROUND_TRUTH)
        train = image_ids(self.truths, "train")
        self.ids = [i for i in train if len(self.truths.read(i, ("labels",))["labels"])]
        self.classes = class_names(inputs["dataset"])
        true_classes = class_names(inputs["ground_truth"])
        if not self.ids:
            raise DataError(
                f"{NAME}: expected masks of training images, got none in {len(self.truths.ids)} records"
            )
        if true_classes != self.classes:
            raise DataError(f"{NAME}: expected masks of classes {self.classes}, got {true_classes}")

    def __len__(self) -> int:
        return len(self.ids)

    def image_id(self, index: int) -> str:
        return self.ids[index]

    def image_size(self, index: int) -> tuple[int, int]:
        height, width = self.truths.read(self.ids[index], ("size",))["size"].tolist()
        return height, width

    def image(self, index: int) -> NDArray[np.uint8]:
        return read_image_again(self.dataset, self.ids[index])

    def instances(self, index: int) -> ImageInstances:
        """Every true instance with its class."""
        truth = GroundTruth.from_record(self.truths[self.ids[index]])
        masks = rle.decode_many(truth.counts, truth.size)
        return ImageInstances(masks, truth.labels, np.ones((len(masks), 1), np.float32))


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Train on true masks.

    Raises:
        DataError: no training image has masks, or their classes are not the data set's.
        Others: as :func:`stages.prediction.training.train_network`.
    """
    source = TruthSource(inputs)
    train_network(source, config, config.all_steps(len(source)), context)


def _supervision(config: Config) -> Sequence[str]:
    return (SUPERVISION, *label_sources(config))


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=("dataset", "ground_truth"),
    contract="weights",
    supervision=_supervision,
    content_digest=content_digest,
    check=check_starts,
    threaded=True,
    on_device=True,
    less_gpu_memory=LESS_GPU_MEMORY,
)
