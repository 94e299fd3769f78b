"""The table of a bench: a column a data set, a row a measure; beside an earlier one, what is better and what worse."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from data_contracts.printable import counted
from wsis.reporting.tables.bench_values import TABLE, BenchTable, Measure, MeasuredSet
from wsis.reporting.tables.tables import ABSENT, WIDTH, Column, format_table

_LEAST = 0.5  # a change below this, in the table's unit, is none, however small the spread
_BETTER, _WORSE = "▲", "▼"


class Change(NamedTuple):
    """A measure of a data set beside its earlier value, in the table's unit.

    Attributes:
        mean: over the seeds and folds that both have, of now minus then.
        verdict: 1 better, -1 worse; 0 within the spread, or nobody can say which way is better.
    """

    mean: float
    verdict: int


def bench_table(now: BenchTable, before: BenchTable | None = None) -> str:
    """Means over seeds and folds, ± half the range of the seeds' and folds' values; beside an earlier table the change,
    with a mark where it is beyond the spread of the changes."""
    sets = list(now.sets)
    rows: list[Sequence[str] | str] = []
    for heading, measures in TABLE.items():
        lines = [[m.title, *(_cell(now, before, one, m) for one in sets)] for m in measures]
        kept = [line for line in lines if set(line[1:]) != {ABSENT}]
        rows += [heading, *kept] if kept else []
    header: list[str | Column] = ["", *(Column(one) for one in sets)]
    parts = [format_table(header, rows, "text", 1, WIDTH), _counts(now)]
    if before is not None:
        parts += list(_verdicts(now, before))
    return "\n\n".join(parts)


def change(now: MeasuredSet, before: MeasuredSet, measure: Measure) -> Change | None:
    """How a measure of one data set changed; None where no seed and fold has both values.

    It is better or worse where the mean change goes beyond half the range of the single ones, and beyond half a point.
    """
    then = _values(before, measure)
    differences = [value - then[place] for place, value in _values(now, measure).items() if place in then]
    if not differences:
        return None
    mean, half = sum(differences) / len(differences), (max(differences) - min(differences)) / 2
    marked = abs(mean) >= _LEAST and abs(mean) > half
    return Change(mean, measure.better * (1 if mean > 0 else -1) if marked else 0)


def _values(one: MeasuredSet, measure: Measure) -> dict[tuple[int, int], float]:
    """(seed, fold) -> value in the table's unit."""
    scale = 100 if measure.percent else 1
    return {
        (row.seed, row.fold): scale * row.values[measure.key]
        for row in one.measured
        if measure.key in row.values
    }


def _cell(now: BenchTable, before: BenchTable | None, data_set: str, measure: Measure) -> str:
    values = list(_values(now.sets[data_set], measure).values())
    if not values:
        return ABSENT
    mean = sum(values) / len(values)
    text = f"{mean:.2f}" if measure.key == "seeds" else f"{mean:.1f}"
    if before is None:
        return text + (f" ±{(max(values) - min(values)) / 2:.1f}" if len(values) > 1 else "")
    found = change(now.sets[data_set], before.sets[data_set], measure) if data_set in before.sets else None
    if found is None:
        return f"{text}        "
    return f"{text} {found.mean:+5.1f}{ {1: _BETTER, -1: _WORSE, 0: ' '}[found.verdict] }"


def _counts(now: BenchTable) -> str:
    """How many seeds and folds stand behind each column, in one line."""
    counts = []
    for name, one in now.sets.items():
        seeds, folds = {row.seed for row in one.measured}, {row.fold for row in one.measured}
        counts.append(f"{name}: {counted(len(seeds), 'seed')}, {counted(len(folds), 'fold')}")
    return "\n".join(["%, mean over seeds and folds of the measured images", *counts])


def _named() -> Iterator[tuple[Measure, str]]:
    """Every measure with a name that says it all: heading, title and, of a part, that of its whole."""
    for heading, measures in TABLE.items():
        whole = ""
        for measure in measures:
            part = measure.title.startswith(" ")
            whole = whole if part else measure.title
            yield (
                measure,
                f"{heading.split(',')[0]}: {whole}" + (f", {measure.title.strip()}" if part else ""),
            )


def _verdicts(now: BenchTable, before: BenchTable) -> Iterator[str]:
    """What is better and what is worse, by data set."""
    said: dict[int, list[str]] = {1: [], -1: []}
    for data_set, one in now.sets.items():
        for measure, name in _named() if data_set in before.sets else ():
            found = change(one, before.sets[data_set], measure)
            if found is not None and found.verdict:
                said[found.verdict].append(f"{data_set}, {name} {found.mean:+.1f}")
    for verdict, mark in ((1, f"{_BETTER} better"), (-1, f"{_WORSE} worse")):
        yield f"{mark}: {len(said[verdict])}" + "".join(f"\n  {line}" for line in said[verdict])
