"""Commands of `wsis` on a trained run: its network on the user's own photographs and data, and exports."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from data_contracts.errors import ConfigError, did_you_mean
from data_contracts.printable import counted
from wsis.cli.completion import complete_format, complete_label_format, complete_tiles
from wsis.cli.images import ImagesArgument, end_with_failures
from wsis.cli.options import IdsOption, ImageOption, JsonOption, RunArgument, SetOption, StoreOption

if TYPE_CHECKING:  # commands import what they need when they run
    from wsis.apps.tool_exports import ToolFormat

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
            autocompletion=complete_tiles,
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
    seen = counted(len(found) - len(predicted.failed), "photograph")
    print(f"detections of {seen}{state}: {predicted.predictions.path}")
    more = "" if count else " (--score takes less sure ones; a short training gives none that are sure)"
    print(f"{counted(count, 'instance')} of score {score:g} or more{more}, by {predicted.choice}: {out}")
    print(predicted.identities.said)
    if line := runner.trial_line():
        print(line)
    end_with_failures(list(predicted.failed.values()), len(found))


def evaluate(
    run_name: RunArgument,
    data: Annotated[str, typer.Option("--data", help="root of the labelled data set")],
    split: Annotated[str, typer.Option("--split", help="name of the split")],
    data_format: Annotated[
        str,
        typer.Option("--format", help="as data.format of a configuration", autocompletion=complete_format),
    ] = "auto",
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
    from wsis.apps.other_data import evaluate_external
    from wsis.reporting.tables.tables import measured_tables, results_table

    row = evaluate_external(Store(store), run_name, data, data_format, split, iteration, overrides or ())
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
    label_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            autocompletion=complete_label_format,
            help="of pseudo labels: coco (default; CVAT and FiftyOne take it), yolo-seg, labelme, label-studio",
        ),
    ] = None,
    worst: Annotated[
        int | None,
        typer.Option(
            "--worst", help="the so many images whose samples disagree most, the worst first", min=1
        ),
    ] = None,
    image: ImageOption = None,
    image_path: Annotated[
        str | None,
        typer.Option(
            "--image-path",
            help="labelme, label-studio: what stands before the name of an image (default: nothing; "
            "/data/local-files/?d=)",
        ),
    ] = None,
    with_images: Annotated[
        bool, typer.Option("--with-images", help="write the images too, where the labels look for them")
    ] = False,
    iteration: IterationOption = None,
    store: StoreOption = None,
) -> None:
    """Write the trained model as a plain MMDetection config and checkpoint, or pseudo labels for another tool.

    model.py and weights.pth are what mmdet.apis.init_detector takes, and lines of Python say how.
    pseudo_labels.json holds the training images' instances; "multiplicity" and "weight" of an image entry say how many
    of the K samples equal its set, "diversity" how far they disagree. Polygons (yolo-seg, labelme) fill holes; coco and
    label-studio keep every pixel.

    Example: wsis export demo --out worst --pseudo-labels --worst 100 --format label-studio
    """
    from data_contracts.store import Store
    from wsis.apps import exports, tool_exports
    from wsis.cli.stale_warning import warn_of_stale
    from wsis.runs.runner import Runner

    of_labels = {
        "--sets": sets,
        "--format": label_format,
        "--worst": worst,
        "--image": image,
        "--image-path": image_path,
        "--with-images": with_images,
    }
    tool = _label_format(label_format)
    _check_export(pseudo_labels, {**of_labels, "--format": label_format and (tool or "coco")})
    runner = Runner(Store(store), run_name)
    warn_of_stale(runner)
    if not pseudo_labels:
        files = exports.export_model(runner, out, iteration)
        print(*files, exports.how_to_load(*files), sep="\n")
    elif tool is None:
        path, images, instances = exports.export_pseudo_labels(
            runner, out, sets or "frequent", iteration, image or (), worst, with_images
        )
        print(f"{counted(instances, 'instance')} in {counted(images, 'image entry')}: {path}")
    else:
        path, images, instances = tool_exports.export_for_tool(
            runner, out, tool, image or (), worst, iteration, image_path, with_images
        )
        print(f"{counted(instances, 'instance')} in {counted(images, 'image')}: {path}")


def _label_format(given: str | None) -> "ToolFormat | None":
    """The tool that --format means, None: COCO. `label_studio`, as `data.format` has it, is `label-studio`.

    Raises:
        ConfigError: no such format.
    """
    from wsis.apps.tool_exports import TOOL_FORMATS

    name = (given or "coco").replace("_", "-")
    known: dict[str, ToolFormat | None] = {"coco": None, **{tool: tool for tool in TOOL_FORMATS}}
    if name not in known:
        raise ConfigError(
            f"--format: expected one of {', '.join(known)}, got {given!r}{did_you_mean(name, known)}"
        )
    return known[name]


def _check_export(pseudo_labels: bool, of_labels: Mapping[str, Any]) -> None:
    """Options that exclude one another.

    Args:
        of_labels: option -> what is given, of those about pseudo labels.

    Raises:
        ConfigError: naming the option.
    """
    given = [option for option, value in of_labels.items() if value]
    if given and not pseudo_labels:
        raise ConfigError(f"{given[0]}: expected --pseudo-labels beside it, got none")
    kind = of_labels["--format"] or "coco"
    if kind in ("coco", "yolo-seg") and of_labels["--image-path"] is not None:
        raise ConfigError(f"--image-path: expected --format labelme or label-studio, got {kind}")
    if kind != "coco" and of_labels["--sets"] is not None:
        raise ConfigError(
            f"--sets: expected --format coco, got {kind}, of which an image has one set of labels"
        )
