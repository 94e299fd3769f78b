"""Two runs side by side: the settings in which they differ, and their results in pairs."""

import json
import textwrap
from collections.abc import Mapping
from typing import Any

from wsis.reporting.tables.results import results_of
from wsis.reporting.tables.tables import ABSENT, WIDTH, Column, format_table, percent
from wsis.views.run import Run
from wsis.views.stored_configs import flat

_VALUE_WIDTH = 18
_SHOWN = (("mAP", "0.50", "VOC mAP .50"), ("mAP", "0.75", "VOC mAP .75"), ("coco", "AP", "COCO AP"))


def run_difference(
    runs: tuple[Run, Run], settings: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> dict[str, Any]:
    """What differs between two runs, as plain values.

    Args:
        settings: of each run, nested, every key there.

    Returns:
        `runs` (name, config_name, status, data: digest of images and labels), `settings` (dotted key -> both values,
        null where a run has no such key), `common` and `own` (keys of artefacts that are the same one and of those that
        both have and are not), `results` (kind, outer_iteration, split, and a row of results or null of each run).

    Raises:
        CorruptArtefactError, ArtefactMissingError: an evaluation of a run is damaged or gone.
    """
    records = [run.record for run in runs]
    of_key = [dict(flat(one)) for one in settings]
    keys = dict.fromkeys([*of_key[0], *of_key[1]])
    both = [key for key in records[0].entries if key in records[1].entries]
    same = [key for key in both if len({record.entries[key].fingerprint for record in records}) == 1]
    rows = [{_place(row): row for row in results_of(run)} for run in runs]
    return {
        "runs": [
            {
                "name": record.name,
                "config_name": record.config_name,
                "status": record.status,
                "data": None if record.data is None else record.data.content,
            }
            for record in records
        ],
        "settings": {
            key: [one.get(key) for one in of_key] for key in keys if of_key[0].get(key) != of_key[1].get(key)
        },
        "common": same,
        "own": [key for key in both if key not in same],
        "results": [
            {
                **dict(zip(("kind", "outer_iteration", "split"), place, strict=True)),
                "results": [one.get(place) for one in rows],
            }
            for place in dict.fromkeys([*rows[0], *rows[1]])
        ],
    }


def difference_text(found: Mapping[str, Any]) -> str:
    """:func:`run_difference` in words, at most 80 columns."""
    runs = found["runs"]
    lines = [
        f"{letter}: {run['name']} ({run['config_name']}, {run['status']}"
        + (f", data {run['data'][:12]})" if run["data"] else ")")
        for letter, run in zip("AB", runs, strict=True)
    ]
    lines.append(
        f"the same artefact for {len(found['common'])} stages, another for {len(found['own'])}"
        + (f", from {found['own'][0]} on" if found["own"] else "")
    )
    settings = [
        [key, *(_shown(value) for value in values)] for key, values in sorted(found["settings"].items())
    ]
    table = format_table(["setting", "A", "B"], settings, left_columns=3, width=WIDTH)
    heading = "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="   ") for line in lines)
    parts = [heading, table if settings else "no setting differs"]
    if found["results"]:
        header = [
            *(Column(title) for title in ("result", "iter", "split")),
            *(Column(title, group) for _, _, group in _SHOWN for title in ("A", "B", "B-A")),
        ]
        parts.append(format_table(header, [_line(pair) for pair in found["results"]], "text", 3, WIDTH))
    return "\n\n".join(parts)


def _place(row: Mapping[str, Any]) -> tuple[str, int | None, str]:
    return row["kind"], row["outer_iteration"], row["split"]


def _shown(value: Any) -> str:
    text = ABSENT if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _VALUE_WIDTH else text[: _VALUE_WIDTH - 1] + "…"


def _line(pair: Mapping[str, Any]) -> list[str]:
    iteration = pair["outer_iteration"]
    cells = [pair["kind"].replace("_", " "), ABSENT if iteration is None else str(iteration), pair["split"]]
    for part, measure, _ in _SHOWN:
        a, b = ((row or {}).get(part, {}).get(measure) for row in pair["results"])
        gain = ABSENT if a is None or b is None else f"{100 * (b - a):+.1f}"
        cells += [percent(a), percent(b), gain]
    return cells
