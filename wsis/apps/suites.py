"""A suite of runs that differ in a few settings: the rows of a results table, each run by name and seed.

A suite is a YAML file of configs/ablations (or of the user): the configuration that all rows share, and each row's own
settings. Its runs are ordinary runs of the store, so that they are resumed, inspected and reported like any other.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_contracts.errors import ConfigError, did_you_mean
from data_contracts.runs import check_run_name, list_runs
from data_contracts.store import Store
from wsis.reporting.tables.suite_table import SuiteRun, suite_run
from wsis.runs.config import RunConfig, load_config, read_yaml, validated
from wsis.runs.runner import Runner
from wsis.runs.shipped import base_beside, find_yaml, shipped_suites
from wsis.views.run import Run

Seed = int


class Row(BaseModel):
    """One row of the table: the base configuration with these settings, once a seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    title: str = Field(description="what the table calls it")
    seeds: tuple[Seed, ...] | None = Field(None, min_length=1, description="null: the suite's")
    settings: Mapping[str, Any] = Field({}, alias="set", description="dotted key -> value")


class Suite(BaseModel):
    """Runs that are compared."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    base: str = Field(
        description="what every row starts from: a shipped configuration, or a YAML file (its path from here)"
    )
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    rows: Mapping[str, Row] = Field(min_length=1)
    orders: tuple[tuple[str, ...], ...] = Field((), description="rows from worse to better, to be checked")

    @model_validator(mode="after")
    def _orders_name_rows(self) -> Self:
        for name in {name for order in self.orders for name in order} - set(self.rows):
            raise ValueError(f"orders: expected names of rows ({', '.join(self.rows)}), got {name!r}")
        return self


@dataclass(frozen=True)
class Member:
    """One run of a suite."""

    row: str
    title: str
    seed: Seed
    run_name: str
    config: RunConfig


def load_suite(name_or_path: str) -> tuple[str, Suite]:
    """A suite and its name, which its runs' names begin with.

    Raises:
        ConfigError: no such suite (names those that ship), or naming file, key, expected and got.
    """
    path = find_yaml(name_or_path, shipped_suites(), "suite")
    suite = validated(Suite, read_yaml(path), str(path))
    return check_run_name(path.stem), suite.model_copy(update={"base": base_beside(path, suite.base)})


def members(
    name: str,
    suite: Suite,
    overrides: Iterable[str] = (),
    only: Iterable[str] = (),
    seeds: Iterable[Seed] = (),
) -> list[Member]:
    """The runs of a suite, seed by seed so that a table of one seed is there first.

    Args:
        overrides: of every run, `dotted.key=value`; a row's own settings come after them.
        only: names of rows; empty: all.
        seeds: in place of those of the suite and its rows.

    Raises:
        ConfigError: no such row, or a row's settings are wrong; names the row.
    """
    chosen = list(only) or list(suite.rows)
    if unknown := [row for row in chosen if row not in suite.rows]:
        raise ConfigError(
            f"suite {name}: expected rows out of {', '.join(suite.rows)}, got {unknown[0]!r}"
            f"{did_you_mean(unknown[0], suite.rows)}"
        )
    fixed = tuple(seeds)
    found = []
    for row_name in chosen:
        row = suite.rows[row_name]
        own = [f"{key}={json.dumps(value)}" for key, value in row.settings.items()]
        for seed in fixed or row.seeds or suite.seeds:
            try:
                config = load_config(suite.base, [*overrides, *own, f"seed={seed}"])
            except ConfigError as error:
                raise ConfigError(f"suite {name}, row {row_name}: {error}") from error
            run_name = check_run_name(f"{name}-{row_name}-s{seed}")
            found.append(Member(row_name, row.title, seed, run_name, config))
    return sorted(found, key=lambda member: member.seed)


RunMember = Callable[[Member, Runner], None]


def run_members(
    store: Store,
    base: str,
    runs: Sequence[Member],
    execute: RunMember | None = None,
    replace: bool = False,
) -> None:
    """Run all of them one after the other; what is intact in the store is reused.

    Args:
        base: the configuration's name, for the runs' records.
        execute: called with each member and its runner instead of `runner.run()`; an orchestrator's way in.
        replace: see `Runner`.

    Raises:
        ConfigError: a run of that name is of other settings; before the first one starts.
    """

    def runner_of(member: Member) -> Runner:
        return Runner(store, member.run_name, member.config, config_name=base, replace=replace)

    for member in runs:
        runner_of(member)
    for member in runs:
        runner = runner_of(member)
        if execute is None:
            runner.run()
        else:
            execute(member, runner)


def suite_runs(store: Store, runs: Iterable[Member]) -> list[SuiteRun]:
    """What the store has of the runs, finished or not, row by row.

    Raises:
        CorruptArtefactError, ArtefactMissingError: an artefact of a run is damaged or gone.
    """
    there, order = set(list_runs(store)), list(runs)
    rows = list(dict.fromkeys(member.row for member in order))
    return [
        suite_run(Run.load(store, member.run_name), member.row, member.title, member.seed)
        for member in sorted(order, key=lambda m: rows.index(m.row))
        if member.run_name in there
    ]
