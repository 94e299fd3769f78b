"""Two processes under one run name: they go on together where they mean the same, and never mix where they do not."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from data_contracts.errors import ConfigError
from data_contracts.runs import RunRecord, load_run
from data_contracts.store import Store
from tests.object_servers import environment, moto, new_store
from tests.runs.tiny_run import TINY
from wsis.engine.progress import Progress
from wsis.engine.stage import Outcome
from wsis.runs.config import load_config
from wsis.runs.plan import Node
from wsis.runs.runner import Runner

OF_DATA = ("dataset", "boxes", "ground_truth")
SMALL = ("data.scenes.train=4", "data.scenes.val=2")


class Stopped(Exception):
    """The first node that is not of the data."""


def runner(store: str, *changes: str) -> Runner:
    return Runner(
        Store(store), "mine", load_config(str(TINY), [*SMALL, *changes]), "tiny", Progress(quiet=True)
    )


def go(one: Runner, before: Callable[[Node], None] = lambda node: None) -> RunRecord:
    """Run the data's stages."""

    def wrap(node: Node, work: Callable[[], Outcome]) -> Outcome:
        before(node)
        if node.stage.name not in OF_DATA:
            raise Stopped
        return work()

    with pytest.raises(Stopped):
        one.run(wrap)
    return load_run(one.store, "mine")


@pytest.fixture(params=["folder", "url"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if request.param == "folder":
        yield str(tmp_path / "store")
        return
    monkeypatch.setenv("WSIS_CACHE", str(tmp_path / "cache"))
    with moto(tmp_path) as address:
        for name, value in environment(address).items():
            monkeypatch.setenv(name, value)
        yield new_store(address)


def test_another_configuration_begun_meanwhile_is_refused(store: str) -> None:
    first, second = runner(store), runner(store, "conditional.k=3")  # neither finds a record
    go(first)
    with pytest.raises(ConfigError, match=r"run 'mine' is of other settings or data: conditional\.k: 2 → 3"):
        second.run()
    record = load_run(Store(store), "mine")
    assert record.config["conditional"]["k"] == 2 and set(record.entries) >= {"dataset"}


def test_it_is_refused_while_the_first_one_runs(store: str) -> None:
    def other(node: Node) -> None:
        with pytest.raises(ConfigError, match=r"conditional\.k: 2 → 3"):
            runner(store, "conditional.k=3").run()

    assert go(runner(store), other).config["conditional"]["k"] == 2


def test_a_replaced_run_stops_the_one_that_was_at_work(store: str) -> None:
    first = runner(store)

    def replace(node: Node) -> None:
        if node.stage.name == "dataset":
            config = load_config(str(TINY), [*SMALL, "conditional.k=3"])
            go(Runner(Store(store), "mine", config, "tiny", Progress(quiet=True), replace=True))

    with pytest.raises(ConfigError, match=r"conditional\.k: 3 → 2"):
        first.run(lambda node, work: (replace(node), work())[1])
    record = load_run(Store(store), "mine")
    assert record.config["conditional"]["k"] == 3
    assert set(record.entries) <= set(OF_DATA)


def test_the_same_configuration_goes_on_together(store: str) -> None:
    first, second = runner(store), runner(store)
    entries = go(first).entries
    assert {key: one.fingerprint for key, one in go(second).entries.items()} == {
        key: one.fingerprint for key, one in entries.items()
    }


_CHILD = """
import sys
from pathlib import Path
from tests.runs.test_one_name import OF_DATA, runner
from data_contracts.errors import ConfigError
store, k = sys.argv[1:]
one = runner(store, f"conditional.k={k}")
print("ready", flush=True)
sys.stdin.readline()
def wrap(node, work):
    if node.stage.name not in OF_DATA:
        raise SystemExit(0)
    return work()
try:
    one.run(wrap)
except ConfigError as error:
    sys.exit(str(error))
"""


def test_two_processes_at_once(store: str) -> None:
    children = {
        k: subprocess.Popen(
            [sys.executable, "-c", _CHILD, store, str(k)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in (2, 3)
    }
    for child in children.values():
        assert child.stdout.readline() == "ready\n"
    for child in children.values():
        child.stdin.write("\n")
        child.stdin.flush()
    said = {k: (child.communicate(timeout=300)[1], child.returncode) for k, child in children.items()}
    won = [k for k, (_, code) in said.items() if code == 0]
    assert len(won) == 1, said
    (lost,) = set(children) - set(won)
    assert "run 'mine' is of other settings or data: conditional.k" in said[lost][0]
    assert load_run(Store(store), "mine").config["conditional"]["k"] == won[0]
