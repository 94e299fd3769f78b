"""Commands of `wsis` that show a run beside the masks of its images: `wsis diagnose`, `wsis figures`."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from data_contracts.errors import ConfigError
from wsis.cli.options import ImageOption, JsonOption, RunArgument, StoreOption
from wsis.reporting.diagnosis.terms import DEFINITIONS


def diagnose(
    run_name: RunArgument,
    split: Annotated[
        Literal["both", "train", "val"], typer.Option("--split", help="images to measure on")
    ] = "both",
    images: Annotated[
        int | None,
        typer.Option("--images", help="at most so many of each split, evenly spread (default: all)", min=1),
    ] = None,
    image: ImageOption = None,
    pool: Annotated[
        bool,
        typer.Option(
            "--pool",
            help="also make the candidates anew of which the proposals were selected (some seconds an image; 40 of "
            "each split unless --images says)",
        ),
    ] = False,
    as_json: JsonOption = False,
    per_class: Annotated[bool, typer.Option("--per-class", help="a row for every class as well")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="also write the JSON to this file")] = None,
    store: StoreOption = None,
) -> None:
    """Its help is below: it ends with the definitions that the tables rest on."""
    from data_contracts.atomic import write_atomic
    from data_contracts.store import Store
    from wsis.apps.diagnose import diagnose_run
    from wsis.apps.output_paths import check_file
    from wsis.cli.stale_warning import warn_of_stale
    from wsis.reporting.diagnosis.text import diagnosis_text
    from wsis.views.run import Run

    if out is not None:
        check_file(out, "--out")
    _refuse_both(image, images)
    run = Run.load(Store(store), run_name)
    warn_of_stale(run)
    found = diagnose_run(run, split, images, image or (), pool=pool)
    if out is not None:
        write_atomic(out, (json.dumps(found, indent=1) + "\n").encode())
    print(json.dumps(found, indent=1) if as_json else diagnosis_text(found, per_class))


diagnose.__doc__ = f"""Say where accuracy is lost: each stage of a run against the masks of its images.

The run may be unfinished. Reads pixel labels and writes nothing into the store: nothing that trains sees what it
finds.

Example: wsis diagnose demo --per-class

{DEFINITIONS}"""


def _refuse_both(image: list[str] | None, images: int | None) -> None:
    if image and images is not None:
        raise ConfigError("--images: expected without --image, got both")


def figures(
    run_name: RunArgument,
    out: Annotated[Path, typer.Option("--out", help="folder for the PNG files")],
    image: ImageOption = None,
    images: Annotated[
        int | None,
        typer.Option(
            "--images", help="images of each figure (default: 3 in Figure 2, 12 in Figure 4)", min=1
        ),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Draw the paper's Figures 2 and 4 for a run, finished or not.

    figure2.png: training images with the most frequent samples of their pseudo labels and the prediction, at the
    first and the last outer iteration. The last network never predicts training images: the latest that did is shown.
    figure4.png: predictions on val at score 0.3 and more, beside the true masks. A PNG of each image as well.
    Unless --image names them, images are ranked by their mean instance IoU and taken at evenly spread ranks, from the
    best to the worst (evenly spread where there are no masks), and contact sheets are written, sheet_train.png and
    sheet_val.png: small pictures of up to 84 images of each split. Nothing is written into the store.

    Example: wsis figures demo --out pictures
    """
    from data_contracts.store import Store
    from wsis.apps.output_paths import check_folder
    from wsis.cli.stale_warning import warn_of_stale
    from wsis.reporting.pictures.figures import write_figures
    from wsis.views.run import Run

    run = Run.load(Store(store), run_name)
    _refuse_both(image, images)
    check_folder(out)
    warn_of_stale(run)
    for path in write_figures(run, out, image or (), images):
        print(path)
