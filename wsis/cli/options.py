"""Options that several commands of `wsis` share."""

from pathlib import Path
from typing import Annotated

import typer

from wsis.cli.completion import complete_run

RunArgument = Annotated[str, typer.Argument(metavar="RUN", autocompletion=complete_run, show_default=False)]
StoreOption = Annotated[
    str | None,
    typer.Option("--store", help="folder or URL (s3://BUCKET/PATH; default: $WSIS_STORE, else ./runs)"),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="override, dotted.key=value; may be given many times")
]
ImageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--image",
        help="an image by its name, with or without folder and ending, or a pattern; may be given many times",
    ),
]
IdsOption = Annotated[
    Path | None,
    typer.Option(
        "--ids", help="COCO file of these photographs: results take its ids, images and classes by name"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON")]
ReplaceOption = Annotated[
    bool,
    typer.Option("--replace", help="go on under an existing name although settings or data are others"),
]
