"""Score a trained run on a labelled data set it has never seen; classes are matched by name."""

import json
from pathlib import Path
from typing import Any

from data_contracts.errors import ConfigError, DataError
from data_contracts.store import Artefact, Store
from flows.runner import Runner
from stages import dataset, evaluation, ground_truth, predictions
from stages.access import class_names
from stages.base import execute
from stages.readers.config import DataConfig


def evaluate_external(
    store: Store, run_name: str, root: str, data_format: str, split: str, iteration: int | None = None
) -> dict[str, Any]:
    """A row of results for a run's prediction network on `split` of another data set.

    Images, truth and detections become artefacts of the store, so that a second call is quick. Objects of
    classes that the run does not know are left out; a class of the run that the data lack has AP null.

    Raises:
        ConfigError: unknown format, or the run has no prediction network of that iteration.
        DataError: the data are not what their format promises, or share no class with the run.
    """
    if data_format not in ("voc", "coco"):
        raise ConfigError(f"--format: expected voc or coco, got {data_format!r}")
    runner = Runner(store, run_name)
    trained = runner.latest("prediction", iteration)
    t = trained.manifest.outer_iteration
    classes = class_names(runner.artefact("dataset"))
    data = DataConfig(
        format=data_format,  # type: ignore[arg-type]  # checked above
        root=Path(root),
        train_split=None,
        val_split=split,
        classes=classes,
        on_unknown_class="ignore",
    )
    images = _execute(runner, dataset.STAGE, data, {})
    truth = _execute(runner, ground_truth.STAGE, data, {})
    as_val = runner.config.predictions.model_copy(update={"split": "val"})
    found = _execute(runner, predictions.STAGE, as_val, {"dataset": images, "prediction": trained}, t)
    scored = _execute(
        runner, evaluation.STAGE, runner.config.evaluation, {"ground_truth": truth, "predictions": found}, t
    )
    row = json.loads(scored.file("metrics.json").read_text())
    if not scored.manifest.counts["instances"]:
        raise DataError(f"{root}, split {split}: no instance of a class of the run ({', '.join(classes)})")
    return {**row, "split": split}


def _execute(
    runner: Runner,
    stage: Any,
    stage_config: Any,
    inputs: dict[str, Artefact],
    iteration: int | None = None,
) -> Artefact:
    return execute(
        stage,
        stage_config,
        inputs,
        runner.store,
        seed=runner.config.seed,
        outer_iteration=iteration,
        execution=runner.config.execution,
        progress=runner.progress,
    ).artefact
