"""`wsis predict`: a run's prediction network on a folder of the user's own photographs.

Detections are artefacts of the run's store; what is written for people and other programs is made from them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from data_contracts.paths import write_file
from data_contracts.printable import counted
from data_contracts.records import RecordReader
from data_contracts.schemas import DATASET, DETECTIONS, array_to_text
from data_contracts.store import Artefact
from stages.data import photographs
from stages.prediction import predictions
from wsis.apps.coco_identities import Identities, identities, images_of, write_images
from wsis.apps.output_paths import check_folder, output_names, write_names
from wsis.apps.photograph_proposals import json_lines, write_results
from wsis.apps.training_objects import training_objects
from wsis.engine.per_image import read_failures
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, execute
from wsis.method.masks import rle
from wsis.method.masks.network_detections import NetworkDetections
from wsis.method.masks.paste import paste_masks
from wsis.method.prediction.settings import PredictSettings
from wsis.reporting.pictures.overlays import draw_instances, fit, instance_colours
from wsis.reporting.pictures.pictures import encode
from wsis.runs.config import validated
from wsis.runs.runner import Runner
from wsis.views.dataset import class_names, read_image

OVERLAY_SIDE = 1024  # pixels of the longer side: lines and names are legible whatever the photograph's size


class Settings(BaseModel):
    """What `--set` reaches; the run's own values unless set."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    predictions: PredictSettings
    execution: Execution


def build_settings(runner: Runner, overrides: Iterable[str], score: float) -> Settings:
    """Validated settings, with every detection of at least `score` kept; how large photographs are looked at is chosen
    for each (`tiles: auto`) unless the run or `overrides` say it.

    Raises:
        ConfigError: naming key, expected and got for everything that is wrong.
    """
    run = runner.config
    chosen = chosen_tiles(run.predictions).model_dump()
    tree = {"predictions": chosen, "execution": run.execution.model_dump()}
    settings = validated(Settings, tree, "settings", overrides)
    lowest = min(score, settings.predictions.score_threshold)
    found = settings.predictions.model_copy(update={"score_threshold": lowest})
    return settings.model_copy(update={"predictions": found})


def chosen_tiles(settings: PredictSettings) -> PredictSettings:
    """A run's settings for photographs of any size: those of its own images are as it was trained on, and looked at
    whole unless it says otherwise."""
    said = settings.tiles != "whole" or settings.size is not None
    return settings if said else settings.model_copy(update={"tiles": "auto"})


@dataclass(frozen=True)
class Predicted:
    """The artefacts of `wsis predict`, names of the classes 1..C, which network it was, what results call images and
    classes, and why images failed (image id -> message)."""

    photographs: Artefact
    predictions: Artefact
    classes: tuple[str, ...]
    choice: str
    identities: Identities
    reused: bool
    failed: Mapping[str, str]


def predict(
    runner: Runner,
    images: Path,
    settings: Settings,
    iteration: int | None = None,
    ids_file: Path | None = None,
) -> Predicted:
    """Detections of every photograph by the network of an outer iteration (default: the last).

    Args:
        ids_file: COCO file whose ids of images and categories the results take.

    Raises:
        ConfigError: the run has no such network. CorruptArtefactError: it is damaged.
        DataError: no photographs, or `ids_file` does not fit them.
    """
    trained = runner.latest("prediction", iteration)
    classes = class_names(trained)
    runner.progress.log(f"the network knows {counted(len(classes), 'class')}: {', '.join(classes)}")
    options: dict[str, Any] = {"execution": settings.execution, "progress": runner.progress}
    data = execute(photographs.STAGE, photographs.Config(root=images), {}, runner.store, **options).artefact
    names = identities(ids_file, runner.artefact("dataset"), data, classes)
    objects = training_objects(runner, trained) if settings.predictions.tiles != "whole" else None
    outcome = execute(
        predictions.STAGE,
        predictions.Config(**dict(settings.predictions), objects=objects),
        {"dataset": data, "prediction": trained},
        runner.store,
        seed=runner.config.seed,
        outer_iteration=trained.manifest.outer_iteration,
        **options,
    )
    if outcome.reused:
        for line in predictions.said_of(outcome.artefact):
            runner.progress.log(line)
    failed = read_failures(outcome.artefact.path)
    choice = runner.choice(trained, iteration)
    return Predicted(data, outcome.artefact, classes, choice, names, outcome.reused, failed)


