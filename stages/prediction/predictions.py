"""Detections of the prediction network on the images of one split: class distributions, boxes, soft masks."""

from collections import Counter
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
from stages.prediction.settings import DETECTOR_NAME, OBJECTS
from stages.prediction.training import MODEL_JSON_NAME
from wsis.engine.per_image import Record, read_failures, write_records
from wsis.engine.stage import Artefact, Stage, StageConfig, StageContext
from wsis.errors import WsisError
from wsis.method.prediction.settings import PredictSettings
from wsis.method.prediction.tiles import choose_tiling
from wsis.method.prediction.training_objects import Scale, TrainingObjects
from wsis.views.dataset import read_image, segmented_ids

NAME = "predictions"
ALGORITHM_VERSION = 2
_WORTH_A_PROCESS = 400  # passes of the network; below, starting processes costs more than it saves
_SAID = 5  # sizes of photographs of which it is said how they are looked at
TILINGS = "tilings"  # count of the manifest: what was said


class Config(PredictSettings, StageConfig):
    """Which images, and which detections are kept."""

    split: Literal["train", "val"] = Field(
        "val", description="images to predict: no key of a run, but of its nodes"
    )
    objects: TrainingObjects | None = Field(
        None, description="sizes of training objects, of a network whose artefact does not say them"
    )

    def identity(self) -> dict[str, Any]:
        """As of every stage; what looks at images whole is left out, as in artefacts from before there was a choice."""
        found = super().identity()
        if found["tiles"] == "whole":
            del found["tiles"], found["objects"]
        if found["size"] is None:
            del found["size"]
        return found


@dataclass(frozen=True)
class _Compute:
    """Image ids -> detections. The model is built once in each process."""

    dataset: RecordReader
    model: str
    weights: Path
    config: Config
    objects: TrainingObjects | None
    device: str
    failed: Mapping[str, str]

    @cached_property
    def detector(self) -> Any:
        # MMDetection takes seconds to import: only where it is used
        from wsis.method.prediction.config import from_json
        from wsis.method.prediction.inference import load_detector

        return load_detector(from_json(self.model), self.weights, self.device, objects=self.objects)

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
    objects = objects_of(trained) or config.objects
    passes, lines = _look(records, [i for i in ids if i not in failed], model, config, objects)
    for line in lines:
        context.log(line)
    compute = _Compute(
        records, model, trained.file(DETECTOR_NAME), config, objects, str(context.device), failed
    )
    several = passes >= _WORTH_A_PROCESS
    write_records(
        context,
        DETECTIONS,
        ids,
        compute,
        context.execution.workers if several else 1,
        tolerate=not inputs["dataset"].manifest.supervision,
        device=context.device,
    )
    context.counts.update(_statistics(RecordReader(context.workdir, DETECTIONS)))
    if lines:
        context.counts[TILINGS] = lines


def objects_of(trained: Artefact) -> TrainingObjects | None:
    """How large objects a network was trained on; None: its artefact does not say it."""
    said = trained.manifest.counts.get(OBJECTS)
    known = isinstance(said, dict) and said.keys() == TrainingObjects.model_fields.keys()
    return TrainingObjects.model_validate(said) if known else None


def said_of(found: Artefact) -> list[str]:
    """How the images were looked at, a line for each size; none where that was as always."""
    lines = found.manifest.counts.get(TILINGS)
    return [str(line) for line in lines] if isinstance(lines, list) else []


def _look(
    records: RecordReader, ids: Sequence[str], model: str, config: Config, objects: TrainingObjects | None
) -> tuple[int, list[str]]:
    """Passes of the network that the images take, and how they are looked at, a line for each size."""
    if config.tiles == "whole" and config.size is None:
        return len(ids), []
    sizes = Counter(tuple(records.read(i, ("size",))["size"].tolist()) for i in ids)
    fits = _fits(model)
    chosen = [(choose_tiling(size, fits, config, objects), count) for size, count in sizes.items()]
    passes = sum(count * (len(tiling.windows) + 1) for tiling, count in chosen)
    lines = [tiling.said(count) for tiling, count in chosen if tiling.why]
    more = len(lines) - _SAID
    return passes, lines[:_SAID] + ([f"{more} sizes more, by the same rule"] if more > 0 else [])


def _fits(model: str) -> Scale:
    from wsis.method.prediction.config import from_json, image_scale

    return image_scale(from_json(model))


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
    per_image=True,
    on_device=True,
)
