"""The "PRM" baseline of Table 1: classes by the classifier, one proposal a peak by Zhou's metric, NMS 0.3.

Labels of these images are never read: the classes are those that the classifier predicts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from data_contracts.records import RecordReader
from data_contracts.schemas import PROPOSAL_DETECTIONS, PROPOSALS
from stages.prm.peak_network import PeakNetwork, open_peak_network, workers
from wsis.engine.per_image import Record, write_records
from wsis.engine.settings import odd
from wsis.engine.stage import Artefact, Stage, StageConfig, StageContext
from wsis.method.masks.proposal_set import Regions
from wsis.method.prm.retrieval import RetrievalConfig, retrieve
from wsis.method.prm.seeds import SeedConfig, generate_seeds
from wsis.views.dataset import image_ids

NAME = "prm_baseline"
ALGORITHM_VERSION = 1


class Config(StageConfig):
    """How classes are predicted, peaks found and proposals retrieved."""

    split: Literal["val", "train"] = Field("val", description="images to segment")
    image_size: int = Field(320, ge=32, le=2048, description="longer side of the classifier's input")
    class_threshold: float = Field(
        0.5,
        ge=0,
        le=1,
        description="probability from which a class is predicted; the likeliest one always is",
    )
    threshold: float = Field(0.0, description="class response (logit) that a peak must exceed")
    stop_stride: Literal[1, 2, 4, 8] = Field(
        4, description="grid of the backward; 1: down to the image (the paper)"
    )
    map_stride: int = Field(4, ge=1, le=64, description="input pixels to a pixel of the maps")
    alpha: float = Field(0.8, ge=0, description="weight of the response inside against that on the contour")
    beta: float = Field(2.0, ge=0, description="weight of the background's share of the image")
    background: float = Field(0.95, ge=0, description="background: response below this factor times its mean")
    contour_width: Annotated[int, AfterValidator(odd)] = Field(
        5, ge=1, le=51, description="odd, working pixels"
    )
    min_area: float = Field(
        2e-5, ge=0, le=1, description="share of the image from which a proposal is considered"
    )
    max_area: float = Field(
        0.85, gt=0, le=1, description="share of the image below which a proposal is considered"
    )
    max_proposals: int | None = Field(100, ge=1, description="best-ranked proposals considered; null: all")
    nms: float = Field(0.3, ge=0, le=1, description="IoU from which the weaker of two retrieved masks goes")
    chunk_size: int = Field(
        16,
        ge=1,
        le=1024,
        json_schema_extra={"execution_only": True},
        description="peaks that go down at once; bounds the memory",
    )

    def retrieval(self) -> RetrievalConfig:
        """The metric's parameters."""
        return RetrievalConfig(
            self.alpha,
            self.beta,
            self.background,
            self.contour_width,
            self.min_area,
            self.max_area,
            self.max_proposals,
            self.nms,
        )


@dataclass(frozen=True)
class _Compute:
    """Image ids -> labelled proposals."""

    peaks: PeakNetwork
    proposals: RecordReader
    config: Config

    def __call__(self, ids: Sequence[str]) -> Iterator[Record]:
        for image_id in ids:
            yield self.detections_of(image_id)

    def detections_of(self, image_id: str) -> dict[str, np.ndarray]:
        network, batch = self.peaks.network, self.peaks.batch(image_id)
        passed = network.forward(batch)
        probabilities = network.scores(passed)[0].sigmoid()
        predicted = (probabilities >= self.config.class_threshold).nonzero()[:, 0] + 1
        labels = np.union1d(predicted.cpu().numpy(), [int(probabilities.argmax()) + 1])
        settings = SeedConfig(self.config.threshold, self.peaks.spec.window, self.config.map_stride)
        height, width = self.peaks.dataset.read(image_id, ("size",))["size"].tolist()
        size = (height, width)
        (seeds,) = generate_seeds(network, batch, [labels], [size], settings, passed=passed)
        regions = Regions.from_record(self.proposals.read(image_id, Regions.FIELDS))
        found = retrieve(
            seeds.peaks,
            seeds.peak_response_maps,
            seeds.class_response_maps,
            seeds.response_classes,
            regions.superpixels.astype(np.int32),
            regions.membership,
            self.config.retrieval(),
        )
        return {"proposal_ids": found.proposal_ids, "labels": found.labels, "scores": found.values}


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Write the retrieved proposals of every image of the split."""
    peaks = open_peak_network(inputs, config, context)
    compute = _Compute(peaks, inputs["proposals"].records(PROPOSALS), config)
    ids = image_ids(peaks.dataset, config.split)
    write_records(context, PROPOSAL_DETECTIONS, ids, compute, workers(context))
    written = RecordReader(context.workdir, PROPOSAL_DETECTIONS)
    found = [len(written.read(image_id, ("labels",))["labels"]) for image_id in written.ids]
    context.counts.update(images=len(found), detections=sum(found), images_without_detections=found.count(0))


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=("dataset", "prm_classifier", "proposals"),
    contract=PROPOSAL_DETECTIONS.name,
    seeded=False,
)
