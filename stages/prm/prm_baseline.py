"""The "PRM" baseline of Table 1: classes by the classifier, one proposal a peak by Zhou's metric, NMS 0.3.

Labels of these images are never read: the classes are those that the classifier predicts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from data_contracts.records import RecordReader
from data_contracts.schemas import PROPOSAL_DETECTIONS, PROPOSALS
from stages.prm.peak_network import PeakNetwork, open_peak_network
from wsis.engine.per_image import Record, write_records
from wsis.engine.stage import Artefact, Stage, StageConfig, StageContext
from wsis.method.masks.proposal_set import Regions
from wsis.method.prm.retrieval import RetrievalConfig, retrieve
from wsis.method.prm.seeds import SeedConfig, generate_seeds
from wsis.views.dataset import image_ids

NAME = "prm_baseline"
ALGORITHM_VERSION = 2


class BaselineConfig(RetrievalConfig):
    """Section `prm_baseline` of a run: how classes are predicted and proposals retrieved."""

    class_threshold: float = Field(
        0.5,
        ge=0,
        le=1,
        description="probability from which a class is predicted; the likeliest one always is",
    )


class Config(BaselineConfig, SeedConfig, StageConfig):
    """Of the section, with peaks as those of the seeds."""


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
        probabilities = network.scores(passed)[0].sigmoid().cpu()
        predicted = (probabilities >= self.config.class_threshold).nonzero()[:, 0] + 1
        labels = np.union1d(predicted.numpy(), [int(probabilities.argmax()) + 1])
        height, width = self.peaks.dataset.read(image_id, ("size",))["size"].tolist()
        size = (height, width)
        (seeds,) = generate_seeds(network, batch, [labels], [size], self.config, passed=passed)
        regions = Regions.from_record(self.proposals.read(image_id, Regions.FIELDS))
        found = retrieve(
            seeds.peaks,
            seeds.peak_response_maps,
            seeds.class_response_maps,
            seeds.response_classes,
            regions.superpixels.astype(np.int32),
            regions.membership,
            self.config,
        )
        return {"proposal_ids": found.proposal_ids, "labels": found.labels, "scores": found.values}


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Write the retrieved proposals of every image of val."""
    peaks = open_peak_network(inputs, config, context)
    compute = _Compute(peaks, inputs["proposals"].records(PROPOSALS), config)
    ids = image_ids(peaks.dataset, "val")
    workers = context.execution.workers
    write_records(context, PROPOSAL_DETECTIONS, ids, compute, workers, device=context.device)
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
    per_image=True,
    on_device=True,
)
