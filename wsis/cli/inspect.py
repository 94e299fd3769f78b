"""Commands of `wsis` that look at runs: what there is, what it holds, how good it is."""

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from data_contracts.errors import ConfigError, StoreError
from wsis.cli.completion import complete_key
from wsis.cli.options import ImageOption, JsonOption, RunArgument, StoreOption

KeyArgument = Annotated[
    str | None, typer.Argument(metavar="[STAGE[@T]]", help="one artefact of it", autocompletion=complete_key)
]

_DRAWN = "wsis show demo pseudo_labels@1 --images 8 --out pictures"


def runs(as_json: JsonOption = False, store: StoreOption = None) -> None:
    """List the runs in a store, one row each, cut to the terminal.

    AP50 is the mAP at IoU 0.50 on val after the last outer iteration; the age is that of the last finished stage.

    Example: wsis runs --store runs
    """
    import json

    from data_contracts.store import Store
    from wsis.reporting.tables.run_list import run_list, run_rows

    opened = Store(store)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(json.dumps(run_rows(opened), indent=1) if as_json else run_list(opened, width))


def show(
    run_name: RunArgument,
    key: KeyArgument = None,
    images: Annotated[int, typer.Option("--images", help="number of overlays to write", min=0)] = 0,
    image: ImageOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="folder for the overlays")] = None,
    store: StoreOption = None,
) -> None:
    """What a run, or one of its artefacts, holds; with --images N or --image NAME, and --out DIR, also pictures.

    Example: wsis show demo pseudo_labels@1 --images 8 --out pictures
    """
    from data_contracts.store import Store
    from wsis.reporting.tables.store_text import artefact_text, run_text
    from wsis.views.run import Run

    option = "--images" if images else "--image" if image else "--out"
    if images and image:
        raise ConfigError("--images: expected without --image, got both")
    if (images or image) and out is None:
        raise ConfigError(f"{option}: expected --out DIR beside it, got none")
    run = Run.load(Store(store), run_name)
    if key is None:
        if out is not None:
            raise ConfigError(f"{option}: expected an artefact to draw after the run's name, as in: {_DRAWN}")
        print(run_text(run))
        return
    drawn: list[Path] = []
    if out is not None:  # ahead of the text, so that an error is not lost below it
        from wsis.reporting.pictures.pictures import write_overlays

        drawn = write_overlays(run, key, images or 8, out, image or ())
    print(artefact_text(run, key))
    for path in drawn:
        print(path)


def results(
    run_name: RunArgument,
    as_json: JsonOption = False,
    per_class: Annotated[bool, typer.Option("--per-class", help="AP of every class as well")] = False,
    store: StoreOption = None,
) -> None:
    """One row per evaluated thing and outer iteration, then what `wsis evaluate` measured on other data.

    In percent: VOC mAP^r by IoU, COCO AP (.50:.95, .50, .75; of small, medium, large instances).

    Example: wsis results demo --per-class
    """
    import json

    from data_contracts.store import Store
    from wsis.reporting.tables.results import measured_of, nothing_scored, results_of
    from wsis.reporting.tables.tables import THRESHOLDS, measured_tables, results_table
    from wsis.reporting.tables.training_shares import shares_text, training_shares
    from wsis.views.run import Run

    run = Run.load(Store(store), run_name)
    rows, others = results_of(run), measured_of(run)
    if as_json:
        print(json.dumps([*rows, *others], indent=1))
    else:
        print(results_table(rows) if rows else nothing_scored(run.record))
        if learned := shares_text(training_shares(run)):
            print(f"\n{learned}")
        if others:
            print("\n" + measured_tables(others))
        for measure in (*THRESHOLDS, "AP") if per_class and rows else ():
            print("\n" + results_table(rows, per_class=measure))
        for warning in run.warnings():
            print(f"\nwarning: {warning}")
        if line := run.stale_line():
            print("\n" + line)


def report(
    run_name: RunArgument,
    out: Annotated[Path | None, typer.Option("--out", help="folder (default: STORE/reports/RUN)")] = None,
    images: Annotated[
        int | None,
        typer.Option(
            "--images",
            help="images of the gallery at most, evenly spread (default: 2000); 0: a page without pictures",
            min=0,
        ),
    ] = None,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="with the diagnosis: every image is compared with its masks")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Write one HTML page that needs nothing else: results, curves, lineage, and a gallery of every image.

    The gallery filters and sorts the images; a click shows one with its weak label, seeds, samples and predictions of
    all outer iterations, beside its true masks where there are. `wsis view RUN` shows the same while the run goes on.
    A diagnosis stays on the page when it is written again, as long as the run's artefacts are the same.

    Example: wsis report demo --diagnose
    """
    from data_contracts.store import Store
    from wsis.apps.output_paths import check_folder
    from wsis.apps.reports import write_page
    from wsis.views.run import Run

    run = Run.load(Store(store), run_name)
    folder = out or run.store.root / "reports" / run_name
    try:
        check_folder(folder)
    except StoreError as error:
        if out is not None:
            raise
        raise StoreError(f"{error}; --out FOLDER writes the page elsewhere") from error
    page = write_page(run, folder, images, diagnose)
    print(f"artefacts: {run.store.location}\nreport and pictures: {page}")
