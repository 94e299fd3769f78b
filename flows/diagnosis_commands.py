"""Commands of `wsis` that compare a run with the masks of its images: `wsis diagnose`."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from data_contracts.store import Store
from flows.options import JsonOption, StoreOption
from reporting.diagnosis_text import DEFINITIONS, diagnosis_text

DIAGNOSE_HELP = f"""Say where accuracy is lost: each stage of a run, finished or not, against the masks of its images.

Reads pixel labels and writes nothing into the store: nothing that trains sees what it finds.

{DEFINITIONS}"""

RunArgument = Annotated[str, typer.Argument(metavar="RUN")]


def diagnose(
    run_name: RunArgument,
    split: Annotated[
        Literal["both", "train", "val"], typer.Option("--split", help="images to measure on")
    ] = "both",
    images: Annotated[
        int | None,
        typer.Option("--images", help="at most so many of each split, evenly spread (default: all)", min=1),
    ] = None,
    as_json: JsonOption = False,
    per_class: Annotated[bool, typer.Option("--per-class", help="a row for every class as well")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="also write the JSON to this file")] = None,
    store: StoreOption = None,
) -> None:
    """See DIAGNOSE_HELP."""
    from data_contracts.atomic import write_atomic
    from flows.diagnose import diagnose_run
    from flows.output_paths import check_file

    if out is not None:
        check_file(out, "--out")
    found = diagnose_run(Store(store), run_name, split, images)
    if out is not None:
        write_atomic(out, (json.dumps(found, indent=1) + "\n").encode())
    print(json.dumps(found, indent=1) if as_json else diagnosis_text(found, per_class))
