"""Commands of `wsis` on a trained run: its network on the user's own photographs and data, and exports."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from data_contracts.errors import ConfigError
from wsis.cli.images import ImagesArgument, end_with_failures
from wsis.cli.options import IdsOption, JsonOption, RunArgument, SetOption, StoreOption

IterationOption = Annotated[
    int | None, typer.Option("--iteration", help="outer iteration, from 1 (default: the last)", min=1)
]


def predict(
    run_name: RunArgument,
    images: ImagesArgument,
    out: Annotated[Path, typer.Option("--out", help="folder for results.json, overlays and labels")],
    score: Annotated[
        float, typer.Option("--score", help="least score of what is written", min=0, max=1)
    ] = 0.3,
    tiles: Annotated[
        str | None,
        typer.Option(
            "--tiles",
            help="auto (default): large and long photographs in overlapping tiles where their objects would shrink "
            "too far; whole: never; PIXELS: tiles of so many of the photograph's pixels a side",
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            "--size", help="look at each photograph as if its longer side had so many pixels, in tiles"
        ),
    ] = None,
    iteration: IterationOption = None,
    ids: IdsOption = None,
    overrides: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Segment your own photographs with a trained run.

    results.json: COCO results with file and class names. images.json: their images and classes as a COCO file.
    overlays/NAME.png: to look at. labels/NAME.png: 16 bits, at each pixel 0 or the number of an instance, "instance"
    in results.json.
    A photograph that fails is listed in the manifest and at the end, the others survive; the exit code is then 1.
    The same command again computes what is missing. Settings: predictions.*, execution.*.
    How photographs are looked at that are not of the training images' size and shape is said in a line.

    Example: wsis predict demo photos --out found --score 0.5
    """
    from data_contracts.store import Store
    from wsis.apps import photograph_predictions
    from wsis.apps.output_paths import check_folder, check_outside
    from wsis.apps.photograph_proposals import find_photographs
    from wsis.cli.stale_warning import warn_of_stale
    from wsis.runs.runner import Runner

    opened = Store(store)
    runner = Runner(opened, run_name)
    warn_of_stale(runner)
    asked = {"tiles": tiles, "size": size}
    flags = [f"predictions.{name}={value}" for name, value in asked.items() if value is not None]
    settings = photograph_predictions.build_settings(runner, [*(overrides or ()), *flags], score)
    check_outside(out, images, "--out")
    check_outside(opened.root, images, "--store")
    found = find_photographs(images, runner.progress)
    runner.latest("prediction", iteration)  # before anything is made
    check_folder(out)
    predicted = photograph_predictions.predict(runner, images, settings, iteration, ids)
    count = photograph_predictions.write_predictions(predicted, out, score, settings, runner.progress)
    state = " (was there already)" if predicted.reused else ""
    print(
        f"detections of {len(found) - len(predicted.failed)} photographs{state}: {predicted.predictions.path}"
    )
    more = "" if count else " (--score takes less sure ones; a short training gives none that are sure)"
    print(f"{count} instances of score {score:g} or more{more}, by {predicted.choice}: {out}")
    print(predicted.identities.said)
    end_with_failures(list(predicted.failed.values()), len(found))


def evaluate(
    run_name: RunArgument,
    data: Annotated[str, typer.Option("--data", help="root of the labelled data set")],
    split: Annotated[str, typer.Option("--split", help="name of the split")],
    data_format: Annotated[
        str | None, typer.Option("--format", help="as data.format of a configuration (default: auto)")
    ] = None,
    iteration: IterationOption = None,
    as_json: JsonOption = False,
    overrides: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Score a trained run on another labelled data set with masks; classes are matched by name.

    The run keeps it: `wsis results` and `wsis show` list it from then on. Settings: data.*, as in a configuration.

    Example: wsis evaluate demo --data other_data --split val
    """
    import json

    from data_contracts.store import Store
    from wsis.apps.other_data import DEFAULT_FORMAT, evaluate_external
    from wsis.reporting.tables.tables import measured_tables, results_table

    row = evaluate_external(
        Store(store), run_name, data, data_format or DEFAULT_FORMAT, split, iteration, overrides or ()
    )
    if as_json:
        print(json.dumps([row], indent=1))
    else:
        by_class = (results_table([row], per_class=measure) for measure in ("0.50", "AP"))
        print("\n\n".join([measured_tables([row]), *by_class]))


def export(
    run_name: RunArgument,
    out: Annotated[Path, typer.Option("--out", help="folder to write into")],
    pseudo_labels: Annotated[
        bool, typer.Option("--pseudo-labels", help="the pseudo labels instead of the model")
    ] = False,
    sets: Annotated[
        Literal["frequent", "all"] | None,
        typer.Option(
            "--sets",
            help="of each image the most frequent set (default), or each in an image entry of its own",
        ),
    ] = None,
    iteration: IterationOption = None,
    store: StoreOption = None,
) -> None:
    """Write the trained model as a plain MMDetection config and checkpoint, or the pseudo labels as COCO JSON.

    model.py and weights.pth are what mmdet.apis.init_detector takes. pseudo_labels.json holds the training images'
    instances; "multiplicity" and "weight" of an image entry say how many of the K samples equal its set.

    Example: wsis export demo --out model
    """
    from data_contracts.store import Store
    from wsis.apps import exports
    from wsis.cli.stale_warning import warn_of_stale
    from wsis.runs.runner import Runner

    if sets is not None and not pseudo_labels:
        raise ConfigError("--sets: expected --pseudo-labels beside it, got none")
    runner = Runner(Store(store), run_name)
    warn_of_stale(runner)
    if pseudo_labels:
        path, images, annotations = exports.export_pseudo_labels(runner, out, sets or "frequent", iteration)
        print(f"{annotations} instances in {images} image entries: {path}")
        return
    for path in exports.export_model(runner, out, iteration):
        print(path)
