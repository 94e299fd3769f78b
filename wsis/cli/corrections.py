"""`wsis correct`."""

from pathlib import Path
from typing import Annotated

import typer

from wsis.cli.options import RunArgument, StoreOption
from wsis.cli.run import compute


def correct(
    run: RunArgument,
    file: Annotated[
        Path,
        typer.Argument(
            help="file or folder with the corrected images, and no others: COCO, labelme, Label Studio, YOLO, VIA, "
            "instance images"
        ),
    ],
    after: Annotated[
        int | None,
        typer.Option("--after", min=0, help="outer iterations that stay (default: those that are finished)"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only say what is corrected, what is computed and what it costs")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Go on with a run from masks that a person has corrected: these images are certain in all later iterations.

    All instances of each image must be in FILE; an image without any has none. `wsis export RUN --pseudo-labels`
    writes what there is to correct, and each of its formats is taken back.

    Example: wsis correct mine corrected.json
    """
    from data_contracts.store import Store
    from wsis.apps.corrections import correct as corrected
    from wsis.runs.runner import Runner
    from wsis.views.run import Run

    opened = Store(store)
    made = corrected(Run.load(opened, run), file, after)
    runner = Runner(opened, run, made.config, replace=True, masks_read=True)
    runner.progress.log(made.line())
    if dry_run:  # a run says it where it takes the masks
        for line in made.left_out:
            runner.progress.log(line)
        if made.warning:
            runner.progress.log(f"warning: {made.warning}")
    compute(runner, dry_run)
