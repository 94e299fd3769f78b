"""What is stale follows from manifests alone: a parent that the run has replaced, or that is stale itself."""

from pathlib import Path

import pytest

from data_contracts.runs import RunEntry, RunRecord
from data_contracts.staleness import stale_keys, stale_line
from data_contracts.store import Store
from wsis.engine.progress import Progress
from wsis.engine.stage import Artefact, Stage, StageConfig, execute


class Config(StageConfig):
    value: int = 0


def write(inputs, config, context) -> None:
    context.write_json("value.json", {"value": config.value})


FIRST = Stage("first", 1, Config, write, (), "json")
NEXT = Stage("next", 1, Config, write, (), "json", optional=("a", "b"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def make(store: Store, stage: Stage, value: int, **inputs: Artefact) -> Artefact:
    return execute(stage, Config(value=value), inputs, store, progress=Progress(quiet=True)).artefact


def record_of(**artefacts: Artefact) -> RunRecord:
    rest = {"outer_iteration": None, "reused": False, "finished": "", "wall_seconds": 0}
    entries = {
        key: RunEntry(stage=a.manifest.stage, fingerprint=a.fingerprint, **rest)
        for key, a in artefacts.items()
    }
    return RunRecord(name="mine", config_name="", config={}, created="", entries=entries)


def test_what_follows_a_replaced_artefact_is_stale(store: Store) -> None:
    first, other = make(store, FIRST, 1), make(store, FIRST, 2)
    beside = make(store, NEXT, 5)
    second = make(store, NEXT, 1, a=first)
    third = make(store, NEXT, 2, a=second, b=beside)
    assert stale_keys(store, record_of(first=first, beside=beside, second=second, third=third)) == []
    record = record_of(first=other, beside=beside, second=second, third=third)
    assert stale_keys(store, record) == ["second", "third"]
    line = stale_line(record, stale_keys(store, record))
    assert (
        line is not None
        and line.startswith("stale: second, third, made from")
        and line.endswith("wsis run --name mine")
    )
    assert stale_line(record, []) is None
    again = make(store, NEXT, 1, a=other)
    assert stale_keys(store, record_of(first=other, beside=beside, second=again, third=third)) == ["third"]


def test_a_manifest_that_is_gone_or_damaged_is_not_judged(store: Store) -> None:
    first, other = make(store, FIRST, 1), make(store, FIRST, 2)
    second = make(store, NEXT, 1, a=first)
    third = make(store, NEXT, 2, a=second)
    record = record_of(first=other, second=second, third=third)
    (second.path / "manifest.json").write_text("{")
    assert stale_keys(store, record) == []
    (second.path / "manifest.json").unlink()
    assert stale_keys(store, record) == []
