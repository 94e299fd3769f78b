"""Score a trained run on a labelled data set it has never seen; classes are matched by name."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from data_contracts.errors import ConfigError, DataError
from data_contracts.paths import user_path
from data_contracts.runs import Measured, load_run, now, save_run
from data_contracts.store import Artefact, Store
from stages.data import dataset, ground_truth
from stages.evaluation import evaluation
from stages.prediction import predictions
from wsis.engine.stage import Stage, StageConfig, execute
from wsis.readers.config import DataConfig
from wsis.readers.formats import FORMATS
from wsis.reporting.tables.results import measured_row
from wsis.runs.config import validated
from wsis.runs.runner import Runner
from wsis.views.dataset import class_names


class Settings(BaseModel):
    """What `--set` reaches."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    data: DataConfig


def evaluate_external(
    store: Store,
    run_name: str,
    root: str,
    data_format: str,
    split: str,
    iteration: int | None = None,
    overrides: Iterable[str] = (),
) -> dict[str, Any]:
    """A row of results for a run's prediction network on `split` of another data set; the run's record keeps it.

    Images, truth and detections become artefacts of the store, so that a second call is quick. Objects of
    classes that the run does not know are left out; a class of the run that the data lack has AP null.

    Args:
        overrides: `data.key=value`, for data whose parts lie elsewhere than their format has them.

    Returns:
        As `wsis.reporting.tables.results.measured_of` gives it.

    Raises:
        ConfigError: unknown format or key, or the run has no prediction network of that iteration.
        DataError: the data are not what their format promises, have no masks, or share no class with the run.
    """
    known = ("auto", *FORMATS)
    if data_format not in known:
        raise ConfigError(f"--format: expected one of {', '.join(known)}, got {data_format!r}")
    runner = Runner(store, run_name)
    trained = runner.latest("prediction", iteration)
    t = trained.manifest.outer_iteration
    classes = class_names(runner.artefact("dataset"))
    tree = {
        **{"format": data_format, "root": root, "train_split": None, "val_split": split},
        **{"classes": list(classes), "on_unknown_class": "ignore"},
    }
    data = validated(Settings, {"data": tree}, "wsis evaluate", overrides).data
    images = _execute(runner, dataset.STAGE, data, {})
    counts = images.manifest.counts
    if counts["val_negatives"] == counts["val"]:
        raise DataError(f"{root}, split {split}: no instance of a class of the run ({', '.join(classes)})")
    truth = _execute(runner, ground_truth.STAGE, data, {})
    as_val = predictions.Config(**dict(runner.config.predictions))
    found = _execute(runner, predictions.STAGE, as_val, {"dataset": images, "prediction": trained}, t)
    scored = _execute(
        runner, evaluation.STAGE, runner.config.evaluation, {"ground_truth": truth, "predictions": found}, t
    )
    used = (images, truth, found, scored)
    measured = Measured(
        data=str(user_path(root, "data.root").absolute()),
        format=data_format,
        split=split,
        digest=truth.fingerprint,
        outer_iteration=t,
        finished=now(),
        artefacts={artefact.manifest.stage: artefact.fingerprint for artefact in used},
    )
    _keep(store, run_name, measured)
    return measured_row(store, measured)


def _keep(store: Store, run_name: str, measured: Measured) -> None:
    """Add to the run's record, as it is now, what was measured; the same once more takes the earlier one's place."""
    record = load_run(store, run_name)
    others = [one for one in record.measured if one.artefacts != measured.artefacts]
    record.measured = [*others, measured]
    save_run(store, record)


def _execute(
    runner: Runner,
    stage: Stage,
    stage_config: StageConfig,
    inputs: Mapping[str, Artefact],
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
