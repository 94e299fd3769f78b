"""The command of `wsis` for suites of runs: the rows of a results table."""

from typing import Annotated

import typer

from wsis.cli.completion import complete_suite
from wsis.cli.options import JsonOption, ReplaceOption, SetOption, StoreOption


def ablations(
    suite: Annotated[
        str,
        typer.Argument(
            help="a shipped suite (see `wsis configs`) or a YAML file",
            metavar="SUITE",
            autocompletion=complete_suite,
        ),
    ],
    rows: Annotated[
        list[str] | None, typer.Option("--row", help="this row alone; may be given many times")
    ] = None,
    seeds: Annotated[
        list[int] | None, typer.Option("--seed", help="in place of the suite's; may be given many times")
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="run nothing: the table of what the store has")
    ] = False,
    as_json: JsonOption = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="the tables in Markdown")] = False,
    overrides: SetOption = None,
    replace: ReplaceOption = False,
    store: StoreOption = None,
) -> None:
    """Run every row of a results table, and print it: mAP on val, spread over seeds, share of the ceiling.

    Rows are runs SUITE-ROW-sSEED; what they have in common is computed once, and the same command goes on after
    Ctrl-C. Two processes with different --row share the work on two cores.

    Example: wsis ablations voc_lite --set data.root=VOC2012 --row box
    """
    import json

    from data_contracts.store import Store
    from wsis.apps.suites import load_suite, members, run_members, suite_runs
    from wsis.reporting.tables.suite_table import order_lines, pseudo_label_table, suite_table
    from wsis.reporting.tables.tables import Style

    name, loaded = load_suite(suite)
    chosen = members(name, loaded, overrides or (), rows or (), seeds or ())
    opened = Store(store)
    if not show:
        run_members(opened, loaded.base, chosen, replace=replace)
    runs = suite_runs(opened, chosen)
    if as_json:
        print(json.dumps([run.to_json() for run in runs], indent=1))
        return
    style: Style = "markdown" if as_markdown else "text"
    print(suite_table(runs, style) + "\n\n" + pseudo_label_table(runs, style))
    for line in order_lines(runs, loaded.orders):
        print(f"\n{line}")
