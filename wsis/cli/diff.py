"""The command of `wsis` that compares two runs."""

from typing import Annotated

import typer

from wsis.cli.completion import complete_run
from wsis.cli.options import JsonOption, RunArgument, StoreOption

OtherArgument = Annotated[
    str, typer.Argument(metavar="OTHER", autocompletion=complete_run, show_default=False)
]


def diff(
    run_name: RunArgument, other: OtherArgument, as_json: JsonOption = False, store: StoreOption = None
) -> None:
    """Two runs side by side: settings that differ, results in pairs (percent; B-A: points).

    Example: wsis diff image boxes
    """
    import json

    from data_contracts.store import Store
    from wsis.reporting.tables.run_difference import difference_text, run_difference
    from wsis.runs.config import stored_config
    from wsis.views.run import Run

    opened = Store(store)
    a, b = (Run.load(opened, name) for name in (run_name, other))
    settings = tuple(stored_config(one.record).model_dump(mode="json") for one in (a, b))
    found = run_difference((a, b), (settings[0], settings[1]))
    print(json.dumps(found, indent=1) if as_json else difference_text(found))
