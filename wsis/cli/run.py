"""Commands of `wsis` that compute a run, or one stage of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_contracts.errors import ConfigError
from wsis.cli.completion import complete_config, complete_run, complete_stage
from wsis.cli.options import ReplaceOption, SetOption, StoreOption

if TYPE_CHECKING:  # commands import what they need when they run
    from wsis.runs.runner import Runner


def run(
    config: Annotated[
        str | None,
        typer.Argument(
            help="a shipped configuration (see `wsis configs`) or a YAML file (default: the run's)",
            autocompletion=complete_config,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="name of the run (default: the configuration's)", autocompletion=complete_run
        ),
    ] = None,
    overrides: SetOption = None,
    replace: ReplaceOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only say what is reused, what is computed and what it costs")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Run all stages through the outer iterations; what is intact in the store is reused.

    Without CONFIG the run --name goes on as it was configured, `wsis stage --set` included. A name stands for one
    configuration and one data set: others are refused under it, with what differs.

    Example: wsis run voc_lite --set data.root=VOC2012 --name mine --dry-run
    """
    from data_contracts.runs import load_run
    from data_contracts.store import Store
    from wsis.runs.config import load_config, stored_config
    from wsis.runs.runner import Runner

    opened = Store(store)
    if config is not None:
        loaded = load_config(config, overrides or ())
        run_name = Path(config).stem if name is None else name
    elif name is not None:
        record = load_run(opened, name)
        loaded = stored_config(record, overrides or ())
        run_name, config = name, record.config_name
    else:
        raise ConfigError("wsis run: expected CONFIG, or --name of a run that is to go on, got neither")
    runner = Runner(opened, run_name, loaded, config_name=config, replace=replace)
    compute(runner, dry_run)


def compute(runner: "Runner", dry_run: bool) -> None:
    """Compute a run to its end and print its results; or only say what would be computed."""
    from wsis.apps.dry_run import dry_run_text
    from wsis.reporting.tables.results import nothing_scored, results_of
    from wsis.reporting.tables.tables import results_table
    from wsis.reporting.tables.training_shares import shares_text, training_shares

    if dry_run:
        print(dry_run_text(runner))
        return
    runner.run()
    rows, name = results_of(runner), runner.name
    print(results_table(rows) if rows else nothing_scored(runner.record))
    if learned := shares_text(training_shares(runner)):
        print(f"\n{learned}")
    print(f"\nrun {name!r} in {runner.store.location}: `wsis show {name}`, `wsis report {name}`")
    labels = [key for key in runner.record.entries if key.startswith("pseudo_labels@")]
    if labels and not rows:
        print(f"pictures of its masks: `wsis show {name} {labels[-1]} --images 8 --out pictures`")


def stage(
    stage_name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="stage or node, such as pseudo_labels", autocompletion=complete_stage
        ),
    ],
    run_name: Annotated[
        str, typer.Option("--run", help="the run whose artefacts to read", autocompletion=complete_run)
    ],
    iteration: Annotated[int | None, typer.Option("--iteration", help="outer iteration, from 1")] = None,
    overrides: SetOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="compute again although the artefact is intact")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Recompute one stage alone from the artefacts of a run.

    Example: wsis stage pseudo_labels --run demo --iteration 2 --set pseudo_labels.score_noise=0
    """
    from data_contracts.store import Store
    from wsis.runs.runner import Runner

    runner = Runner(Store(store), run_name)
    for node, outcome in runner.run_stage(stage_name, iteration, tuple(overrides or ()), force):
        state = "is intact, nothing to do (--force computes it again)" if outcome.reused else "computed"
        print(f"{node.key}: {state}: {outcome.artefact.path}")
