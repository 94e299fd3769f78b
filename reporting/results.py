"""The results of a run: one row per evaluated thing and outer iteration."""

import json
from typing import Any

from data_contracts.runs import RunRecord
from data_contracts.store import Store

THRESHOLDS = ("0.25", "0.50", "0.70", "0.75")
_ORDER = {"prm_baseline": 0, "pseudo_labels": 1, "prediction": 2, "ceiling": 3}
_COLUMNS = ("kind", "iter", "split", "images", "supervision")


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


def results_text(rows: list[dict[str, Any]], per_class: bool = False) -> str:
    """A table in plain text, mAP^r in per cent; '-' where a class has no ground truth."""
    header = [*_COLUMNS, *(f"mAP@{t}" for t in THRESHOLDS)]
    lines = [header, *([*_lead(row), *(_percent(row["mAP"].get(t)) for t in THRESHOLDS)] for row in rows)]
    text = _align(lines)
    if not rows:
        return text + "\n(nothing evaluated yet)"
    if per_class:
        classes = list(rows[0]["per_class"])
        wide = [[*_COLUMNS[:3], *classes]]
        for row in rows:
            aps = row["per_class"]
            wide.append([*_lead(row)[:3], *(_percent(aps.get(c, {}).get("0.50")) for c in classes)])
        text += "\n\nAP^r at 0.50 by class\n" + _align(wide)
    return text


def _lead(row: dict[str, Any]) -> list[str]:
    iteration = "-" if row["outer_iteration"] is None else str(row["outer_iteration"])
    return [row["kind"], iteration, row["split"], str(row["images"]), str(row["supervision"])]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _align(lines: list[list[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i < 3 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
