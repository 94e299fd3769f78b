"""`wsis diagnose`: the rules by which a run's conditional network was taught, then the measuring of `reporting`."""

from collections.abc import Sequence
from typing import Any

from data_contracts.errors import ConfigError
from data_contracts.runs import load_run
from data_contracts.store import Store
from stages.conditional.training import trained_config
from wsis.engine.progress import Progress
from wsis.reporting.diagnosis.diagnosis import Split, diagnose
from wsis.reporting.diagnosis.images import SeedRule
from wsis.runs.config import stored_config
from wsis.views.dataset import class_names


def diagnose_run(
    store: Store,
    run_name: str,
    split: Split = "both",
    images: int | None = None,
    chosen: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Diagnosis of a run, finished or not, as `wsis.reporting.diagnosis.diagnosis.diagnose` gives it. Writes nothing.

    Raises:
        ConfigError: the run has no data set yet, no ground truth, or no masks in the split.
        ArtefactMissingError, CorruptArtefactError: no such run; an artefact is damaged or gone; named.
        DataError, WsisError: records contradict each other; names the image.
    """
    record = load_run(store, run_name)
    if "dataset" not in record.entries:
        raise ConfigError(f"run {run_name} holds no data set yet: wsis run --name {run_name}")
    bar = progress or Progress()
    return diagnose(
        store,
        record,
        _rule(store, run_name),
        split,
        images,
        chosen,
        lambda ids, what: bar.track(ids, len(ids), f"diagnose {what}", "img"),
    )


def _rule(store: Store, run_name: str) -> SeedRule:
    """As the conditional network of iteration 1 was trained; before there is one, as the run is configured."""
    record = load_run(store, run_name)
    entry, data = record.entries.get("conditional@1"), record.entries["dataset"]
    if entry is None:
        config = stored_config(record).conditional
    else:
        config = trained_config(store.open(entry.stage, entry.fingerprint, verify=False))
    classes = class_names(store.open(data.stage, data.fingerprint, verify=False))
    return SeedRule(config, config, len(classes))
