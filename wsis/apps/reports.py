"""`wsis report`: the page of a run, which keeps the diagnosis that it was written with as long as that is true."""

import json
from importlib import metadata
from pathlib import Path
from typing import Any

from data_contracts.atomic import write_atomic
from wsis.apps.diagnose import diagnose_run
from wsis.engine.progress import Progress
from wsis.reporting.page.report import write_report
from wsis.views.run import Run

KEPT = "diagnosis.json"
"""Beside the page: the diagnosis, of which artefacts, by which version."""


def write_page(
    run: Run,
    out: Path,
    images: int | None = None,
    diagnose: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write the page with what belongs to it, as `wsis.reporting.page.report.write_report` does; its path.

    A page that is written again without `diagnose` has the diagnosis of before where the run's artefacts are those
    that it measured; else it has none, and a line says so.

    Args:
        images: of the gallery at most; None: as `write_report` has it; 0: none.
        diagnose: compare every image with its masks.

    Raises:
        ConfigError, ArtefactMissingError, CorruptArtefactError, DataError, WsisError: `diagnose` cannot be done.
        OSError: a file cannot be written.
    """
    bar, kept = progress or Progress(), out / KEPT
    found = diagnose_run(run, progress=bar) if diagnose else _kept_diagnosis(run, kept, bar)
    if diagnose:
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(kept, (json.dumps({**_basis(run), "diagnosis": found}, indent=1) + "\n").encode())
    return write_report(
        run, out, images, found, lambda numbers, total: bar.track(numbers, total, "gallery", "part")
    )


def _basis(run: Run) -> dict[str, Any]:
    """What a diagnosis depends on."""
    measured = {key: f"{entry.stage}/{entry.fingerprint}" for key, entry in run.record.entries.items()}
    return {"run": run.name, "wsis": metadata.version("wsis"), "artefacts": measured}


def _kept_diagnosis(run: Run, path: Path, progress: Progress) -> dict[str, Any] | None:
    """The diagnosis of the page before, of the same artefacts; None, and a line, where it is of others."""
    if not path.is_file():
        return None
    try:
        kept = json.loads(path.read_bytes())
        same = {name: kept[name] for name in _basis(run)} == _basis(run)
        diagnosis: dict[str, Any] = {**kept["diagnosis"], "status": run.record.status}
    except (OSError, ValueError, TypeError, LookupError) as error:
        same, why = False, f"{path} cannot be read ({type(error).__name__}: {error})"
    else:
        why = "the one of the page before is of other artefacts, or by another version of wsis"
    if same:
        progress.log("with the diagnosis of the page before: it is of the same artefacts")
        return diagnosis
    progress.log(f"without a diagnosis: {why}; wsis report {run.name} --diagnose makes it anew")
    return None
