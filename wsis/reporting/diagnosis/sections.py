"""The tables of a diagnosis, in the order in which they are read."""

from collections.abc import Iterator, Mapping
from typing import Any

from wsis.reporting.diagnosis.kinds import box_section, kind_sections, proposal_section
from wsis.reporting.diagnosis.section import Diagnosis, Section
from wsis.reporting.diagnosis.summary import STEPS
from wsis.reporting.tables.tables import ABSENT, Column, percent

_STATES = ("found", "merged", "split", "missed")


def sections(diagnosis: Diagnosis, per_class: bool) -> Iterator[Section]:
    """Those that have something to say: what is lost by kind of instance and by step first, then each stage."""
    kinds = list(kind_sections(diagnosis, per_class))
    others = (make(diagnosis) for make in (_seeds, proposal_section, box_section, _samples, _detections))
    for section in (*kinds[:1], _waterfall(diagnosis), *kinds[1:], *others):
        if section is not None and section.rows:
            yield section


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
            row += [percent(step["iou"]), _points(step["loss"])] if step else [ABSENT, ABSENT]
        rows.append(row)
    header: list[str | Column] = ["mean IoU after"]
    for fall in falls:
        group = f"iteration {fall['iteration']}" if fall["iteration"] else "before"
        header += [Column("IoU", group), Column("loss", group)]
    note = "In parentheses: not a step of the chain. Without predictions on train the next step bears their loss."
    return Section("Where accuracy is lost, step by step", header, rows, note)


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
        ["classes with fewer / as many / more", f"{fewer} / {equal} / {more}"],
    ]  # fmt: skip
    everyone = diagnosis["groups"]["train"][0]["iou"]
    rows += [["IoU of the best peak response map", percent(everyone.get("response"))]]
    if "seed_target" in everyone:
        rows += [["IoU of the best target from a seed", percent(everyone["seed_target"])]]
    note = "Peak response maps from the share seed_threshold of their maximum on, as the filter of proposals uses them."
    return Section("Seeds (train)", ["", "%"], rows, note)


def _samples(diagnosis: Diagnosis) -> Section | None:
    rows = [
        [
            str(row["iteration"]),
            percent(row["mean_over_k"]),
            percent(row["best_of_k"]),
            f"{row['predicted'] / row['images']:.2f}",
            f"{row['instances'] / row['images']:.2f}",
            *_shares(row),
            f"{row['distinct']:.1f}",
            percent(row["one_set_only"]),
        ]
        for row in diagnosis["pseudo_labels"]
    ]
    header: list[str | Column] = [
        "iter",
        Column("mean", "IoU over K"),
        Column("best", "IoU over K"),
        Column("labels", "an image"),
        Column("true", "an image"),
        *_STATES,
        "spurious",
        Column("distinct", "sets"),
        Column("one", "sets"),
    ]
    note = (
        "found … missed: % of the true instances, spurious: % of a sample's instances, mean over the K samples. "
        "distinct: different sets among the K of an image; one: % of the images with a single one."
    )
    return Section("Pseudo labels (train)", header, rows, note)


def _detections(diagnosis: Diagnosis) -> Section | None:
    rows = [
        [
            row["key"],
            percent(row["best_iou"]),
            percent(row["best_iou_sure"]),
            f"{row['predicted'] / row['images']:.2f}",
            f"{row['instances'] / row['images']:.2f}",
            *_shares(row),
        ]
        for row in diagnosis["detections"]
    ]
    header: list[str | Column] = [
        "predictions",
        Column("all", "IoU"),
        Column("sure", "IoU"),
        Column("sure", "an image"),
        Column("true", "an image"),
        *_STATES,
        "spurious",
    ]
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
