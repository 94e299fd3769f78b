"""The tables of a diagnosis that have a row for every kind of instance: by company, by size, by class."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from wsis.method.evaluation.instance_quality import STATES
from wsis.reporting.diagnosis.section import Diagnosis, Section
from wsis.reporting.diagnosis.summary import last_of
from wsis.reporting.tables.tables import ABSENT, Column, percent

_PROPOSALS = "proposals, best of"
_LABELS = "pseudo labels"
_TITLES = {"duplicates": "twice"}
Row = Mapping[str, Any]


def kind_sections(diagnosis: Diagnosis, per_class: bool) -> Iterator[Section]:
    """What each step leaves of each kind of instance, and how instances end."""
    rows = {
        split: [row for row in found if row["instances"] and (per_class or row["kind"] != "class")]
        for split, found in diagnosis["groups"].items()
    }
    for section in (_steps(rows["train"]), _states(rows["train"]), _val(rows["val"])):
        if section is not None:
            yield section


def _steps(rows: Sequence[Row]) -> Section | None:
    """From cells to predictions, at the last outer iteration that has each."""
    if not rows:
        return None
    ious = rows[0]["iou"]
    named = [
        (Column("cells", _PROPOSALS), "superpixels"),
        (Column("pool", _PROPOSALS), "pool"),
        (Column("kept", _PROPOSALS), "proposal"),
        (Column("filter", _PROPOSALS), "filtered"),
        (Column("max", _PROPOSALS), "limited"),
        (Column("target", _LABELS), "seed_target"),
        (Column("best", _LABELS), last_of(ious, "best")),
        (Column("mean", _LABELS), last_of(ious, "mean")),
        (Column("pred"), last_of(ious, "train")),
    ]
    columns = {column: name for column, name in named if name in ious}
    if not columns:
        return None
    seeds = rows[0]["seeds"] is not None
    header: list[str | Column] = ["", "n", *(["seeds"] if seeds else []), *columns]

    def cells(row: Row) -> list[str]:
        hits = [f"{row['seeds']:.2f}"] if seeds else []
        return [str(row["instances"]), *hits, *(percent(row["iou"][name]) for name in columns.values())]

    notes = [f"{title}: of outer iteration {name.partition('@')[2]}" for title, name in
             (("best, mean", last_of(ious, "mean")), ("pred", last_of(ious, "train"))) if name in ious]  # fmt: skip
    note = f"Mean IoU in %. {'; '.join(notes)}. Words: wsis diagnose --help" if notes else "Mean IoU in %."
    return _table("Where accuracy is lost, by kind of instance (train)", header, rows, cells, note)


def _states(rows: Sequence[Row]) -> Section | None:
    if not rows:
        return None
    sets = {
        last_of(rows[0]["states"], "labels"): "pseudo labels",
        last_of(rows[0]["states"], "train"): "prediction",
    }
    columns = {name: f"{title} @{name.partition('@')[2]}" for name, title in sets.items() if name}
    if not columns:
        return None
    header: list[str | Column] = [
        "",
        *(column for title in columns.values() for column in _state_columns(title)),
    ]
    note = "% of the true instances; twice: instances beyond the first that find the same one, for every 100."
    return _table(
        "How instances end (train)",
        header,
        rows,
        lambda row: [cell for name in columns for cell in _state_cells(row, name)],
        note,
    )


def _val(rows: Sequence[Row]) -> Section | None:
    if not rows:
        return None
    ious, last = rows[0]["iou"], last_of(rows[0]["iou"], "val")
    columns: dict[Column, str] = {}
    for name, title in ((last, f"prediction @{last.partition('@')[2]}"), ("ceiling", "ceiling")):
        columns |= {
            Column(one, title): f"{name}{end}"
            for one, end in (("all", "/any"), ("sure", ""))
            if name + end in ious
        }
    if not columns:
        return None
    states = _state_columns("sure") if last else []
    header: list[str | Column] = ["", "n", *columns, *states]

    def cells(row: Row) -> list[str]:
        means = (percent(row["iou"][name]) for name in columns.values())
        return [str(row["instances"]), *means, *(_state_cells(row, last) if last else [])]

    note = "Mean IoU in %; all: every detection that is stored; sure: of score 0.3 and more."
    return _table("Prediction by kind of instance (val)", header, rows, cells, note)


def proposal_section(diagnosis: Diagnosis) -> Section | None:
    """How many instances the proposals reach, and how far down the ranking."""
    sets = diagnosis["proposals"] or {}
    if not sets:
        return None
    reached = {
        name: title for name, title in (("pool", "pool"), ("all", "kept"), ("limited", "max")) if name in sets
    }
    groups: dict[str, list[Row]] = {name: entry["groups"] for name, entry in sets.items()}
    first = [name for name in sets if name.startswith("first_")]
    header: list[str | Column] = [
        "",
        "n",
        *(Column(name.removeprefix("first_"), "IoU, first") for name in first),
        *(Column(title, f"recall {t}") for t in (".5", ".75") for title in reached.values()),
    ]
    rows = []
    for index, group in enumerate(groups["all"]):
        if group["instances"]:
            rows.append(
                [
                    group["group"],
                    str(group["instances"]),
                    *(percent(groups[name][index]["best_iou"]) for name in first),
                    *(
                        percent(groups[name][index]["recall"][t])
                        for t in ("0.50", "0.75")
                        for name in reached
                    ),
                ]
            )
    shown = {
        "pool": "in the pool",
        "all": "kept",
        "filtered": "after the filter",
        "limited": "within max_proposals",
    }
    counts = [f"{sets[name]['per_image']:.0f} {title}" for name, title in shown.items() if name in sets]
    note = f"an image: {', '.join(counts)}. recall: share of the instances that the best reaches, in %."
    return Section("Proposals (train): best of each instance", header, rows, note)


def box_section(diagnosis: Diagnosis) -> Section | None:
    """Under box supervision: which boxes proposals fit, and what became of them."""
    boxes = diagnosis["boxes"]
    if not boxes:
        return None
    last = boxes["groups"][0]["labels"][-1:]
    header: list[str | Column] = [
        "",
        "n",
        Column("kept", "no proposal fits"),
        Column("max", "no proposal fits"),
    ]
    if last:
        title = f"pseudo labels @{last[0]['iteration']}"
        header += [Column(name, title) for name in ("no label", "outside", "box IoU")]
    rows = []
    for group in boxes["groups"]:
        if group["boxes"]:
            labels = group["labels"][-1] if last else {}
            shares = [group[name] for name in ("without_proposal", "without_limited")]
            shares += [labels[name] for name in ("without_label", "outside", "box_iou") if last]
            rows.append([group["group"], str(group["boxes"]), *map(percent, shares)])
    note = (
        "%. fits: box IoU 0.8 and more. no label: in a sample, mean over K. outside: share of a label's pixels outside "
        "of its box. Size and company are the boxes'."
    )
    return Section("Boxes (train)", header, rows, note)


def _table(
    title: str,
    header: Sequence[str | Column],
    rows: Sequence[Row],
    cells: Callable[[Row], list[str]],
    note: str,
) -> Section:
    return Section(title, header, [[row["group"], *cells(row)] for row in rows], note)


def _state_columns(title: str) -> list[Column]:
    return [Column(_TITLES.get(state, state), title) for state in STATES]


def _state_cells(row: Row, name: str) -> list[str]:
    states = row["states"].get(name)
    return [percent(states[state]) if states else ABSENT for state in STATES]
