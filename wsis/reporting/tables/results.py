"""The results of a run: one row per evaluated thing and outer iteration, and what was measured on other data."""

import json
from collections.abc import Mapping
from typing import Any

from data_contracts.runs import Measured, RunRecord
from data_contracts.store import Store
from wsis.reporting.tables.tables import COCO, THRESHOLDS
from wsis.views.evaluations import SHARES_NAME
from wsis.views.run import Run


def nothing_scored(record: RunRecord) -> str:
    """Why a run has no results, in one line."""
    if record.status == "failed":
        return f"nothing is scored: the run failed: {record.error}"
    if not record.config.get("evaluate", True):
        return "nothing is scored: evaluate=false"
    if record.data is not None and not any(record.data.masks.values()):
        return "nothing is scored: the data has no masks to compare with"
    return "nothing is scored yet"


def results_of(run: Run) -> list[dict[str, Any]]:
    """The metrics of every evaluation of a run, by outer iteration; the ceiling last. Where training images have given
    masks, pseudo labels have rows for these and for the others beside.

    A row that is stale (`data_contracts.staleness`) says so: `"stale": true`.

    Raises:
        CorruptArtefactError, ArtefactMissingError: an evaluation's artefact is damaged or gone.
    """
    rows, stale = [], set(run.stale())
    for key, entry in run.record.entries.items():
        if entry.stage == "evaluation":
            for row in (result_of(run, key), *_shares_of(run, key)):
                rows.append(row | {"stale": True} if key in stale else row)
    return sorted(rows, key=_place)


def result_of(run: Run, key: str) -> dict[str, Any]:
    """The metrics of one of its evaluations, `evaluation.prediction@1`.

    Raises:
        ConfigError: the run has none of that key.
        CorruptArtefactError, ArtefactMissingError: its artefact is damaged or gone.
    """
    row: dict[str, Any] = json.loads(run.artefact(key).file("metrics.json").read_text())
    # The network trained on true masks is scored as any other; what it was trained on is its node's name.
    return row | {"kind": "ceiling"} if key == "evaluation.ceiling" else row


def _shares_of(run: Run, key: str) -> list[dict[str, Any]]:
    """Of pseudo labels in a run with given masks: a row for the images that learn from these, `given_masks`, and one
    for all others, `weak_labels`."""
    artefact = run.artefact(key)
    if SHARES_NAME not in artefact.manifest.files:
        return []
    rows: dict[str, dict[str, Any]] = json.loads(artefact.file(SHARES_NAME).read_text())
    return list(rows.values())


def scores_of(row: Mapping[str, Any]) -> dict[str, float | None]:
    """The scores of a row of results in [0, 1] by name, such as `mAP 0.50` (VOC) and `COCO AP`; None: not measured."""
    return {
        **{f"mAP {t}": row["mAP"][t] for t in THRESHOLDS},
        **{f"COCO {m}": row.get("coco", {}).get(m) for m in COCO},
    }


def measured_of(run: Run) -> list[dict[str, Any]]:
    """The metrics of the run's network on other data, as `wsis evaluate` measured them, in order of time.

    Returns:
        Rows as those of :func:`results_of` with four fields more: `data`, `format`, `digest`, `finished`.

    Raises:
        CorruptArtefactError, ArtefactMissingError: an evaluation's artefact is damaged or gone.
    """
    return [measured_row(run.store, one) for one in run.record.measured]


def measured_row(store: Store, one: Measured) -> dict[str, Any]:
    """One row of :func:`measured_of`."""
    metrics = json.loads(
        store.open("evaluation", one.artefacts["evaluation"]).file("metrics.json").read_text()
    )
    told = one.model_dump(include={"split", "data", "format", "digest", "finished"})
    return {**metrics, **told}


def _place(row: Mapping[str, Any]) -> tuple[bool, int]:
    """Within an outer iteration the order is that of the record, which is the plan's."""
    return row["kind"] == "ceiling", row["outer_iteration"] or 0
