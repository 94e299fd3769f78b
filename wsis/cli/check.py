"""`wsis check`: what a data set holds and what can be learned from it, before anything is computed."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from data_contracts.errors import ConfigError
from wsis.cli.completion import complete_format
from wsis.cli.frame import LOGGER
from wsis.cli.options import JsonOption, SetOption


def check(
    data: Annotated[str, typer.Argument(help="folder of the data, or a configuration (name or YAML file)")],
    data_format: Annotated[
        str | None,
        typer.Option(
            "--format", help="as data.format (default: the configuration's)", autocompletion=complete_format
        ),
    ] = None,
    supervision: Annotated[
        Literal["image", "box"] | None,
        typer.Option("--supervision", help="learn from image-level labels, or boxes"),
    ] = None,
    overrides: SetOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="folder for check.html: tables and a contact sheet, one page")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What will be learned from what: images, labels, sizes, copies, what is missing, how long it takes.

    Of a folder as `wsis run voc_lite --set data.root=FOLDER` would read it; settings as there. Every image and mask is
    read, nothing stops at the first fault, and nothing is written but the page. Exit code 1: a run would be refused.

    Example: wsis check my_data
    """
    import json
    import logging

    from wsis.apps.data_check import check_data, data_config, run_command
    from wsis.apps.data_findings import BOXES_TEACH
    from wsis.apps.output_paths import check_folder
    from wsis.reporting.tables.data_check_text import check_text

    config = data_config(data, data_format, supervision, overrides or ())
    if out is not None:
        if config.data.root is not None and out.resolve().is_relative_to(config.data.root.resolve()):
            raise ConfigError(f"--out: expected a place outside the data in {config.data.root}, got {out}")
        check_folder(out)
    found, page = check_data(config, out)
    with_boxes = "box" if BOXES_TEACH in found["hints"] else supervision  # the command that the hint means
    found["next"] = run_command(data, data_format, with_boxes, overrides or ())
    quiet = LOGGER.level > logging.INFO
    print(json.dumps(found, indent=1) if as_json else check_text(found, quiet))
    if page is not None and not as_json:
        print(f"\npage: {page}")
    if not found["ready"]:
        raise typer.Exit(1)
