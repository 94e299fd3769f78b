"""A signal that ends a run is recorded as one, whatever a library makes of it; and what a command says of Ctrl-C."""

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data_contracts.errors import origins
from data_contracts.runs import load_run
from data_contracts.store import Store
from tests.runs.tiny_run import RUN, TINY, fingerprints, record_of, wsis
from wsis.engine.stage import Outcome
from wsis.runs.config import load_config
from wsis.runs.plan import Node
from wsis.runs.runner import Runner


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """A job in the background of a script ignores SIGINT, and so do its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _wrapped_as_mmengine_does(node: Node, work: Callable[[], Outcome]) -> Outcome:
    try:
        raise KeyboardInterrupt
    except BaseException as error:
        raise SyntaxError("Failed to format the config file") from error


def _own_error(node: Node, work: Callable[[], Outcome]) -> Outcome:
    raise SyntaxError("a mistake")


@pytest.mark.parametrize(
    ("wrap", "raised", "status"),
    [(_wrapped_as_mmengine_does, KeyboardInterrupt, "interrupted"), (_own_error, SyntaxError, "failed")],
)
def test_what_ended_a_run(tmp_path: Path, wrap: Callable, raised: type[BaseException], status: str) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(raised) as ended:
        Runner(store, "tiny", load_config(str(TINY))).run(wrap=wrap)
    assert load_run(store, "tiny").status == status
    assert [*map(type, origins(ended.value))].count(raised) == 1


@pytest.mark.parametrize(
    ("times", "line"),
    [
        (1, "interrupted; what is committed is kept: the same command goes on from there"),
        (2, "interrupted again, so at once; what is committed is kept: the same command goes on from there"),
    ],
)
@pytest.mark.parametrize("command", ["run", "stage"])
def test_a_second_ctrl_c_in_a_step_of_a_training_is_said(
    command: str, times: int, line: str, own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(own_store / fingerprints(own_store)["conditional@2"])

    def step(*_: object) -> None:
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
            time.sleep(1.1)  # what comes sooner is one and the same

    monkeypatch.setattr("wsis.engine.training.seed_everything", step)
    named = ("--name", RUN) if command == "run" else ("conditional", "--iteration", 2, "--run", RUN)
    ended = wsis(command, *named, "--store", own_store)
    assert (ended.code, ended.err.splitlines()[-1]) == (130, line)
    assert ("interrupted after step " in ended.err) == (times == 1)  # a checkpoint was written
    assert command == "stage" or record_of(own_store).status == "interrupted"


@pytest.mark.parametrize(
    ("command", "during"),
    [
        (("check", TINY), "wsis.apps.data_check.take_inventory"),
        (("verify", "--store"), "wsis.reporting.tables.store_text.verify_store"),
        (("results", RUN, "--store"), "wsis.reporting.tables.results.results_of"),
    ],
)
def test_a_command_that_keeps_nothing_does_not_say_that_it_goes_on(
    command: tuple[object, ...], during: str, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(during, lambda *_, **__: signal.raise_signal(signal.SIGINT))
    ended = wsis(*command, *([tiny_store] if "--store" in command else []))
    assert (ended.code, ended.err.splitlines()[-1]) == (130, "interrupted; the same command begins anew")
