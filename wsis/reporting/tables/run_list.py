"""The runs of a store, one row each."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from data_contracts.errors import ContractError
from data_contracts.notes import notes_of
from data_contracts.printable import one_line
from data_contracts.runs import list_runs
from data_contracts.store import Store
from wsis.reporting.tables.tables import format_table, percent
from wsis.views.run import Run

_HEADER = ("run", "status", "config", "data", "last stage", "AP50", "age", "remark")
_ELASTIC = (7, 3, 2, 0, 4)  # columns that give way to the width, in this order
_LEAST = 8


def run_rows(store: Store) -> list[dict[str, Any]]:
    """What `wsis runs --json` prints: a row a run, a damaged record's with status "damaged"."""
    rows = []
    for name in list_runs(store):
        try:
            rows.append(_row(Run.load(store, name)))
        except ContractError as error:
            rows.append({"run": name, "status": "damaged", "error": str(error)})
    return rows


def _row(run: Run) -> dict[str, Any]:
    record = run.record
    data = record.config.get("data") or {}
    found = record.data.format if record.data is not None else None
    entries = list(record.entries.items())
    return {
        "run": record.name,
        "status": record.status,
        "stale": run.stale(),
        "error": record.error,
        "config": record.config_name,
        "data": {"format": found or data.get("format"), "root": data.get("root")},
        "supervision": data.get("supervision"),
        "artefacts": len(entries),
        "last_stage": entries[-1][0] if entries else None,
        "mAP50": _last_map(run),
        "created": record.created,
        "last_activity": entries[-1][1].finished if entries else record.created,
        "notes": [note.text for note in notes_of(run.store, run.name)],
    }


def _last_map(run: Run) -> float | None:
    """mAP at 0.50 of the prediction network after the last outer iteration that was scored."""
    entries = run.record.entries
    scored = [
        key for key in entries if key.startswith("evaluation.prediction") and entries[key].outer_iteration
    ]
    if not scored:
        return None
    last = max(scored, key=lambda key: entries[key].outer_iteration or 0)
    try:
        file = run.artefact(last, verify=False).file("metrics.json")
        value = json.loads(file.read_text())["mAP"]["0.50"]
    except (ContractError, OSError, ValueError, KeyError, TypeError):
        return None  # the table is of runs; `wsis results` and `wsis verify` name the damage
    return value if isinstance(value, float) else None


def run_list(store: Store, width: int | None = None) -> str:
    """A table of the runs, cut to `width` characters a row (None: not cut)."""
    found = run_rows(store)
    if not found:
        return f"no runs in {store.location}"
    rows = [_cells(row) for row in found]
    if not any(row[-1] for row in rows):
        table = format_table(_HEADER[:-1], _fitted([row[:-1] for row in rows], width), left_columns=5)
    else:  # left-aligned, so that the last column is followed by no spaces
        table = format_table(_HEADER, _fitted(rows, width), left_columns=len(_HEADER))
    stale = [row["run"] for row in found if row.get("stale")]
    if not stale:
        return table
    return f"{table}\nstale: results of replaced artefacts; to compute again: wsis run --name {stale[0]}"


def _cells(row: dict[str, Any]) -> list[str]:
    if row["status"] == "damaged":
        return [row["run"], "damaged", "", "", "", "", "", one_line(row["error"])]
    data = row["data"]
    place = PurePath(data["root"]).name if data["root"] else ""
    known = "" if data["format"] == "auto" else data["format"]
    shown = [word for word in (known, place, "boxes" if row["supervision"] == "box" else "") if word]
    remark = one_line(row["error"]) if row["error"] else row["notes"][-1] if row["notes"] else ""
    config = PurePath(row["config"]).name.removesuffix(".yaml")
    ap = percent(row["mAP50"])
    return [
        row["run"],
        row["status"] + (", stale" if row["stale"] else ""),
        config,
        " ".join(shown),
        row["last_stage"] or "–",
        ap,
        _age(row),
        remark,
    ]


def _age(row: dict[str, Any]) -> str:
    """Since the last stage was finished: 5 min, 3 h, 12 d."""
    try:
        then = datetime.strptime(row["last_activity"], "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        return "–"
    minutes = max(0, int((datetime.now(UTC) - then).total_seconds() // 60))
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} d"


def _fitted(rows: Sequence[Sequence[str]], width: int | None) -> list[list[str]]:
    """Cells cut with an ellipsis until a row is no wider than `width`, the least important column first."""
    fitted = [list(row) for row in rows]
    if width is None:
        return fitted
    columns = len(fitted[0])
    widest = [max(len(_HEADER[i]), *(len(row[i]) for row in fitted)) for i in range(columns)]
    for column in (c for c in _ELASTIC if c < columns):
        excess = sum(widest) + 2 * (columns - 1) - width
        if excess <= 0:
            break
        widest[column] = max(min(_LEAST, widest[column]), widest[column] - excess)
        for row in fitted:
            row[column] = _cut(row[column], widest[column])
    return fitted


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
