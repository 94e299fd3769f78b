"""One self-contained HTML page a run: overview, results, pictures, curves, time, lineage, every image."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from data_contracts.atomic import write_atomic
from data_contracts.errors import ContractError
from data_contracts.notes import notes_of
from data_contracts.printable import printable
from data_contracts.runs import RunRecord
from data_contracts.store import Artefact
from wsis.reporting.diagnosis.text import diagnosis_html
from wsis.reporting.page.conditional_part import conditional_section
from wsis.reporting.page.cost import lineage, times
from wsis.reporting.page.elements import (
    amount,
    guarded,
    json_of,
    note,
    picture,
    share,
    unscaled,
    wide,
)
from wsis.reporting.page.gallery_part import GalleryPart, Track, embedded_gallery, no_track
from wsis.reporting.page.overview import overview
from wsis.reporting.page.plots import loss_plot, map_plot, waterfall_plot
from wsis.reporting.page.rendering import render
from wsis.reporting.pictures.figures import figures_of_run, write_figure
from wsis.reporting.pictures.pictures import encode, overlays
from wsis.reporting.tables.results import measured_of, results_of
from wsis.reporting.tables.tables import format_table, measured_tables, results_table
from wsis.views.run import Run

CURVE_NAME = "curve.json"
OVERLAYS = 6
"""Of each kind, on the page and beside it: the gallery shows every image."""
QUALITY_NAME = "instance_quality.json"
_BEST_IOU = "mean_best_iou"
_COUNTED = ("found", "merged", "split", "missed", "predicted", "spurious", "duplicates")
_FIGURES = (
    "Each training image has several samples of its masks, its pseudo labels, from which the prediction network "
    "learns. 2 of 10: so many of the samples are as drawn."
)
_CURVES = (
    "What each training logged over its steps. The loss should fall and then stay level. Of a long one the faint "
    "line is what was logged, the full one its running mean."
)
Section = tuple[str, Callable[[], str]]


def write_report(
    run: Run,
    out: Path,
    images: int | None = None,
    diagnosis: Mapping[str, Any] | None = None,
    track: Track = no_track,
) -> Path:
    """Write `report.html`, the overlays (`overlays/*.png`) and figures of a run; returns the page.

    Read-only over the store. What cannot be read (damaged, not computed yet) is said on the page instead.

    Args:
        images: of the gallery, at most, evenly spread; None: `wsis.reporting.page.gallery_part.MOST`. 0: no gallery, no
            overlays and no figures. Overlays of each kind are `OVERLAYS` at most.
        diagnosis: as `wsis.reporting.diagnosis.diagnosis.diagnose` makes it; None: no section on it.
        track: progress over the chunks of the gallery.
    """
    out.mkdir(parents=True, exist_ok=True)
    page = out / "report.html"
    write_atomic(page, report_html(run, images, out, diagnosis, track).encode())
    return page


def report_html(
    run: Run,
    images: int | None,
    folder: Path | None = None,
    diagnosis: Mapping[str, Any] | None = None,
    track: Track = no_track,
) -> str:
    """The page as text; overlays and figures are also written below `folder` if it is given."""
    drawn = OVERLAYS if images is None else min(OVERLAYS, images)
    pictures: list[Section] = [
        ("Figures", lambda: _figures(run, folder)),
        ("Pictures", lambda: _pictures(run, drawn, folder and folder / "overlays")),
    ]
    sections = sections_of(run, diagnosis, pictures if drawn and "dataset" in run.record.entries else ())
    try:
        gallery = embedded_gallery(run, images, track)
    except ContractError as error:
        gallery, said = None, note(f"Not readable: {error}")
        sections.append(("Gallery", lambda: said))
    return page_of(run, sections, gallery, diagnosis)


def sections_of(
    run: Run, diagnosis: Mapping[str, Any] | None = None, pictures: Sequence[Section] = ()
) -> list[Section]:
    """Titles of the sections below the overview, with what makes each."""
    record, artefacts = run.record, dict(_artefacts(run))
    sections: list[Section] = []
    if notes := notes_of(run.store, run.name):
        sections.append(("Notes", lambda: "".join(note(f"{one.written}: {one.text}") for one in notes)))
    if warnings := run.warnings():
        sections.append(("Warnings", lambda: "".join(note(line) for line in warnings)))
    sections.append(("Results", lambda: _results(run)))
    if diagnosis is not None:
        sections.append(("Diagnosis", lambda: _diagnosis(diagnosis)))
    return [
        *sections,
        ("Pseudo labels, instance by instance", lambda: _quality(artefacts)),
        *pictures,
        ("Conditional networks", lambda: conditional_section(artefacts)),
        ("Training curves", lambda: _curves(artefacts)),
        ("Where the time went", lambda: times(record, artefacts)),
        ("Lineage", lambda: lineage(run, artefacts)),
        ("Configuration", lambda: _config(record)),
    ]


def page_of(
    run: Run,
    sections: Sequence[Section],
    gallery: GalleryPart | None,
    diagnosis: Mapping[str, Any] | None = None,
) -> str:
    """The page: the overview, the sections that say something, the gallery. The numbers stand before its data."""
    made = [(title, guarded(make)) for title, make in sections]
    return printable(
        render(
            "report.html",
            title=run.name,
            style="report.css",
            record=run.record,
            location=run.store.location,
            stale=run.stale_line(),
            overview=overview(run, diagnosis),
            sections=[(title, _anchor(title), Markup(text)) for title, text in made if text],
            gallery=gallery,
        )
    )


def _anchor(title: str) -> str:
    """`Where the time went` -> `where-the-time-went`"""
    return "-".join(re.findall(r"[a-z0-9]+", title.lower()))


def _artefacts(run: Run) -> Iterator[tuple[str, Artefact]]:
    for key in run.record.entries:
        try:
            yield key, run.artefact(key, verify=False)
        except ContractError:
            continue  # the lineage table lists it as unreadable


def _results(run: Run) -> str:
    """Empty where nothing is scored, which the overview says."""
    rows = results_of(run)
    measured = wide(measured_tables(measured_of(run), "html")) if run.record.measured else ""
    if not rows:
        return measured
    parts = [wide(results_table(rows, "html")), picture(map_plot(rows), "image/png", "mAP by iteration")]
    for measure, title in (("0.50", "VOC AP at IoU 0.50"), ("0.75", "VOC AP at IoU 0.75"), ("AP", "COCO AP")):
        parts += [f"<h3>{title} by class</h3>", wide(results_table(rows, "html", measure))]
    parts.append(
        note(
            "VOC mAP is mAP^r in percent: area under the precision envelope, mean over the classes that have ground "
            "truth in the split (others: –). COCO AP is the mean over IoU .50:.05:.95; s, m, l: of small (area below "
            "32²), medium and large (from 96²) instances. Pseudo labels are scored on the images they were made for."
        )
    )
    parts.append(measured)
    return "\n".join(parts)


def _quality(artefacts: dict[str, Artefact]) -> str:
    rows = []
    for key, artefact in artefacts.items():
        if QUALITY_NAME in artefact.manifest.files:
            value = json_of(artefact, QUALITY_NAME)
            rows.append(
                [
                    key,
                    f"{value['instances']:.0f}",
                    share(value.get(_BEST_IOU)),
                    *(amount(value.get(name)) for name in _COUNTED),
                ]
            )
    if not rows:
        return ""
    header = ["evaluation", "true instances", *(name.replace("_", " ") for name in (_BEST_IOU, *_COUNTED))]
    explained = (
        "Means over the K samples. found: IoU ≥ 0.5; merged: covered together with a neighbour of the class; "
        "split: covered by several; spurious: labelled, but nowhere near an instance of the class; duplicates: "
        "labelled beside another that finds the same one (–: not counted then)."
    )
    return wide(format_table(header, rows, "html")) + note(explained)


def _diagnosis(diagnosis: Mapping[str, Any]) -> str:
    falls = diagnosis["waterfalls"]
    parts = [picture(waterfall_plot(falls), "image/png", "where accuracy is lost")] if falls else []
    return "\n".join([*parts, diagnosis_html(diagnosis)])


def _figures(run: Run, folder: Path | None) -> str:
    """The paper's Figures 2 and 4."""
    parts = []
    for figure in figures_of_run(run):
        if folder is not None:
            write_figure(figure, folder / "figures")
        data = encode(figure.picture, "JPEG", quality=88)
        parts.append(f"<h3>{escape(figure.caption)}</h3>")
        parts.append(unscaled(picture(data, "image/jpeg", ", ".join(map(figure.names.shown, figure.parts)))))
    return "\n".join([note(_FIGURES), *parts] if parts else ())


