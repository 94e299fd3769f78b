"""Detections of the prediction network on the images of one split: class distributions, boxes, soft masks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from data_contracts.errors import DataError
from data_contracts.records import RecordReader
from data_contracts.schemas import DATASET, DETECTIONS
from stages.prediction.settings import DETECTOR_NAME
from stages.prediction.training import MODEL_JSON_NAME
from wsis.engine.per_image import Record, read_failures, write_records
from wsis.engine.stage import Artefact, Stage, StageConfig, StageContext
from wsis.errors import WsisError
from wsis.method.prediction.settings import PredictSettings
from wsis.views.dataset import read_image, segmented_ids

NAME = "predictions"
ALGORITHM_VERSION = 1
_WORTH_A_PROCESS = 400  # images; below, starting processes costs more than it saves


class Config(PredictSettings, StageConfig):
    """Which images, and which detections are kept."""

    split: Literal["train", "val"] = Field(
        "val", description="images to predict: no key of a run, but of its nodes"
    )


@dataclass(frozen=True)
class _Compute:
    """Image ids -> detections. The model is built once in each process."""

    dataset: RecordReader
    model: str
    weights: Path
    config: Config
    device: str
    failed: Mapping[str, str]

    @cached_property
    def detector(self) -> Any:
        # MMDetection takes seconds to import: only where it is used
        from wsis.method.prediction.config import from_json
        from wsis.method.prediction.inference import load_detector

        return load_detector(from_json(self.model), self.weights, self.device)

    def __call__(self, ids: Sequence[str]) -> Iterator[Record]:
        for image_id in ids:
            if image_id in self.failed:
                raise DataError(self.failed[image_id])
            image = read_image(self.dataset, image_id)
            try:
                # One image at a time: no record depends on how images are grouped.
                found = self.detector.predict([image], self.config)[0]
            except WsisError as error:
                raise type(error)(f"{NAME}: image {image_id}: {error}") from error
            yield found.to_record()


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Write the detections of every image of the split; negatives of train are left out: nothing is learned from them.

    Of data without labels (the user's own photographs) an image that fails is listed in the manifest and the
    others go on; a run needs all of its images.

    Raises:
        DataError: the data set has no image of that split.
    """
    records = inputs["dataset"].records(DATASET)
    failed = read_failures(records.root)
    wanted = {*segmented_ids(records, config.split), *failed}
    ids = [i for i in records.ids if i in wanted]
    if not ids:
        raise DataError(f"{NAME}: expected images of split '{config.split}' in the data set, got none")
    trained = inputs["prediction"]
    model = trained.file(MODEL_JSON_NAME).read_text()
    compute = _Compute(records, model, trained.file(DETECTOR_NAME), config, str(context.device), failed)
    several = context.device.type == "cpu" and len(ids) >= _WORTH_A_PROCESS
    write_records(
        context,
        DETECTIONS,
        ids,
        compute,
        context.execution.workers if several else 1,
        tolerate=not inputs["dataset"].manifest.supervision,
    )
    context.counts.update(_statistics(RecordReader(context.workdir, DETECTIONS)))


def _statistics(records: RecordReader) -> dict[str, Any]:
    """Counts of what was written, so that a resumed stage counts the same."""
    best, numbers = [], []
    failed = read_failures(records.root)
    for image_id in (i for i in records.ids if i not in failed):
        scores = records.read(image_id, ("scores",))["scores"]
        numbers.append(len(scores))
        best.append(float(scores.max()) if len(scores) else 0.0)
    return {
        "images": len(numbers),
        "detections": int(sum(numbers)),
        "images_without_detection": int(sum(n == 0 for n in numbers)),
        "median_best_score": float(np.median(best)) if best else 0.0,
        **({"failed": list(failed.values())} if failed else {}),
    }


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=("dataset", "prediction"),
    contract=DETECTIONS.name,
    seeded=False,
)
