"""Commands of `wsis` that need no run: proposals and contours of a folder of photographs, and their models."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from data_contracts.errors import ConfigError
from data_contracts.printable import counted, printable
from wsis.cli.options import IdsOption, SetOption, StoreOption

ImagesArgument = Annotated[
    Path, typer.Argument(help="folder of photographs, sub-folders included, or one file")
]
ModelOption = Annotated[Path | None, typer.Option("--out", help="also write the model file here")]
WorkersOption = Annotated[int | None, typer.Option("--workers", help="processes (default: 2)", min=1)]


def proposals(
    images: ImagesArgument,
    store: Annotated[
        str | None,
        typer.Option(
            "--out",
            "--store",
            help="folder or URL (s3://BUCKET/PATH; default: $WSIS_STORE, else ./runs)",
        ),
    ] = None,
    coco: Annotated[
        Path | None, typer.Option("--coco", help="also write all of them, ranked, as COCO results (JSON)")
    ] = None,
    ids: IdsOption = None,
    preview: Annotated[
        list[str] | None,
        typer.Option("--preview", help="draw this photograph, or this many of them; may be given many times"),
    ] = None,
    preview_folder: Annotated[
        Path | None, typer.Option("--preview-out", help="(default: STORE/previews/FINGERPRINT)")
    ] = None,
    overrides: SetOption = None,
    workers: WorkersOption = None,
) -> None:
    """Segmentation proposals of your own photographs: no labels, no training.

    A photograph that fails is listed in the manifest and at the end, the others survive; the exit code is then 1.
    The same command again computes what is missing.

    Example: wsis proposals photos --out store --preview 4
    """
    from data_contracts.store import Store
    from wsis.apps import photograph_proposals
    from wsis.apps.output_paths import check_file, check_outside
    from wsis.engine.progress import Progress

    opened, progress = Store(store), Progress()
    settings = photograph_proposals.build_settings(overrides or (), workers)
    check_outside(opened.root, images, "--out")
    if preview_folder is not None:
        check_outside(preview_folder, images, "--preview-out")
    found = photograph_proposals.find_photographs(images, progress)
    number, named = photograph_proposals.chosen_for_preview(preview or (), found)
    if coco is not None:
        check_file(coco, "--coco")
    elif ids is not None:
        raise ConfigError("--ids: expected --coco FILE beside it, got none")
    made = photograph_proposals.make_proposals(opened, images, settings, progress, ids)
    counts: Mapping[str, Any] = made.proposals.manifest.counts
    state = " (was there already)" if made.reused else ""
    many, of_images = counted(counts["proposals"], "proposal"), counted(counts["images"], "photograph")
    print(f"{many} of {of_images}{state}: {made.proposals.path}")
    if coco is not None:
        print(f"{photograph_proposals.write_coco(made, coco, settings, progress)} COCO results: {coco}")
    folder = preview_folder or opened.root / "previews" / made.proposals.fingerprint
    for path in photograph_proposals.write_previews(made, number, named, settings, folder, progress):
        print(f"preview: {path}")
    end_with_failures(list(made.failed.values()), len(found))


def contours(
    images: ImagesArgument,
    out: Annotated[
        Path, typer.Option("--out", help="folder for the maps: name.png, sub-folders as in IMAGES")
    ],
    overrides: SetOption = None,
    workers: WorkersOption = None,
) -> None:
    """An 8-bit contour map of each of your own photographs, at its size (255: strength 1).

    Maps that are there already, of the same photograph and settings, are kept. Files that this command has not
    written are never overwritten. Photographs that fail are listed at the end; the exit code is then 1.
    Settings: proposals.contour, proposals.contour_model, proposals.max_side, execution.workers.

    Example: wsis contours photos --out maps
    """
    from wsis.apps import photograph_proposals
    from wsis.apps.contour_maps import write_contours
    from wsis.apps.output_paths import check_outside
    from wsis.engine.progress import Progress

    progress = Progress()
    settings = photograph_proposals.build_settings(overrides or (), workers)
    check_outside(out, images, "--out")
    found = photograph_proposals.find_photographs(images, progress)
    drawn = write_contours(found, out, settings, progress)
    kept = f", {drawn.kept} were there already" if drawn.kept else ""
    print(f"{counted(drawn.written, 'contour map')} written{kept}: {out}")
    end_with_failures(drawn.failed, len(found))


def train_contours(
    data: Annotated[
        Path, typer.Argument(help="folder with images/SPLIT/ID.jpg and boundaries/SPLIT/ID.png (BSDS500)")
    ],
    out: ModelOption = None,
    overrides: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Train the contour network of the proposals on your own boundaries (the shipped one comes from BSDS500).

    Bit i of a pixel of a boundary map is annotator i's. Settings: train_contours.*, execution.*, seed.

    Example: wsis train-contours BSDS500 --out contours.pt
    """
    from data_contracts.store import Store
    from wsis.apps.model_training import train
    from wsis.engine.progress import Progress

    trained = train(data, Store(store), overrides or (), out, Progress())
    print(trained.artefact.path)
    print(f"supervised by: {'; '.join(trained.artefact.manifest.supervision)}")
    print("use it: " + " ".join(f"--set {shlex.quote(item)}" for item in trained.use))


def end_with_failures(failed: list[str], total: int) -> None:
    """List the photographs that failed, if any, and end with code 1."""
    if not failed:
        return
    lines = "".join(f"\n  - {printable(message)}" for message in failed)
    print(
        f"error: {len(failed)} of {counted(total, 'photograph')} failed, the others are done{lines}",
        file=sys.stderr,
    )
    raise typer.Exit(1)
