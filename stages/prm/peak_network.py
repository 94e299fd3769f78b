"""The trained peak response classifier as the stages that follow it use it: restored, fed, spread over processes.

Suffixes: H W image, h w the classifier's input.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from data_contracts.records import RecordReader
from data_contracts.schemas import DATASET
from wsis.engine.stage import Artefact, StageContext
from wsis.engine.training import WEIGHTS_NAME, load_weights
from wsis.method.placement import placed
from wsis.method.prm.augmentation import resize_for_inference
from wsis.method.prm.classifier import ClassifierSpec
from wsis.method.prm.peak_backprop import PeakBackpropagation
from wsis.method.prm.seeds import SeedConfig
from wsis.method.transfers import moved
from wsis.views.dataset import read_image

SPEC_NAME = "classifier.json"


@dataclass(frozen=True)
class PeakNetwork:
    """The classifier behind an artefact and the images it is shown. The network is built once in each process."""

    dataset: RecordReader
    spec: ClassifierSpec
    weights: Path
    device: str
    config: SeedConfig

    @cached_property
    def network(self) -> PeakBackpropagation:
        """The network with its backward pass."""
        model = placed(self.spec.restore(load_weights(self.weights), str(self.weights)), self.device)
        return PeakBackpropagation(model, self.config.stop_stride)

    def batch(self, image_id: str) -> torch.Tensor:
        """One image at the classifier's size, uint8 [1, 3, h, w] on the device."""
        image = resize_for_inference(read_image(self.dataset, image_id), self.config.image_size)
        return moved(torch.from_numpy(image.transpose(2, 0, 1)[None]), self.device)


def open_peak_network(
    inputs: Mapping[str, Artefact], config: SeedConfig, context: StageContext
) -> PeakNetwork:
    """The network of the inputs `dataset` and `prm_classifier`."""
    classifier = inputs["prm_classifier"]
    return PeakNetwork(
        dataset=inputs["dataset"].records(DATASET),
        spec=ClassifierSpec(**json.loads(classifier.file(SPEC_NAME).read_text())),
        weights=classifier.file(WEIGHTS_NAME),
        device=str(context.device),
        config=config,
    )
