"""The `wsis` command."""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from data_contracts.errors import ConfigError, ContractError
from data_contracts.store import Store
from flows import diagnosis_commands, image_commands, suite_commands, trained_commands
from flows.options import JsonOption, SetOption, StoreOption
from wsis.errors import WsisError

app = typer.Typer(
    help="Learn instance segmentation from image-level labels or boxes (Arun et al., ECCV 2020).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_INTERRUPTED = 130  # as a shell reports a command that Ctrl-C ended


@app.command()
def run(
    config: Annotated[
        str | None,
        typer.Argument(
            help="a shipped configuration (see `wsis configs`) or a YAML file (default: the run's)"
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="name of the run (default: the configuration's)")
    ] = None,
    overrides: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Run all stages through the outer iterations; what is intact in the store is reused.

    Without CONFIG the run --name goes on as it was configured, `wsis stage --set` included.
    """
    from data_contracts.runs import load_run
    from flows.config import build_config, load_config
    from flows.runner import Runner
    from reporting.results import results_of
    from reporting.tables import results_table

    opened = Store(store)
    if config is not None:
        loaded = load_config(config, overrides or ())
        run_name = name or Path(config).stem
    elif name is not None:
        record = load_run(opened, name)
        loaded = build_config(record.config, f"run {name}", overrides or ())
        run_name, config = name, record.config_name
    else:
        raise ConfigError("wsis run: expected CONFIG, or --name of a run that is to go on, got neither")
    runner = Runner(opened, run_name, loaded, config_name=config)
    runner.run()
    print(results_table(results_of(opened, runner.record)))
    print(f"\nrun {run_name!r} in {opened.location}: `wsis show {run_name}`, `wsis report {run_name}`")


@app.command()
def stage(
    stage_name: Annotated[str, typer.Argument(metavar="NAME", help="stage or node, such as pseudo_labels")],
    run_name: Annotated[str, typer.Option("--run", help="the run whose artefacts to read")],
    iteration: Annotated[int | None, typer.Option("--iteration", help="outer iteration, from 1")] = None,
    overrides: SetOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="compute again although the artefact is intact")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Recompute one stage alone from the artefacts of a run."""
    from flows.runner import Runner

    runner = Runner(Store(store), run_name)
    for node, outcome in runner.run_stage(stage_name, iteration, tuple(overrides or ()), force):
        state = "is intact, nothing to do (--force computes it again)" if outcome.reused else "computed"
        print(f"{node.key}: {state}: {outcome.artefact.path}")


@app.command()
def runs(store: StoreOption = None) -> None:
    """The runs in a store."""
    from reporting.show import runs_text

    print(runs_text(Store(store)))


@app.command()
def show(
    run_name: Annotated[str, typer.Argument(metavar="RUN")],
    key: Annotated[str | None, typer.Argument(metavar="[STAGE[@T]]")] = None,
    images: Annotated[int, typer.Option("--images", help="number of overlays to write", min=0)] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="folder for the overlays")] = None,
    store: StoreOption = None,
) -> None:
    """What a run, or one of its artefacts, holds; with --images N --out DIR also pictures."""
    from data_contracts.runs import load_run
    from reporting.show import artefact_text, run_text

    opened = Store(store)
    record = load_run(opened, run_name)
    if key is None:
        print(run_text(opened, record))
        return
    print(artefact_text(opened, record, key))
    if images and out is None:
        raise ConfigError("--images: expected --out DIR beside it, got none")
    if out is not None:
        from reporting.pictures import write_overlays

        for path in write_overlays(opened, record, key, images or 8, out):
            print(path)


@app.command()
def verify(
    run_name: Annotated[str | None, typer.Argument(metavar="[RUN]", help="(default: every artefact)")] = None,
    store: StoreOption = None,
) -> None:
    """Hash every file again and name each damaged one; exit 1 if there is any."""
    from reporting.show import verify_store

    checked, damaged = verify_store(Store(store), run_name)
    for line in damaged:
        print(line)
    print(f"{checked} artefacts checked, {len(damaged)} problem(s)")
    if damaged:
        raise typer.Exit(1)