def write_predictions(
    predicted: Predicted, out: Path, score: float, settings: Settings, progress: Progress
) -> int:
    """Write results.json, images.json, overlays/ID.png and labels/ID.png of all detections of at least `score`;
    their number.

    results.json is COCO results, best first, masks in the frame of the photograph after its EXIF rotation, with
    three fields more: `file_name`, `category_name`, and `instance`, the value of the instance's pixels in
    labels/ID.png (uint16, the photograph's size; 0 = none; where instances overlap, the best score's). names.json says
    which pictures are not called like their photograph (`output_paths.output_names`). images.json is a COCO file
    of the photographs and classes with the same ids, without annotations.

    Raises:
        StoreError: a file cannot be written.
    """
    check_folder(out)
    records = predicted.predictions.records(DETECTIONS)
    ids = [i for i in records.ids if i not in predicted.failed]
    done = [one for one in images_of(predicted.photographs) if one.key not in predicted.failed]
    write_images(out / "images.json", done, predicted.classes, predicted.identities)
    data = predicted.photographs.records(DATASET)
    names = output_names(ids)
    write_names(names, out)
    write = _Write(data, records, predicted.classes, predicted.identities, names, out, score)
    return write_results(write, ids, out / "results.json", settings.execution.workers, progress)


@dataclass(frozen=True)
class _Write:
    """Image ids -> number of results and their JSON; writes the pictures on the way."""

    photographs: RecordReader
    detections: RecordReader
    classes: tuple[str, ...]
    identities: Identities
    names: Mapping[str, str]
    out: Path
    score: float

    def __call__(self, image_ids: Sequence[str]) -> Iterator[tuple[int, str]]:
        for image_id in image_ids:
            found = NetworkDetections.from_record(self.detections[image_id]).sure(self.score)
            results, label_map = self._results(image_id, found)
            self._write("labels", image_id, label_map)
            self._write("overlays", image_id, self._overlay(image_id, found))
            yield len(results), json_lines(results)

    def _results(
        self, image_id: str, found: NetworkDetections
    ) -> tuple[list[dict[str, Any]], NDArray[np.uint16]]:
        """COCO results of one image, and its label map uint16 [H, W]; memory for one mask at a time."""
        file_name = array_to_text(self.photographs.read(image_id, ("file_name",))["file_name"])
        label_map = np.zeros(found.size, np.uint16)
        results = []
        for i, (box, label, score) in enumerate(
            zip(found.boxes, found.labels.tolist(), found.scores.tolist(), strict=True)
        ):
            mask = paste_masks(found.masks[i : i + 1], box[None], found.size)[0]
            label_map[mask & (label_map == 0)] = i + 1
            x1, y1, x2, y2 = box.tolist()
            results.append(
                {
                    "image_id": self.identities.images[image_id],
                    "file_name": file_name,
                    "category_id": self.identities.categories[label - 1],
                    "category_name": self.classes[label - 1],
                    "instance": i + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "segmentation": {"size": list(found.size), "counts": rle.encode(mask).decode()},
                    "score": score,
                }
            )
        return results, label_map

    def _overlay(self, image_id: str, found: NetworkDetections) -> NDArray[np.uint8]:
        """Outlined, named instances uint8 [H, W, 3], pasted at the size that is drawn."""
        image = read_image(self.photographs, image_id)
        small = fit(image, OVERLAY_SIDE)
        scale = np.array([small.shape[i] / image.shape[i] for i in (1, 0, 1, 0)], np.float32)
        masks = paste_masks(found.masks, found.boxes * scale, small.shape[:2])
        names = [
            f"{self.classes[label - 1]} {score:.2f}"
            for label, score in zip(found.labels.tolist(), found.scores.tolist(), strict=True)
        ]
        return draw_instances(small, masks, instance_colours(len(masks)), names)

    def _write(self, kind: str, image_id: str, picture: NDArray[Any]) -> None:
        write_file(self.out / kind / self.names[image_id], encode(picture, "PNG"))
