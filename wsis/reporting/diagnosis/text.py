"""A diagnosis as tables: in the terminal and on the page of a run."""

import html
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from wsis.reporting.diagnosis.summary import STEPS
from wsis.reporting.diagnosis.terms import DEFINITIONS
from wsis.reporting.tables.tables import format_table, percent, results_table

Diagnosis = Mapping[str, Any]
_ABSENT = "–"
_STATES = ("found", "merged", "split", "missed")
_SETS = {"all": "all", "filtered": "after the filter", "limited": "filter and max_proposals"}


class Section(NamedTuple):
    """A table with its title and a note."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    left_columns: int = 1


def diagnosis_text(diagnosis: Diagnosis, per_class: bool = False) -> str:
    """The diagnosis for a terminal."""
    parts = [heading(diagnosis)]
    for section in sections(diagnosis, per_class):
        table = format_table(section.header, section.rows, left_columns=section.left_columns)
        parts.append(f"{section.title}\n\n{table}" + (f"\n{section.note}" if section.note else ""))
    if diagnosis["results"]:
        parts.append("mAP\n\n" + results_table(diagnosis["results"]))
    parts.append(diagnosis["conclusion"] or "Nothing is there yet that could lose accuracy.")
    return "\n\n".join(parts)


def diagnosis_html(diagnosis: Diagnosis) -> str:
    """The tables for a page, without the mAP that stands there already."""
    parts = [f"<p>{html.escape(line)}</p>" for line in heading(diagnosis).splitlines()]
    if diagnosis["conclusion"]:
        parts.append(f"<p><strong>{html.escape(diagnosis['conclusion'])}</strong></p>")
    for section in sections(diagnosis, per_class=True):
        table = format_table(section.header, section.rows, "html", section.left_columns)
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
                f"{split}: {data['images']} of {data['of']} images with masks, {data['instances']} instances"
            )
    if diagnosis["images_without_masks"]:
        lines.append(f"{diagnosis['images_without_masks']} images have no masks and are left out")
    if diagnosis["absent"]:
        lines.append("not there yet: " + ", ".join(_collected(diagnosis["absent"])))
    return "\n".join(lines)


def _collected(keys: Sequence[str]) -> Iterator[str]:
    """prediction@2, prediction@3 -> prediction@2,3"""
    for name, same in groupby(keys, key=lambda key: key.partition("@")[0]):
        iterations = ",".join(t for key in same if (t := key.partition("@")[2]))
        yield f"{name}@{iterations}" if iterations else name


def sections(diagnosis: Diagnosis, per_class: bool) -> Iterator[Section]:
    """The tables that have something to say."""
    for make in (_waterfall, _seeds, _proposals, _samples, _detections):
        section = make(diagnosis)
        if section is not None and section.rows:
            yield section
    yield from _groups(diagnosis, per_class)


def _waterfall(diagnosis: Diagnosis) -> Section | None:
    falls = diagnosis["waterfalls"]
    if not falls:
        return None
    cells: dict[str, dict[int, Mapping[str, Any]]] = {}
    for fall in falls:
        for step in fall["steps"]:
            cells.setdefault(step["step"], {})[fall["iteration"]] = step
    rows = []
    for name in (n for n in STEPS if n in cells):
        aside = any(step["aside"] for step in cells[name].values())
        row = [f"({name})" if aside else name]
        for fall in falls:
            step = cells[name].get(fall["iteration"])
            row += [percent(step["iou"]), _points(step["loss"])] if step else [_ABSENT, _ABSENT]
        rows.append(row)
    header = ["mean IoU after"]
    for fall in falls:
        header += [f"iteration {fall['iteration']}" if fall["iteration"] else "before", "loss"]
    note = "In parentheses: not a step of the chain. Without predictions on train the next step bears their loss."
    return Section("Where accuracy is lost", header, rows, note)


def _points(loss: float | None) -> str:
    return "" if loss is None else f"{100 * loss:.1f}"


def _seeds(diagnosis: Diagnosis) -> Section | None:
    seeds = diagnosis["seeds"]
    if not seeds:
        return None
    fewer, equal, more = (percent(seeds["classes_with"][name]) for name in ("fewer", "equal", "more"))
    rows = [
        ["seeds an image / true instances", f"{seeds['per_image']:.2f} / {seeds['instances_per_image']:.2f}"],
        ["seeds inside an instance of their class", percent(seeds["inside"])],
        ["… inside one of another class alone", percent(seeds["other_class"])],
        ["… on ground / on void", f"{percent(seeds['background'])} / {percent(seeds['void'])}"],
        ["instances hit by a seed / by several", f"{percent(seeds['instances_hit'])} / "
         f"{percent(seeds['instances_hit_twice'])}"],
        ["classes of an image with fewer / as many / more seeds", f"{fewer} / {equal} / {more}"],
    ]  # fmt: skip
    everyone = diagnosis["groups"]["train"][0]["iou"]
    rows += [["IoU of the best peak response map", percent(everyone.get("response"))]]
    if "seed_target" in everyone:
        rows += [["IoU of the best target from a seed", percent(everyone["seed_target"])]]
    note = "Peak response maps from the share seed_threshold of their maximum on, as the filter of proposals uses them."
    return Section("Seeds (train)", ["", "%"], rows, note)


def _proposals(diagnosis: Diagnosis) -> Section | None:
    rows = []
    for name, entry in (diagnosis["proposals"] or {}).items():
        for group in entry["groups"]:
            first = group["group"] == "all"
            rows.append(
                [
                    _SETS[name] if first else "",
                    group["group"],
                    f"{entry['per_image']:.0f}" if first else "",
                    str(group["instances"]),
                    percent(group["best_iou"]),
                    *(percent(value) for value in group["recall"].values()),
                ]
            )
    header = ["proposals", "instances", "an image", "number", "best IoU", "recall .5", ".7", ".75"]
    return Section("Proposals (train): best of each instance", header, rows, left_columns=2)


def _samples(diagnosis: Diagnosis) -> Section | None:
    rows = [
        [
            str(row["iteration"]),
            percent(row["mean_over_k"]),
            percent(row["best_of_k"]),
            f"{row['predicted'] / row['images']:.2f} / {row['instances'] / row['images']:.2f}",
            *_shares(row),
            f"{row['distinct']:.1f}",
            percent(row["one_set_only"]),
        ]
        for row in diagnosis["pseudo_labels"]
    ]
    header = ["iteration", "mean over K", "best of K", "instances a sample / true", *_STATES, "spurious"]
    note = (
        "found … missed: % of the true instances, spurious: % of a sample's instances, mean over the K samples. "
        "distinct: different sets among the K of an image; one set: % of the images with a single one."
    )
    return Section("Pseudo labels (train)", [*header, "distinct", "one set"], rows, note)


def _detections(diagnosis: Diagnosis) -> Section | None:
    rows = [
        [
            row["key"],
            f"{row['images']:.0f}",
            percent(row["best_iou"]),
            percent(row["best_iou_sure"]),
            f"{row['predicted'] / row['images']:.2f} / {row['instances'] / row['images']:.2f}",
            *_shares(row),
        ]
        for row in diagnosis["detections"]
    ]
    header = ["predictions", "images", "IoU, all", "IoU, sure", "sure an image / true", *_STATES, "spurious"]
    note = (
        "all: every detection that is stored (predictions.score_threshold, 0.05 unless set); sure: of score 0.3 and "
        "more, as in all columns to the right. % as above."
    )
    return Section("Predictions", header, rows, note)


def _shares(row: Mapping[str, Any]) -> list[str]:
    """found, merged, split, missed of the true instances, spurious of the predicted ones, in percent."""
    true, predicted = row["instances"], row["predicted"]
    states = [percent(row[name] / true if true else None) for name in _STATES]
    return [*states, percent(row["spurious"] / predicted if predicted else None)]


def _groups(diagnosis: Diagnosis, per_class: bool) -> Iterator[Section]:
    """Mean IoUs by size, company and class, at the last outer iteration that has them."""
    for split, rows in diagnosis["groups"].items():
        columns = _last_columns(rows[0]["iou"]) if rows else {}
        if not columns:
            continue
        body = [
            [row["group"], str(row["instances"]), *(percent(row["iou"][name]) for name in columns)]
            for row in rows
            if per_class or row["kind"] != "class"
        ]
        yield Section(f"Mean IoU by kind of instance ({split})", ["", "number", *columns.values()], body)


def _last_columns(measured: Mapping[str, Any]) -> dict[str, str]:
    """Columns to show -> their headers: of every kind the last outer iteration."""
    fixed = {
        "proposal": "proposal",
        "limited": "filtered",
        "response": "peak map",
        "seed_target": "seed target",
    }
    columns = {name: title for name, title in fixed.items() if name in measured}
    for kind, title in (
        ("best", "best of K"),
        ("mean", "mean over K"),
        ("train", "prediction"),
        ("val", "prediction"),
    ):
        found = [name for name in measured if name.startswith(f"{kind}@") and "/" not in name]
        columns |= {name: f"{title} @{name.partition('@')[2]}" for name in found[-1:]}
    return {**columns, **({"ceiling": "ceiling"} if "ceiling" in measured else {})}
