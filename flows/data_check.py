"""`wsis check`: from a data section to findings and their page."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from data_contracts.atomic import write_atomic
from data_contracts.errors import ConfigError
from flows.config import RunConfig, load_config, shipped_configs
from flows.data_findings import findings, sample
from reporting.data_check_page import SheetImage, Thumbnail, check_page, thumbnail
from reporting.image_names import ImageNames
from stages.progress import Progress
from stages.readers.config import open_source
from stages.readers.images import decode_image
from stages.readers.inventory import Inventory, take_inventory
from stages.readers.records import DatasetSource

PAGE_NAME = "check.html"
SHEET = 60  # images: a page of a megabyte
DEFAULT_CONFIG = "voc_lite"


def data_config(
    data: str, data_format: str | None, supervision: str | None, overrides: Iterable[str]
) -> RunConfig:
    """The run that is meant: a configuration, or `voc_lite` on a folder.

    Raises:
        ConfigError: neither; or naming key, expected and got for everything that is wrong.
    """
    named, given = data, list(overrides)
    if Path(data).expanduser().is_dir():
        named, given = DEFAULT_CONFIG, [*given, f"data.root={_quoted(data)}"]
    elif data not in shipped_configs() and not Path(data).is_file():
        raise ConfigError(f"wsis check: expected a folder of data, or a configuration, got {data!r}")
    if data_format is not None:
        given.append(f"data.format={data_format}")
    if supervision is not None:
        given.append(f"data.supervision={supervision}")
    return load_config(named, given)


def _quoted(text: str) -> str:
    """As a YAML string, whatever it holds."""
    return "'" + text.replace("'", "''") + "'"


def check_data(
    config: RunConfig, out: Path | None = None, progress: Progress | None = None
) -> tuple[dict[str, Any], Path | None]:
    """Inventory the data of a configuration; the findings, and the page where `out` is given.

    Raises:
        ConfigError, DataError: nothing of the data can be read.
        StoreError: the page cannot be written.
    """
    bar = progress or Progress()
    source = open_source(config.data)
    found = take_inventory(source, lambda items, total: bar.track(items, total, "reads images", "img"))
    values = findings(source, found, config)
    if out is None:
        return values, None
    page = out / PAGE_NAME
    write_atomic(page, check_page(values, _sheet(source, found)).encode())
    return values, page


def _sheet(source: DatasetSource, found: Inventory) -> Sequence[Thumbnail]:
    names = ImageNames({one.image_id: one.file_name for one in found.images})
    drawn = []
    for one in sample(found, SHEET):
        image = SheetImage(
            name=names(one.image_id),
            part=one.part,
            labels=one.labels.tolist(),
            boxes=one.boxes,
            box_labels=one.box_labels,
            picture=decode_image(source.image(one.image_id).encoded, one.file_name),
        )
        drawn.append(thumbnail(image, len(found.classes)))
    return drawn