def _pictures(run: Run, images: int, folder: Path | None) -> str:
    parts = []
    for key in _pictured(run.record):
        parts.append(f"<h3>{escape(key)}</h3>")
        for name, file_name, drawn in overlays(run, key, images):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                write_atomic(folder / file_name, encode(drawn, "PNG"))
            data = encode(drawn, "JPEG", quality=88)
            parts.append(unscaled(picture(data, "image/jpeg", f"{key} {name}")))
    if parts:
        parts.insert(
            0,
            '<p class="note">A few of each. The <a href="#gallery">gallery</a> goes image by image. The number on a '
            "tag is, of a seed, the response of its class; of a sample, how far its score is above that of the "
            "background; of a prediction, its probability.</p>",
        )
    return "\n".join(parts)


def _pictured(record: RunRecord) -> list[str]:
    """The first and last pseudo labels and predictions; before there are any, the seeds."""
    keys: list[str] = []
    for name in ("pseudo_labels@", "predictions.val@"):
        found = [key for key in record.entries if key.startswith(name)]
        keys += list(dict.fromkeys([*found[:1], *found[-1:]]))
    fallback: list[str] = [key for key in ("prm_seeds", "dataset") if key in record.entries]
    return keys or fallback[:1]


def _curves(artefacts: dict[str, Artefact]) -> str:
    parts = []
    for key, artefact in artefacts.items():
        if CURVE_NAME in artefact.manifest.files:
            parts.append(guarded(partial(_curve, key, artefact)))
    said = [part for part in parts if part]
    return "\n".join([note(_CURVES), *said] if said else ())


def _curve(key: str, artefact: Artefact) -> str:
    curve = json_of(artefact, CURVE_NAME)
    return picture(loss_plot(curve, key), "image/png", f"training curves of {key}") if curve else ""


def _config(record: RunRecord) -> str:
    text = escape(json.dumps(record.config, indent=1, sort_keys=True))
    return f"<details><summary>as validated</summary><pre>{text}</pre></details>"
