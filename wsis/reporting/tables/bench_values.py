"""The measures of a bench: what they are called, which way is better, where they stand in a diagnosis."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from data_contracts.errors import ConfigError
from wsis.reporting.diagnosis.summary import last_of

Values = dict[str, float]
GROUPS = ("alone", "among several", "touching", "under 5 %", "under 0.25 %")


class Measure(NamedTuple):
    """A row of the table.

    Attributes:
        key: name in the values of a run.
        better: 1: more is better, -1: less is, 0: neither.
        percent: whether the value is a share, shown times 100.
    """

    key: str
    title: str
    better: int = 1
    percent: bool = True


def _grouped(key: str, title: str) -> list[Measure]:
    return [Measure(key, title), *(Measure(f"{key}/{group}", f"  {group}") for group in GROUPS)]


TABLE: Mapping[str, Sequence[Measure]] = {
    "seeds": [Measure("seeds", "an instance", 0, False), Measure("hit", "instances hit")],
    "proposals, mean IoU of the best": [
        Measure("superpixels", "cells"),
        Measure("pool", "pool"),
        Measure("proposal/100", "first 100"),
        Measure("proposal/300", "first 300"),
        *_grouped("proposal", "kept"),
        Measure("filtered", "filter"),
        *_grouped("limited", "max"),
    ],
    "boxes": [
        Measure("boxes.without_proposal", "no proposal fits", -1),
        Measure("boxes.without_label", "no label", -1),
        Measure("boxes.outside", "outside", -1),
    ],
    "pseudo labels, mean IoU": [
        Measure("seed_target", "target of a seed"),
        *_grouped("best", "best of K"),
        *_grouped("mean", "mean over K"),
    ],
    "pseudo labels, how instances end": [
        Measure("labels:found", "found"),
        Measure("labels:merged", "merged", -1),
        Measure("labels:split", "split", -1),
        Measure("labels:missed", "missed", -1),
        Measure("labels:duplicates", "twice", -1),
        Measure("labels:spurious", "spurious", -1),
    ],
    "pseudo labels, mAP": [Measure("labels.AP50", ".50"), Measure("labels.AP75", ".75")],
    "prediction on val": [
        *_grouped("val", "mean IoU, sure"),
        Measure("val.AP50", "mAP .50"),
        Measure("val.AP75", "mAP .75"),
        Measure("val.share50", "of the ceiling's .50"),
        Measure("val.share75", "of the ceiling's .75"),
    ],
    "cost": [Measure("minutes", "CPU minutes", -1, False)],
}


class Measured(BaseModel):
    """The values of one run on one fold of its images; those of all images stand with fold 0."""

    model_config = ConfigDict(extra="forbid")
    seed: int
    fold: int
    run: str
    values: dict[str, float]


class MeasuredSet(BaseModel):
    """A data set's runs and folds."""

    model_config = ConfigDict(extra="forbid")
    measured: list[Measured]


class BenchTable(BaseModel):
    """What a bench measured; its JSON is what `--against` reads."""

    model_config = ConfigDict(extra="forbid")
    bench: str
    sets: dict[str, MeasuredSet]


def read_bench_table(path: Path) -> BenchTable:
    """A table that was written before.

    Raises:
        ConfigError: no such file, or it is no table of a bench; names the file.
    """
    try:
        return BenchTable.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"--against {path}: expected a file that wsis bench --out wrote, got {error.strerror}"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(
            f"--against {path}: expected a table that wsis bench --out wrote, got {where}: {first['msg']}"
        ) from error


def values_of(diagnosis: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Values:
    """All measures of a run that are there.

    Args:
        diagnosis: of some of its images, as `wsis diagnose --json` gives it.
        results: as `wsis results --json` gives them; empty: leave their measures out.
    """
    found = dict(_steps(diagnosis)) | dict(_labels(diagnosis)) | dict(_scores(results))
    return {key: float(value) for key, value in found.items() if value is not None}


def _steps(diagnosis: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    """Mean IoUs, of all instances and of each group; of outer iterations the last."""
    for split in ("train", "val"):
        for row in diagnosis["groups"][split]:
            if row["kind"] == "class":
                continue
            end = "" if row["kind"] == "all" else f"/{row['group']}"
            ious = row["iou"]
            columns = {c: c for c in ious if "@" not in c and "/any" not in c}
            columns |= {kind: last_of(ious, kind) for kind in ("best", "mean", "train", "val")}
            yield from ((f"{name}{end}", ious[c]) for name, c in columns.items() if c)
            if split == "train":
                yield f"seeds{end}", row["seeds"]
                yield f"hit{end}", row["hit"]


def _labels(diagnosis: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    for row in diagnosis["groups"]["train"][:1]:
        states = row["states"].get(last_of(row["states"], "labels"), {})
        yield from ((f"labels:{state}", value) for state, value in states.items())
    for row in diagnosis["pseudo_labels"][-1:]:
        yield "labels:spurious", row["spurious"] / row["predicted"] if row["predicted"] else None
    for row in (diagnosis["boxes"] or {"groups": ()})["groups"][:1]:
        yield "boxes.without_proposal", row["without_proposal"]
        for one in row["labels"][-1:]:
            yield "boxes.without_label", one["without_label"]
            yield "boxes.outside", one["outside"]


def _scores(results: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float | None]]:
    of_kind = {row["kind"]: row["mAP"] for row in results}  # the last outer iteration of each
    ceiling = of_kind.get("ceiling", {})
    for name, threshold in (("50", "0.50"), ("75", "0.75")):
        if "pseudo_labels" in of_kind:
            yield f"labels.AP{name}", of_kind["pseudo_labels"].get(threshold)
        if "prediction" in of_kind:
            value, most = of_kind["prediction"].get(threshold), ceiling.get(threshold)
            yield f"val.AP{name}", value
            yield f"val.share{name}", value / most if value is not None and most else None
