"""The results of a run: one row per evaluated thing and outer iteration."""

import json
from typing import Any

from data_contracts.runs import RunRecord
from data_contracts.store import Store

_ORDER = {"prm_baseline": 0, "pseudo_labels": 1, "prediction": 2, "ceiling": 3}


def results_of(store: Store, record: RunRecord) -> list[dict[str, Any]]:
    """The metrics of every evaluation of a run, by outer iteration and then kind.

    Raises:
        CorruptArtefactError, ArtefactMissingError: an evaluation's artefact is damaged or gone.
    """
    rows = []
    for entry in record.entries.values():
        if entry.stage == "evaluation":
            artefact = store.open(entry.stage, entry.fingerprint)
            rows.append(json.loads(artefact.file("metrics.json").read_text()))
    return sorted(rows, key=lambda r: (r["outer_iteration"] or 0, _ORDER.get(r["kind"], 9)))
