"""Seeds of the training images: peaks of their annotated classes and the peak response maps behind them.

Under box supervision (the data set's artefact holds boxes) every box gets one seed, and maps are cut to it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from data_contracts.records import RecordReader
from data_contracts.schemas import DATASET, SEEDS, array_to_text
from stages.base import Artefact, Stage, StageConfig, StageContext
from stages.readers.images import decode_image
from stages.sharding import Record, write_records
from stages.training import WEIGHTS_NAME, load_weights
from wsis.errors import NonFiniteError
from wsis.prm.augmentation import resize_for_inference
from wsis.prm.classifier import ClassifierSpec
from wsis.prm.peak_backprop import PeakBackpropagation
from wsis.prm.seeds import SeedConfig, generate_seeds

NAME = "prm_seeds"
ALGORITHM_VERSION = 1


class Config(StageConfig):
    """How seeds are found."""

    image_size: int = Field(320, ge=32, le=2048, description="longer side of the classifier's input")
    threshold: float = Field(0.0, description="class response (logit) that a peak must exceed")
    position: Literal["response", "cell"] = Field(
        "response", description="a seed lies at its response map's maximum, or at its peak's cell"
    )
    stop_stride: Literal[1, 2, 4, 8] = Field(
        4, description="grid of the backward; 1: down to the image (the paper)"
    )
    map_stride: int = Field(4, ge=1, le=64, description="input pixels to a pixel of the stored maps")
    chunk_size: int = Field(16, ge=1, le=1024, json_schema_extra={"execution_only": True})


@dataclass(frozen=True)
class _Compute:
    """Image ids -> seeds. The network is built once in each process."""

    dataset: RecordReader
    spec: ClassifierSpec
    weights: Path
    config: Config
    device: str

    @cached_property
    def network(self) -> PeakBackpropagation:
        model = self.spec.restore(load_weights(self.weights), str(self.weights)).to(self.device)
        return PeakBackpropagation(model, self.config.stop_stride, self.config.chunk_size)

    def __call__(self, image_ids: Sequence[str]) -> Iterator[Record]:
        for image_id in image_ids:
            yield self.seeds_of(image_id)

    def seeds_of(self, image_id: str) -> dict[str, np.ndarray]:
        one = self.dataset[image_id]
        image = resize_for_inference(decode_image(one["encoded"].tobytes(), image_id), self.config.image_size)
        batch = torch.from_numpy(image).permute(2, 0, 1)[None].to(self.device)
        settings = SeedConfig(
            self.config.threshold, self.spec.window, self.config.map_stride, self.config.position
        )
        size = (int(one["size"][0]), int(one["size"][1]))
        # One image at a time: its peaks go down together, and no record depends on how images are grouped.
        boxes = [(one["boxes"], one["box_labels"])] if len(one["boxes"]) else None
        try:
            (seeds,) = generate_seeds(self.network, batch, [one["labels"]], [size], settings, boxes)
        except NonFiniteError as error:
            raise NonFiniteError(f"{NAME} of image {image_id}: {error}") from error
        return {name: getattr(seeds, name) for name in SEEDS.fields}


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Write the seeds of every training image."""
    dataset = inputs["dataset"].records(DATASET)
    classifier = inputs["prm_classifier"]
    image_ids = [i for i in dataset.ids if array_to_text(dataset.read(i, ("split",))["split"]) == "train"]
    spec = ClassifierSpec(**json.loads(classifier.file("classifier.json").read_text()))
    compute = _Compute(dataset, spec, classifier.file(WEIGHTS_NAME), config, str(context.device))
    workers = context.execution.workers if context.device.type == "cpu" else 1
    write_records(context, SEEDS, image_ids, compute, workers)
    context.counts.update(_counts(RecordReader(context.workdir, SEEDS), config.threshold))


def _counts(records: RecordReader, threshold: float) -> dict[str, int]:
    """From what was written, so that a resumed stage counts the same."""
    counts = {
        "images": 0,
        "seeds": 0,
        "images_without_seeds": 0,
        "seeds_below_threshold": 0,
        "seeds_without_source": 0,
    }
    for image_id in records.ids:
        one = records.read(image_id, ("scores", "peak_response_maps"))
        counts["images"] += 1
        counts["seeds"] += len(one["scores"])
        counts["images_without_seeds"] += int(len(one["scores"]) == 0)
        # no peak above the threshold: the class's (or box's) highest cell stands in
        counts["seeds_below_threshold"] += int((one["scores"] <= threshold).sum())
        counts["seeds_without_source"] += int(((one["peak_response_maps"] > 0).sum(axis=(1, 2)) <= 1).sum())
    return counts


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=("dataset", "prm_classifier"),
    contract=SEEDS.name,
)