@app.command()
def results(
    run_name: Annotated[str, typer.Argument(metavar="RUN")],
    as_json: JsonOption = False,
    per_class: Annotated[bool, typer.Option("--per-class", help="AP of every class as well")] = False,
    store: StoreOption = None,
) -> None:
    """One row per evaluated thing and outer iteration."""
    import json

    from data_contracts.runs import load_run
    from reporting.results import results_of
    from reporting.tables import THRESHOLDS, results_table

    opened = Store(store)
    rows = results_of(opened, load_run(opened, run_name))
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        print(results_table(rows))
        for threshold in THRESHOLDS if per_class else ():
            print("\n" + results_table(rows, per_class=threshold))


@app.command()
def evaluate(
    run_name: Annotated[str, typer.Argument(metavar="RUN")],
    data: Annotated[str, typer.Option("--data", help="root of the labelled data set")],
    split: Annotated[str, typer.Option("--split", help="name of the split")],
    data_format: Annotated[str, typer.Option("--format", help="voc or coco")] = "voc",
    iteration: Annotated[int | None, typer.Option("--iteration", help="(default: the last)")] = None,
    as_json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Score a trained run on another labelled data set; classes are matched by name."""
    import json

    from flows.external import evaluate_external
    from reporting.tables import results_table

    row = evaluate_external(Store(store), run_name, data, data_format, split, iteration)
    if as_json:
        print(json.dumps([row], indent=1))
    else:
        print(results_table([row]) + "\n\n" + results_table([row], per_class="0.50"))


@app.command()
def report(
    run_name: Annotated[str, typer.Argument(metavar="RUN")],
    out: Annotated[Path | None, typer.Option("--out", help="folder (default: STORE/reports/RUN)")] = None,
    images: Annotated[int, typer.Option("--images", help="overlays of each kind", min=0)] = 6,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="with the diagnosis: every image is compared with its masks")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Write one HTML page: results, curves, figures, pictures, where the time went, lineage."""
    from data_contracts.runs import load_run
    from flows.diagnose import diagnose_run
    from reporting.report import write_report

    opened = Store(store)
    record = load_run(opened, run_name)
    found = diagnose_run(opened, run_name) if diagnose else None
    page = write_report(opened, record, out or opened.root / "reports" / run_name, images, found)
    print(f"artefacts: {opened.location}\nreport and pictures: {page}")


app.command()(image_commands.proposals)
app.command()(image_commands.contours)
app.command()(image_commands.train_contours)
app.command()(image_commands.train_ranker)
app.command()(trained_commands.predict)
app.command()(trained_commands.export)
app.command()(suite_commands.ablations)
app.command(help=diagnosis_commands.DIAGNOSE_HELP)(diagnosis_commands.diagnose)
app.command()(diagnosis_commands.figures)


@app.command()
def configs() -> None:
    """The configurations that ship with wsis."""
    from flows.ablations import shipped_suites
    from flows.config import shipped_configs

    for heading, shipped in (("", shipped_configs()), ("\nsuites, for `wsis ablations`:", shipped_suites())):
        if heading:
            print(heading)
        for name, path in shipped.items():
            first = next((x for x in path.read_text().splitlines() if x.startswith("#")), "#")
            print(f"{name:24s} {first.lstrip('# ')}")


def main() -> None:
    """Entry point: errors raised on purpose are one message, anything else a traceback."""
    # A scheduler's SIGTERM ends a run like Ctrl-C: the run record says so and work folders stay.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        # Without standalone mode typer gives back the code of an Exit, and 130 for Ctrl-C, instead of leaving.
        code = app(standalone_mode=False)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        if code:
            sys.exit(code)
    except (KeyboardInterrupt, typer.Abort):
        print(
            "\ninterrupted; what is committed is kept: the same command goes on from there", file=sys.stderr
        )
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (ContractError, WsisError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except Exception as error:
        if getattr(error, "format_message", None) is None:
            raise
        if message := error.format_message():  # type: ignore[attr-defined]
            print(f"error: {message}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
