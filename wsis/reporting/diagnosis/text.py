"""A diagnosis in the terminal (80 columns) and on the page of a run."""

import html
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby

from data_contracts.printable import counted
from wsis.reporting.diagnosis.sections import Diagnosis, sections
from wsis.reporting.diagnosis.terms import DEFINITIONS
from wsis.reporting.tables.tables import WIDTH, format_table, results_table
from wsis.reporting.tables.training_shares import shares_line


def diagnosis_text(diagnosis: Diagnosis, per_class: bool = False) -> str:
    """The diagnosis for a terminal."""
    lines = heading(diagnosis).splitlines()
    parts = ["\n".join(textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in lines)]
    for section in sections(diagnosis, per_class):
        table = format_table(section.header, section.rows, width=WIDTH)
        note = textwrap.fill(section.note, WIDTH)
        parts.append(f"{section.title}\n\n{table}" + (f"\n{note}" if note else ""))
    if diagnosis["results"]:
        parts.append("mAP\n\n" + results_table(diagnosis["results"]))
    conclusion = diagnosis["conclusion"] or "Nothing is there yet that could lose accuracy."
    parts.append(textwrap.fill(conclusion, WIDTH))
    return "\n\n".join(parts)


def diagnosis_html(diagnosis: Diagnosis) -> str:
    """The tables for a page, without the mAP that stands there already."""
    parts = [f"<p>{html.escape(line)}</p>" for line in heading(diagnosis).splitlines()]
    if diagnosis["conclusion"]:
        parts.append(f"<p><strong>{html.escape(diagnosis['conclusion'])}</strong></p>")
    for section in sections(diagnosis, per_class=True):
        table = format_table(section.header, section.rows, "html")
        parts.append(f'<h3>{html.escape(section.title)}</h3>\n<div class="wide">{table}</div>')
        if section.note:
            parts.append(f'<p class="note">{html.escape(section.note)}</p>')
    notes = [f'<p class="note">{html.escape(text)}</p>' for text in DEFINITIONS.strip().split("\n\n")]
    return "\n".join([*parts, *notes])


def heading(diagnosis: Diagnosis) -> str:
    """What was measured, and what is not there yet."""
    lines = [f"run {diagnosis['run']}: {diagnosis['status']}"]
    for split, data in diagnosis["data"].items():
        if data["of"]:
            lines.append(
                f"{split}: {data['images']} of {counted(data['of'], 'image')} with masks, "
                f"{counted(data['instances'], 'instance')}"
            )
    if learned := shares_line(diagnosis.get("learned_from", ())):
        lines.append(learned)
    if diagnosis["images_without_masks"]:
        lines.append(f"without masks, and left out: {counted(diagnosis['images_without_masks'], 'image')}")
    if diagnosis["absent"]:
        lines.append("not there yet: " + ", ".join(_collected(diagnosis["absent"])))
    return "\n".join(lines)


def _collected(keys: Sequence[str]) -> Iterator[str]:
    """prediction@2, prediction@3 -> prediction@2,3"""
    for name, same in groupby(keys, key=lambda key: key.partition("@")[0]):
        iterations = ",".join(t for key in same if (t := key.partition("@")[2]))
        yield f"{name}@{iterations}" if iterations else name
