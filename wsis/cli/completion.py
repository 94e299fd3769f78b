"""What Tab offers: run names, their artefacts, configurations, stages. Imports nothing that takes time.

Only local stores are looked into: a key press waits for no network.
"""

import json
import os
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import typer

from wsis.runs.shipped import shipped_benches, shipped_configs, shipped_suites


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the runs in the store of the command line."""
    return _beginning(incomplete, (path.stem for path in _run_records(ctx)))


def complete_key(ctx: typer.Context, incomplete: str) -> list[str]:
    """Keys of the artefacts of the run that the command line names."""
    for path in _run_records(ctx):
        if path.stem == ctx.params.get("run_name"):
            return _beginning(incomplete, _entries(path))
    return []


def complete_stage(incomplete: str) -> list[str]:
    """Names of stages: the modules whose `STAGE` the plan names. To import it takes seconds."""
    plan = resources.files("wsis.runs").joinpath("plan.py").read_text()
    return _beginning(incomplete, dict.fromkeys(re.findall(r"\b(\w+)\.STAGE\b", plan)))


def complete_config(incomplete: str) -> list[str]:
    """Configurations that ship. The shell offers files by itself."""
    return _beginning(incomplete, shipped_configs())


def complete_suite(incomplete: str) -> list[str]:
    """Suites that ship."""
    return _beginning(incomplete, shipped_suites())


def complete_bench(incomplete: str) -> list[str]:
    """Suites of data sets that ship."""
    return _beginning(incomplete, shipped_benches())


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _run_records(ctx: typer.Context) -> list[Path]:
    location = str(ctx.params.get("store") or os.environ.get("WSIS_STORE") or "runs")
    return [] if "://" in location else sorted(Path(location).glob("runs/*.json"))


def _entries(path: Path) -> list[str]:
    try:
        record: Any = json.loads(path.read_bytes())
    except (OSError, ValueError):  # a damaged record offers nothing; the command will name it
        return []
    entries = record.get("entries") if isinstance(record, dict) else None
    return list(entries) if isinstance(entries, dict) else []
