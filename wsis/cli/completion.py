"""What Tab offers: run names, their artefacts, configurations, stages, formats. Imports nothing that takes time.

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
    return _beginning(incomplete, dict.fromkeys(re.findall(r"\b(\w+)\.STAGE\b", _source("runs/plan.py"))))


def complete_format(incomplete: str) -> list[str]:
    """Formats of data: the names by which the readers list them."""
    formats = re.findall(r'"(\w+)": \w+\.FORMAT\b', _source("readers/formats/__init__.py"))
    return _beginning(incomplete, ("auto", *formats, "scenes"))


def complete_label_format(incomplete: str) -> list[str]:
    """Formats that pseudo labels are written in."""
    (tools,) = re.findall(r"^ToolFormat = Literal\[(.*)\]", _source("apps/tool_exports.py"), re.MULTILINE)
    return _beginning(incomplete, ("coco", *re.findall(r'"([^"]+)"', tools)))


def complete_tiles(incomplete: str) -> list[str]:
    """Words that --tiles takes beside a number."""
    return _beginning(incomplete, ("auto", "whole"))


def complete_config(incomplete: str) -> list[str]:
    """Configurations that ship. The shell offers files by itself."""
    return _beginning(incomplete, shipped_configs())


def complete_suite(incomplete: str) -> list[str]:
    """Suites that ship."""
    return _beginning(incomplete, shipped_suites())


def complete_bench(incomplete: str) -> list[str]:
    """Suites of data sets that ship."""
    return _beginning(incomplete, shipped_benches())


def _source(path: str) -> str:
    """A file of the package as text: what is in it is not imported."""
    return resources.files("wsis").joinpath(path).read_text()


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
