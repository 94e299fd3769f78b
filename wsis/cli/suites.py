"""The commands of `wsis` for suites of runs: the rows of a results table, and data sets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from data_contracts.errors import ConfigError
from wsis.cli.completion import complete_bench, complete_suite
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


def bench(
    suite: Annotated[
        str,
        typer.Argument(
            help="shipped data sets (see `wsis configs`) or a YAML file",
            metavar="SUITE",
            autocompletion=complete_bench,
        ),
    ],
    roots: Annotated[
        list[str] | None,
        typer.Option("--root", help="NAME=DIR: where a data set lies; a new NAME is one more set"),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="this data set alone; may be given many times")
    ] = None,
    seeds: Annotated[
        list[int] | None, typer.Option("--seed", help="in place of the suite's; may be given many times")
    ] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="an earlier --out: mark what got better and what worse")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="also write all values to this file, JSON")
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="run nothing: the table of what the store has")
    ] = False,
    as_json: JsonOption = False,
    overrides: SetOption = None,
    replace: ReplaceOption = False,
    store: StoreOption = None,
) -> None:
    """Run one configuration on several data sets, and print one table of where accuracy is lost on each.

    Runs are named SUITE-SET-sSEED and go on after Ctrl-C. A change is tried on all sets at once: run with --out
    before.json, then with --set KEY=VALUE --replace --against before.json.

    Example: wsis bench sets --root crowds=crowds --root cells=nuclei --out before.json
    """
    from data_contracts.atomic import write_atomic
    from data_contracts.store import Store
    from wsis.apps.bench import bench_runs, load_bench, measure_bench, run_bench
    from wsis.apps.output_paths import check_file
    from wsis.reporting.tables.bench_table import bench_table
    from wsis.reporting.tables.bench_values import read_bench_table

    name, loaded = load_bench(suite)
    before = None if against is None else read_bench_table(against)
    if out is not None:
        check_file(out, "--out")
    chosen, without = bench_runs(name, loaded, overrides or (), _roots(roots or ()), only or (), seeds or ())
    opened = Store(store)
    if not show:
        run_bench(opened, chosen, loaded.until, replace)
    table = measure_bench(opened, name, loaded, chosen)
    text = table.model_dump_json(indent=1) + "\n"
    if out is not None:
        write_atomic(out, text.encode())
    if as_json:
        print(text, end="")
        return
    print(bench_table(table, before) if table.sets else "nothing is measured yet")
    for one in without:
        print(f"left out, no data: {one} (--root {one}=DIR)")


def _roots(given: Sequence[str]) -> dict[str, str]:
    """NAME -> folder. Raises ConfigError: something that is not NAME=DIR."""
    found = {}
    for one in given:
        name, separator, folder = one.partition("=")
        if not separator or not name or not folder:
            raise ConfigError(f"--root {one!r}: expected NAME=DIR")
        found[name] = folder
    return found
