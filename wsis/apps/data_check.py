"""`wsis check`: from a data section to findings and their page."""

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from data_contracts.atomic import write_atomic
from data_contracts.errors import ConfigError
from data_contracts.paths import user_path
from wsis.apps.data_findings import findings, sample
from wsis.engine.progress import Progress
from wsis.readers.config import open_source
from wsis.readers.files.images import decode_image
from wsis.readers.inventory import Inventory, take_inventory
from wsis.readers.shared.records import DatasetSource
from wsis.reporting.page.data_check_page import SheetImage, Thumbnail, check_page, thumbnail
from wsis.runs.config import RunConfig, load_config, shipped_configs
from wsis.views.image_names import ImageNames

PAGE_NAME = "check.html"
SHEET = 60  # images: a page of a megabyte
DEFAULT_CONFIG = "voc_lite"
_YAML = (".yaml", ".yml")


def data_config(
    data: str, data_format: str | None, supervision: str | None, overrides: Iterable[str]
) -> RunConfig:
    """The run that is meant: a configuration, or `voc_lite` on a folder.

    Raises:
        ConfigError: neither; or naming key, expected and got for everything that is wrong.
    """
    name, given = _meant(data, data_format, supervision, overrides)
    if name == data and data not in shipped_configs() and not Path(data).is_file():
        raise ConfigError(f"wsis check: expected a folder of data, or a configuration, got {data!r}")
    if name == data and data not in shipped_configs() and Path(data).suffix.lower() not in _YAML:
        raise ConfigError(
            f"wsis check: expected a folder of data, or a configuration (YAML), got the file {data!r:.200}; an archive "
            "has to be unpacked"
        )
    return load_config(name, given)


def run_command(data: str, data_format: str | None, supervision: str | None, overrides: Iterable[str]) -> str:
    """The command that runs what :func:`data_config` gives; a folder's run has its name."""
    name, given = _meant(data, data_format, supervision, overrides)
    folder = user_path(data, "wsis check")
    called = re.sub(r"[^A-Za-z0-9]+", "-", folder.resolve().name).strip("-")[:100] if folder.is_dir() else ""
    own = ["--name", called] if called else []
    return shlex.join(["wsis", "run", name, *own, *(word for one in given for word in ("--set", one))])


def _meant(
    data: str, data_format: str | None, supervision: str | None, overrides: Iterable[str]
) -> tuple[str, list[str]]:
    """A configuration and its overrides."""
    name, given = data, list(overrides)
    if user_path(data, "wsis check").is_dir():
        name, given = DEFAULT_CONFIG, [f"data.root={_as_yaml(data)}", *given]
    given += [f"data.format={data_format}"] if data_format is not None else []
    given += [f"data.supervision={supervision}"] if supervision is not None else []
    return name, given


def _as_yaml(text: str) -> str:
    """A value that YAML reads as this text: as it is where that is plain enough."""
    plain = re.fullmatch(r"[\w./~][\w./ -]*[\w./]", text) and not re.fullmatch(r"[\d.eE_]+", text)
    return text if plain else "'" + text.replace("'", "''") + "'"


def check_data(config: RunConfig, out: Path | None = None) -> tuple[dict[str, Any], Path | None]:
    """Inventory the data of a configuration; the findings, and the page where `out` is given.

    Raises:
        ConfigError, DataError: nothing of the data can be read.
        StoreError: the page cannot be written.
    """
    bar = Progress()
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
