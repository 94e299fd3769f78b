"""The table of a bench from values made up: means, spreads, what is better and what worse."""

from pathlib import Path

import pytest

from data_contracts.errors import ConfigError
from wsis.reporting.tables.bench_table import bench_table, change
from wsis.reporting.tables.bench_values import (
    TABLE,
    BenchTable,
    Measure,
    Measured,
    MeasuredSet,
    read_bench_table,
    values_of,
)

BEST, MERGED = Measure("best", "best of K"), Measure("labels:merged", "merged", -1)


def measured(*rows: tuple[int, int, dict[str, float]]) -> MeasuredSet:
    return MeasuredSet(measured=[Measured(seed=s, fold=f, run=f"b-x-s{s}", values=v) for s, f, v in rows])


def table(**sets: MeasuredSet) -> BenchTable:
    return BenchTable(bench="b", sets=sets)


def test_a_change_is_marked_beyond_its_spread() -> None:
    """The pairs of one seed and fold are compared, so that a hard fold does not hide an even gain."""
    before = measured((0, 0, {"best": 0.30}), (0, 1, {"best": 0.80}), (1, 0, {"best": 0.5}))
    now = measured((0, 0, {"best": 0.33}), (0, 1, {"best": 0.82}), (2, 0, {"best": 0.1}))
    found = change(now, before, BEST)
    assert found is not None and found.mean == pytest.approx(2.5) and found.verdict == 1
    mixed = change(measured((0, 0, {"best": 0.35}), (0, 1, {"best": 0.78})), before, BEST)
    assert mixed is not None and mixed.mean == pytest.approx(1.5) and mixed.verdict == 0
    small = change(measured((0, 0, {"best": 0.304}), (0, 1, {"best": 0.804})), before, BEST)
    assert small is not None and small.verdict == 0
    assert change(measured((7, 0, {"best": 0.3})), before, BEST) is None
    assert change(now, before, MERGED) is None


def test_less_is_better_where_it_is() -> None:
    before, now = measured((0, 0, {"labels:merged": 0.3})), measured((0, 0, {"labels:merged": 0.2}))
    assert change(now, before, MERGED).verdict == 1 and change(before, now, MERGED).verdict == -1  # type: ignore[union-attr]
    assert change(now, before, MERGED._replace(better=0)).verdict == 0  # type: ignore[union-attr]


def test_text_of_means_and_spread() -> None:
    values = {"best": 0.5, "seeds": 1.234, "minutes": 12.5}
    found = bench_table(
        table(crowds=measured((0, 0, values), (1, 0, {"best": 0.6})), cells=measured((0, 0, values)))
    )
    cells = [line.split() for line in found.splitlines()]
    for line in ("best of K 55.0 ±5.0 50.0", "an instance 1.23 1.23", "CPU minutes 12.5 12.5"):
        assert line.split() in cells
    assert "merged" not in found and "crowds: 2 seeds, 1 fold" in found


def test_text_beside_an_earlier_table() -> None:
    """A set that was not there has no change; both kinds of changes are listed by name."""
    then, values = {"best/touching": 0.5, "labels.AP50": 0.4}, {"best/touching": 0.6, "labels.AP50": 0.3}
    now = table(crowds=measured((0, 0, values)), new=measured((0, 0, {"best": 0.5})))
    found = bench_table(now, table(crowds=measured((0, 0, then))))
    assert "60.0 +10.0▲" in found and "30.0 -10.0▼" in found
    assert "▲ better: 1\n  crowds, pseudo labels: best of K, touching +10.0" in found
    assert "▼ worse: 1\n  crowds, pseudo labels: .50 -10.0" in found


def test_five_sets_and_their_changes_fit_the_terminal() -> None:
    values = {m.key: 0.5 for measures in TABLE.values() for m in measures}
    sets = {
        name: measured((0, 0, values), (1, 0, values)) for name in ("scenes", "animals", "crowds", "nuclei")
    }
    for text in (bench_table(table(**sets)), bench_table(table(**sets), table(**sets))):
        assert max(map(len, text.splitlines())) <= 80
        assert text.count("best of K") == 1  # one table, no further one below


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "before.json"
    before = table(crowds=measured((0, 1, {"best": 0.5})))
    path.write_text(before.model_dump_json())
    assert read_bench_table(path) == before
    path.write_text('{"bench": "b", "sets": {"crowds": {"measured": [{"seed": 0}]}}}')
    with pytest.raises(ConfigError, match=r"before.json: expected a table .*got sets.crowds.measured.0.fold"):
        read_bench_table(path)
    path.write_text("no JSON")
    with pytest.raises(ConfigError, match=r"before.json: expected a table"):
        read_bench_table(path)
    with pytest.raises(ConfigError, match=r"expected a file .*No such file"):
        read_bench_table(tmp_path / "none.json")


def test_values_of_the_last_outer_iteration() -> None:
    """Shares of the ceiling are those of the same run; what is not there has no value."""

    def group(kind: str, name: str, value: float | None) -> dict:
        iou = {"proposal": value, "best@1": 0.1, "best@2": value, "val@1": 0.2, "val@1/any": 0.9}
        states = {"labels@1": {"found": 0.0}, "labels@2": {"found": 0.7}}
        return {"kind": kind, "group": name, "seeds": 1.5, "hit": 1.0, "iou": iou, "states": states}

    rows = [group("all", "all", 0.6), group("company", "touching", None), group("class", "cat", 0.9)]
    labels = [{"spurious": 1.0, "predicted": 2.0}, {"spurious": 1.0, "predicted": 4.0}]
    diagnosis = {"groups": {"train": rows, "val": []}, "pseudo_labels": labels, "boxes": None}
    results = [
        {"kind": kind, "mAP": {"0.50": value, "0.75": None}}
        for kind, value in (
            ("prediction", 0.1),
            ("prediction", 0.3),
            ("ceiling", 0.6),
            ("pseudo_labels", 0.5),
        )
    ]
    found = values_of(diagnosis, results)
    assert (found["best"], found["proposal"], found["labels:found"], found["labels:spurious"]) == (
        0.6,
        0.6,
        0.7,
        0.25,
    )
    assert (found["val.AP50"], found["val.share50"], found["labels.AP50"]) == (0.3, 0.5, 0.5)
    assert {"best/touching", "val.AP75", "best/cat", "boxes.outside"}.isdisjoint(found)
    assert found["seeds/touching"] == 1.5 and "val.AP50" not in values_of(diagnosis, ())
