"""What `wsis check` found, as one HTML page that needs nothing else: the tables, and a contact sheet of the images."""

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
_STYLE = """
:root{color-scheme:light dark;--ink:#1c1c1c;--ground:#fff;--soft:#5c5c5c;--line:#ddd;--card:#f6f6f6;--good:#1a7f37;
--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6e6e6;--ground:#16181b;--soft:#a3a8ad;--line:#3a3e44;--card:#22262b;
--good:#57c878;--bad:#ff8a80}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);max-width:1180px;margin:1.5rem auto;
padding:0 1rem;overflow-wrap:anywhere}
h1{font-size:1.45rem;margin:0}h2{font-size:1.15rem;margin:2rem 0 .6rem;border-bottom:1px solid var(--line)}
.verdict{font-size:1.1rem;font-weight:600;margin:.4rem 0 1rem}.good{color:var(--good)}.bad{color:var(--bad)}
.soft{color:var(--soft)}p{margin:.3rem 0}.tables{display:flex;flex-wrap:wrap;gap:1rem 2.5rem;align-items:flex-start}
.wide{overflow-x:auto;max-width:100%}table{border-collapse:collapse;font-size:.92rem}th,td{padding:.22rem .6rem;
text-align:left;border-bottom:1px solid var(--line);vertical-align:top}td:first-child,th:first-child{padding-left:0}
td:first-child{min-width:6rem;max-width:22rem}.number{text-align:right;font-variant-numeric:tabular-nums}
td.number{white-space:nowrap}th.number{overflow-wrap:normal}
ul{padding-left:1.2rem;margin:.3rem 0}li{margin:.25rem 0}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:.8rem}
figure{margin:0;background:var(--card);border-radius:6px;overflow:hidden}
figure img{display:block;width:100%;height:150px;object-fit:contain;background:#0002}
figcaption{font-size:.82rem;line-height:1.35;padding:.4rem .5rem}figcaption b{display:block;font-weight:600}
.swatch{display:inline-block;width:.7em;height:.7em;border-radius:2px;margin-right:.3em}
"""


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
    small = fit(image.picture, THUMBNAIL)[0].copy()
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
    data = found["data"]
    tone = "good" if found["ready"] else "bad"
    sections = [
        f'<h1>Data check</h1>\n<p class="soft"><code>{html.escape(data["root"])}</code></p>',
        f'<p class="verdict {tone}">{html.escape(verdict(found))}</p>',
        *_lists(found),
        f"<h2>What is there</h2>\n{_tables(found)}",
        "\n".join(f"<p>{html.escape(line)}</p>" for line in facts(found)),
        "<h2>What to expect</h2>\n"
        + "\n".join(f"<p>{html.escape(line)}</p>" for line in expectations(found)),
        *(_sheet(part, sheet, data["classes"], found["parts"][part]["images"]) for part in ("train", "val")),
    ]
    body = "\n".join(sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Data check</title><style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _lists(found: Mapping[str, Any]) -> list[str]:
    """Problems, warnings and so on: those there are."""
    parts = []
    for title in LISTS:
        lines = found[title]
        if lines:
            items = "\n".join(f"<li>{html.escape(line)}</li>" for line in lines[:_LISTED])
            more = f'\n<p class="soft">… and {len(lines) - _LISTED} more</p>' if len(lines) > _LISTED else ""
            parts.append(f"<h2>{title.capitalize()} ({len(lines)})</h2>\n<ul>{items}</ul>{more}")
    return parts


def _tables(found: Mapping[str, Any]) -> str:
    tables = [parts_table(found), *([classes_table(found)] if found["classes"] else [])]
    shown = (f'<div class="wide">{format_table(header, rows, "html")}</div>' for header, rows in tables)
    return f'<div class="tables">{"".join(shown)}</div>'


def _sheet(part: str, sheet: Sequence[Thumbnail], classes: Sequence[str], total: int) -> str:
    images = [one for one in sheet if one.part == part]
    if not images:
        return ""
    figures = "\n".join(_figure(one, classes) for one in images)
    note = "Every class takes its turn; boxes in the colour of their class."
    return (
        f"<h2>{part.capitalize()}: {len(images)} of {total} images</h2>\n"
        f'<p class="soft">{note}</p>\n<div class="sheet">\n{figures}\n</div>'
    )


def _figure(one: Thumbnail, classes: Sequence[str]) -> str:
    colours = instance_colours(len(classes))
    labels = "<br>".join(
        f'<span class="swatch" style="background:rgb({",".join(map(str, colours[n - 1].tolist()))})"></span>'
        f"{html.escape(shortened(classes[n - 1], _NAME))}"
        for n in one.labels
    )
    name = html.escape(one.name, quote=True)
    boxes = f'<br><span class="soft">{one.boxes} box{"es" * (one.boxes != 1)}</span>' if one.boxes else ""
    data = base64.b64encode(one.jpeg).decode()
    return (
        f'<figure><img alt="{name}" title="{name}" loading="lazy" src="data:image/jpeg;base64,{data}">'
        f"<figcaption><b>{html.escape(shortened(one.name, _NAME))}</b>"
        f"{labels or '<i>negative: no class</i>'}{boxes}</figcaption></figure>"
    )
