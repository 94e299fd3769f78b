"""A signal that ends a run is recorded as one, whatever a library makes of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data_contracts.runs import load_run
from data_contracts.store import Store
from tests.runs.tiny_run import TINY
from wsis.engine.stage import Outcome
from wsis.runs.config import load_config
from wsis.runs.plan import Node
from wsis.runs.runner import Runner


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
    with pytest.raises(raised):
        Runner(store, "tiny", load_config(str(TINY))).run(wrap=wrap)
    assert load_run(store, "tiny").status == status
