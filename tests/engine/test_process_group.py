"""Groups of processes: what they say is heard, an error of one ends all, nobody outlives the stage."""

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tests.engine import group_work
from tests.engine.stage_processes import kill, wait_for
from wsis.engine import process_group
from wsis.engine.process_group import Group, run_in_processes
from wsis.errors import NonFiniteError, WorkerDiedError, WorkerStuckError

GROUP = Group(2, "cpu", 1, "prediction@1")


def children() -> list[psutil.Process]:
    return [c for c in psutil.Process().children() if "spawn_main" in " ".join(c.cmdline())]


@pytest.mark.parametrize("work", [group_work.total, group_work.end_and_abort])
def test_rank_0_is_heard_and_all_tell_their_memory(work: Callable[..., None]) -> None:
    heard: list[Any] = []
    memory: dict[int, int] = {}
    run_in_processes(work, GROUP, heard.append, memory)
    assert heard == [(0, 3.0, 1)]
    assert len(memory) == 2 and all(peak > 50e6 for peak in memory.values())
    assert not children()


@pytest.mark.parametrize(
    ("work", "error", "message"),
    [
        (group_work.diverge, NonFiniteError, r"^'loss' became nan at step 3, images b, c$"),
        (
            group_work.break_down,
            RuntimeError,
            r"prediction@1: a training process failed:\nrank 1: .*nothing of",
        ),
        (
            group_work.break_down_and_abort,
            RuntimeError,
            r"prediction@1: a training process failed:\nrank 1: .*nothing of",
        ),
        (
            group_work.leave,
            RuntimeError,
            r"prediction@1: a training process failed:\nit ended with exit code 3",
        ),
        (
            group_work.be_killed,
            WorkerDiedError,
            r"prediction@1: .* ended by signal 9.*prediction\.processes=1",
        ),
    ],
)
def test_an_error_of_one_ends_all(work: Callable[..., None], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"(?s){message}"):
        run_in_processes(work, GROUP, lambda what: None, {})
    assert not children()


@pytest.mark.parametrize(
    ("work", "cause"),
    [(group_work.break_down, "rank 1: .*nothing of"), (group_work.leave, "it ended with exit code 3")],
)
def test_the_first_failure_is_named_though_both_are_heard_at_once(
    work: Callable[..., None], cause: str
) -> None:
    """Rank 0 says that it lost rank 1 while the stage is busy with what rank 0 said before."""
    with pytest.raises(RuntimeError, match=f"(?s)a training process failed:\n{cause}"):
        run_in_processes(work, GROUP, lambda what: time.sleep(4), {})


def test_processes_that_say_nothing_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_group, "_SILENCE_SECONDS", 5.0)
    heard: list[Any] = []
    with pytest.raises(
        WorkerStuckError, match=r"^prediction@1: the training processes said nothing for 5 s; .*=1$"
    ):
        run_in_processes(group_work.stay, Group(1, "cpu", 1, "prediction@1"), heard.append, {})
    assert len(heard) <= 1
    assert not children()


def test_ctrl_c_ends_all() -> None:
    def interrupt(pid: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_processes(group_work.stay, Group(1, "cpu", 1, "x"), interrupt, {})
    assert not children()


_PARENT = """
from wsis.engine.process_group import Group, run_in_processes
from tests.engine.group_work import stay
def hear(pid):
    print(pid, flush=True)
run_in_processes(stay, Group(1, "cpu", 1, "x"), hear, {})
"""


def test_nobody_outlives_a_killed_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        kill(parent)
        wait_for(lambda: not child.is_running(), seconds=20)
