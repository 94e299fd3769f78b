"""What `wsis check` found, for a terminal of 80 columns: a verdict, tables, what to know, what to expect."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from data_contracts.printable import counted
from wsis.reporting.tables.expected_time import OTHERS, time_here
from wsis.reporting.tables.tables import ABSENT, WIDTH, format_table
from wsis.views.image_names import shortened

LISTS = ("problems", "warnings", "hints", "notes")
_LISTED = 10
_NAME = 24
Findings = Mapping[str, Any]


def check_text(found: Findings, quiet: bool = False) -> str:
    """The findings as text; with `quiet` the verdict and what is wrong."""
    if quiet:
        return "\n\n".join([_wrapped(verdict(found), ""), *_lists(found, LISTS[:2])])
    parts = [_wrapped(verdict(found), ""), format_table(*parts_table(found))]
    if found["classes"] and found["images"]:
        parts.append(format_table(*classes_table(found, _NAME)))
    if lines := list(facts(found)):
        parts.append("\n".join(_wrapped(line, "  ") for line in lines))
    parts += _lists(found, LISTS)
    parts.append("\n".join(_wrapped(line, "  ") for line in expectations(found)))
    if found["ready"]:
        parts.append(f"next: {found['next']}")
    return "\n\n".join(parts)


def _lists(found: Findings, titles: Sequence[str]) -> Iterator[str]:
    for title in titles:
        if lines := found[title]:
            yield "\n".join([f"{title} ({len(lines)}):", *_bullets(lines)])


def verdict(found: Findings) -> str:
    """One line: whether a run can start, and on what."""
    if not found["ready"]:
        return f"cannot train: {counted(len(found['problems']), 'problem')}"
    train, val = found["parts"]["train"], found["parts"]["val"]
    labels = "image-level labels" if found["data"]["supervision"] == "image" else "boxes"
    return (
        f"ready to train: {train['images']} train and {val['images']} val images, "
        f"{counted(len(found['classes']), 'class')}, learned from {labels}"
    )


def parts_table(found: Findings) -> tuple[list[str], list[list[str]]]:
    """Header and rows: counts of both parts."""
    rows = {
        "images": "images",
        "negatives": "of them negatives (none of the classes)",
        "several_classes": "with several classes",
        "with_boxes": "with boxes for all their classes",
        "several_of_a_class": "of them with several of one class",
        "objects": "objects, where boxes tell",
        "with_masks": "with masks (for measuring alone)",
    }
    train, val = found["parts"]["train"], found["parts"]["val"]
    return ["", "train", "val"], [
        [title, _count(train[key]), _count(val[key])] for key, title in rows.items()
    ]


def classes_table(found: Findings, longest: int = 1000) -> tuple[list[str], list[list[str]]]:
    """Header and rows: images that show each class, and its objects."""
    header = ["class", "train images", "val images"]
    keys = ["train", "val"]
    if any(row["train_objects"] is not None or row["val_objects"] is not None for row in found["classes"]):
        header += ["train objects", "val objects"]
        keys += ["train_objects", "val_objects"]
    rows = found["classes"]
    return header, [[shortened(row["name"], longest), *(_count(row[key]) for key in keys)] for row in rows]


def facts(found: Findings) -> Iterator[str]:
    """Sizes of images and objects, kinds of pixels."""
    images, objects = found["images"], found["objects"]
    if images:
        width, height, aspect = (_span(images[key]) for key in ("width", "height", "aspect"))
        yield f"image width {width}; height {height}; longer by shorter side {aspect}"
        yield "pixels: " + ", ".join(f"{_pixels(mode)} {count}" for mode, count in images["pixels"].items())
    if objects:
        share = 100 * objects["share_of_image"][1]
        side = _span(objects["longer_side"])
        yield f"longer side of the boxes {side} pixels; {share:.2g} % of the image in the median"


def expectations(found: Findings) -> Iterator[str]:
    """Time, memory and disk."""
    cost = found["cost"]
    if cost["seconds"] is None:
        yield f"no estimate of the time: {cost['why']}"
        return
    yield f"time: {time_here(cost['seconds'], cost['most_seconds'] / cost['seconds'])}"
    yield f"for {counted(cost['outer_iterations'], 'outer iteration')}; {OTHERS}"
    yield f"memory: up to {cost['memory_bytes'] / 1e9:.1f} GB; disk: about {cost['disk_bytes'] / 1e6:.0f} MB"


def _bullets(lines: Sequence[str]) -> Iterator[str]:
    for line in lines[:_LISTED]:
        yield _wrapped(line, "    ", "  - ")
    if len(lines) > _LISTED:
        yield f"  … and {len(lines) - _LISTED} more (--json lists all)"


def _wrapped(line: str, indent: str, first: str | None = None) -> str:
    """Text within WIDTH columns; a word that is longer (a path) stays whole."""
    return textwrap.fill(
        line,
        WIDTH,
        initial_indent=first if first is not None else "",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _span(values: Sequence[float]) -> str:
    """Least, median and most."""
    least, median, most = (f"{value:.5g}" for value in values)
    return least if least == most else f"{least} to {most}, median {median}"


def _count(value: int | None) -> str:
    return ABSENT if value is None else str(value)


def _pixels(mode: str) -> str:
    """Pillow's mode in words."""
    if mode.startswith("I"):
        return "16-bit grey"
    return {
        "RGB": "colour",
        "L": "grey",
        "P": "palette",
        "RGBA": "colour with transparency",
        "1": "1-bit",
    }.get(mode, mode)
