"""What `wsis check` found, as one HTML page that needs nothing else: the tables, and a contact sheet of the images."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from wsis.reporting.page.rendering import render
from wsis.reporting.pictures.overlays import draw_boxes, fit, instance_colours
from wsis.reporting.pictures.pictures import encode
from wsis.reporting.tables.data_check_text import (
    LISTS,
    classes_table,
    expectations,
    facts,
    parts_table,
    verdict,
)
from wsis.reporting.tables.tables import format_table
from wsis.views.image_names import shortened

THUMBNAIL = 240  # pixels of the longer side
_QUALITY = 80
_LISTED = 100  # problems on the page
_NAME = 34


class SheetImage(NamedTuple):
    """An image of the contact sheet.

    Attributes:
        part: train or val.
        labels: numbers 1..C of its classes; none: a negative.
        boxes: float [N, 4], xyxy in image pixels. box_labels: int [N].
        picture: uint8 [H, W, 3].
    """

    name: str
    part: str
    labels: Sequence[int]
    boxes: NDArray[np.floating]
    box_labels: NDArray[np.integer]
    picture: NDArray[np.uint8]


class Thumbnail(NamedTuple):
    """A SheetImage, drawn: the bytes of a JPEG."""

    name: str
    part: str
    labels: Sequence[int]
    boxes: int
    jpeg: bytes


def thumbnail(image: SheetImage, classes: int) -> Thumbnail:
    """The image at the size of the sheet with its boxes in the colours of their classes."""
    small = fit(image.picture, THUMBNAIL)
    scale = np.array([small.shape[1], small.shape[0]] * 2) / np.array(image.picture.shape[1::-1] * 2)
    draw_boxes(small, image.boxes * scale, instance_colours(classes)[image.box_labels - 1])
    data = encode(small, "JPEG", quality=_QUALITY)
    return Thumbnail(image.name, image.part, image.labels, len(image.boxes), data)


def check_page(found: Mapping[str, Any], sheet: Sequence[Thumbnail]) -> str:
    """The page.

    Args:
        found: as `wsis check --json` prints it.
        sheet: the images to show, drawn.
    """
    colours = [
        ",".join(map(str, colour)) for colour in instance_colours(len(found["data"]["classes"])).tolist()
    ]
    tables = [parts_table(found), *([classes_table(found)] if found["classes"] else [])]
    return render(
        "check.html",
        title="Data check",
        style="check.css",
        found=found,
        verdict=verdict(found),
        lists=[(title, found[title]) for title in LISTS if found[title]],
        listed=_LISTED,
        tables=[Markup(format_table(header, rows, "html")) for header, rows in tables],
        facts=facts(found),
        expectations=expectations(found),
        sheets=[(part, [one for one in sheet if one.part == part]) for part in ("train", "val")],
        colours=colours,
        short=lambda name: shortened(name, _NAME),
        base64=lambda data: base64.b64encode(data).decode(),
    )
