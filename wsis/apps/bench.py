"""One configuration on several data sets: what a change helps on one and harms on another, in one table.

A bench is a YAML file of configs/bench (or of the user): the configuration, the data sets, seeds, and the stage to stop
at. Its runs are ordinary runs of the store, so that they are resumed, inspected and reported like any other; each is
measured by `wsis diagnose`, in folds, and by its evaluations.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from data_contracts.errors import ConfigError, did_you_mean
from data_contracts.runs import check_run_name, list_runs
from data_contracts.store import Store
from wsis.apps.diagnose import diagnose_run
from wsis.reporting.diagnosis.diagnosis import ALL
from wsis.reporting.tables.bench_values import BenchTable, Measured, MeasuredSet, values_of
from wsis.reporting.tables.results import results_of
from wsis.runs.config import RunConfig, load_config, read_yaml, validated
from wsis.runs.plan import needed_for
from wsis.runs.runner import Runner
from wsis.runs.shipped import base_beside, find_yaml, shipped_benches
from wsis.views.run import Run


class DataSet(BaseModel):
    """A data set, as settings that are laid over the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    title: str = Field("", description="what it is, for the reader of the file")
    base: str | None = Field(None, description="in place of the bench's")
    settings: Mapping[str, Any] = Field({}, alias="set", description="dotted key -> value")


class Bench(BaseModel):
    """Data sets on which one configuration is run."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    base: str = Field(description="a shipped configuration, or a YAML file (its path from here)")
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    folds: int = Field(1, ge=1, le=20, description="image i is measured in fold i modulo folds")
    hold_out: bool = Field(
        False, description="each fold is a run that learns from the others and predicts this one as its val"
    )
    until: str | None = Field(None, description="stage to stop at, pseudo_labels@1; null: whole runs")
    images: int | None = Field(None, ge=1, description="measured images of a fold at most; null: all")
    pool: bool = Field(False, description="measure the candidates before selection too (slow)")
    sets: Mapping[str, DataSet] = {}


@dataclass(frozen=True)
class BenchRun:
    """One run: a data set, a seed, and the fold that it holds out, if it does."""

    data_set: str
    seed: int
    fold: int | None
    run_name: str
    base: str
    config: RunConfig


def load_bench(name_or_path: str) -> tuple[str, Bench]:
    """A bench and its name, which its runs' names begin with.

    Raises:
        ConfigError: no such file (names those that ship), or naming file, key, expected and got.
    """
    path = find_yaml(name_or_path, shipped_benches(), "bench")
    bench = validated(Bench, read_yaml(path), str(path))
    sets = {
        name: one.model_copy(update={"base": one.base and base_beside(path, one.base)})
        for name, one in bench.sets.items()
    }
    changes = {"base": base_beside(path, bench.base), "sets": sets}
    return check_run_name(path.stem), bench.model_copy(update=changes)


def bench_runs(
    name: str,
    bench: Bench,
    overrides: Iterable[str] = (),
    roots: Mapping[str, str] | None = None,
    only: Iterable[str] = (),
    seeds: Iterable[int] = (),
) -> tuple[list[BenchRun], list[str]]:
    """The runs, seed by seed so that a table of one seed is there first, and the sets left out for want of data.

    Args:
        overrides: of every run, `dotted.key=value`, over what the sets say: the change that is tried.
        roots: data set -> folder; one that the bench does not name is a set of its own.
        only: names of sets; empty: all.

    Raises:
        ConfigError: no such set, or settings are wrong; names the set.
    """
    folders, fixed, changes = dict(roots or {}), tuple(seeds) or bench.seeds, list(overrides)
    sets = {**bench.sets, **{one: DataSet() for one in folders if one not in bench.sets}}
    if unknown := [one for one in only if one not in sets]:
        raise ConfigError(
            f"bench {name}: expected data sets out of {', '.join(sets)}, got {unknown[0]!r}"
            f"{did_you_mean(unknown[0], sets)}"
        )
    found, without = [], []
    for key in list(only) or list(sets):
        own = [f"{k}={json.dumps(value)}" for k, value in sets[key].settings.items()]
        own += [f"data.root={json.dumps(folders[key])}"] if key in folders else []
        base = sets[key].base or bench.base
        for seed, fold in product(fixed, range(bench.folds) if bench.hold_out else (None,)):
            held = [] if fold is None else [f"data.folds={bench.folds}", f"data.fold={fold}"]
            try:
                config = load_config(base, [*own, *held, *changes, f"seed={seed}"])
            except ConfigError as error:
                raise ConfigError(f"bench {name}, data set {key}: {error}") from error
            if config.data.root is None and config.data.format != "scenes":
                without.append(key)
                break
            run_name = f"{name}-{key}" + ("" if fold is None else f"-f{fold}") + f"-s{seed}"
            found.append(BenchRun(key, seed, fold, check_run_name(run_name), base, config))
    if not found:
        raise ConfigError(f"bench {name}: expected the folder of a data set, got none: --root NAME=DIR")
    return sorted(found, key=lambda run: run.seed), without


def run_bench(store: Store, runs: Sequence[BenchRun], until: str | None, replace: bool = False) -> None:
    """Run all of them one after the other; what is intact in the store is reused.

    Raises:
        ConfigError, DataError: what any of them can be refused for (settings, data, a stage that is not in the plan),
            before the first one starts.
    """

    def runner_of(run: BenchRun) -> Runner:
        return Runner(store, run.run_name, run.config, config_name=run.base, replace=replace)

    for run in runs:
        nodes, _ = runner_of(run).prepare()
        if until is not None:
            needed_for(nodes, until)
    for run in runs:
        runner_of(run).run(until=until)


def measure_bench(store: Store, name: str, bench: Bench, runs: Sequence[BenchRun]) -> BenchTable:
    """What the store has of the runs, measured; those that have not come to anything yet are left out.

    Raises:
        ConfigError: a run's data has no masks to measure by.
        CorruptArtefactError, ArtefactMissingError: an artefact of a run is damaged or gone.
    """
    there, sets = set(list_runs(store)), list(dict.fromkeys(run.data_set for run in runs))
    measured: dict[str, list[Measured]] = {one: [] for one in sets}
    for one in runs:
        if one.run_name in there:
            run = Run.load(store, one.run_name)
            folds = range(bench.folds) if one.fold is None else (one.fold,)
            measured[one.data_set] += [_of_fold(run, one, bench, fold) for fold in folds]
    return BenchTable(
        bench=name, sets={one: MeasuredSet(measured=rows) for one, rows in measured.items() if rows}
    )


def _of_fold(run: Run, one: BenchRun, bench: Bench, fold: int) -> Measured:
    """The evaluations, which are of all images, and the time stand with the first fold, or with that held out."""
    part = (fold, bench.folds) if one.fold is None else ALL
    found = diagnose_run(run, images=bench.images, pool=bench.pool, fold=part)
    whole = fold in (0, one.fold)
    values = values_of(found, results_of(run) if whole else ())
    if whole:
        own = [key for key in run.record.entries if "ceiling" not in key]
        values["minutes"] = sum(run.artefact(key, verify=False).manifest.cpu_seconds for key in own) / 60
    return Measured(seed=one.seed, fold=fold, run=one.run_name, values=values)
