"""Processes that torchrun has started: rank 0's command, what the others do for it, and how all of them end."""

import os
import signal
import socket
import time

import pytest

from data_contracts.errors import ConfigError
from tests.engine.launched import ends, free_port, launched
from tests.engine.stage_processes import wait_for
from wsis.engine.launched_group import LaunchedGroup

# What each process runs: a command whose rank 0 shares the work NAME, as `wsis` does.
COMMAND = """
import sys
from pathlib import Path
from tests.engine import group_work
from wsis.engine import launched_group
from wsis.engine.progress import Progress
from wsis.engine.shared_work import run_shared
from wsis.engine.stage import Execution, StageContext
from wsis.errors import WsisError
from data_contracts.errors import ContractError

def command():
    context = StageContext(Path("."), 3, 2, Execution(device="cpu"), Progress(), "toy")
    for name in sys.argv[1:]:
        work = getattr(group_work, name)
        run_shared(work, context, 1 if name == "be_busy_alone" else 2)
    print("counts", context.counts, sorted(context.worker_memory))
    return 0

{patch}
try:
    sys.exit(launched_group.run_in_group(command))
except (WsisError, ContractError) as error:
    print(f"error: {{type(error).__name__}}: {{error}}", file=sys.stderr)
    sys.exit(1)
except KeyboardInterrupt:
    sys.exit(130)
"""


def command(*names: str, patch: str = "") -> list[str]:
    return ["-c", COMMAND.format(patch=patch), *names]


def errors(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("error: ")]


def test_rank_0_shares_several_trainings_and_alone_is_heard() -> None:
    with launched([command("report", "report")] * 2) as processes:
        (first, out, err), (second, nothing, silence) = ends(processes)
    assert (first, second) == (0, 0), err + silence
    assert "counts {'seed': 3, 'sum': 3.0} [1]" in out
    assert "toy@2: rank 0 writes scalars" in err and "rank 1" not in err
    assert nothing == "" and "toy@2" not in silence


@pytest.mark.parametrize(
    ("work", "line"),
    [
        ("diverge_of_stage", "error: NonFiniteError: 'loss' became nan at step 3, images b, c"),
        ("diverge_at_0", "error: NonFiniteError: 'loss' became nan at step 5"),
    ],
)
def test_an_error_on_purpose_of_any_is_rank_0s(work: str, line: str) -> None:
    with launched([command(work)] * 2) as processes:
        (first, _, err), (second, _, silence) = ends(processes)
    assert (first, second) == (1, 1)
    assert errors(err) == [line] and errors(silence) == []


def test_a_mistake_of_one_ends_all_with_its_traceback() -> None:
    with launched([command("break_down_of_stage")] * 2) as processes:
        (first, _, err), (second, _, _) = ends(processes)
    assert (first, second) == (1, 1)
    err = err.replace("[rank0]: ", "")  # by torch, before each line of a traceback
    assert "RuntimeError: toy@2: a training process failed:\nrank 1: Traceback" in err
    assert "KeyError: 'nothing of that name'" in err


@pytest.mark.parametrize("torn", [1, 0])
def test_one_that_is_killed_is_one_line_of_the_other(torn: int) -> None:
    with launched([command("stay_of_stage")] * 2) as processes:
        said = processes[0].stderr
        assert said is not None
        wait_for(lambda: "both are at work" in said.readline(), processes[0], seconds=120)
        os.kill(processes[torn].pid, signal.SIGKILL)
        left = 1 - torn
        processes[left].wait(60)
        (first, _, _), (second, _, _) = ends_of = ends(processes)
    assert (first, second)[torn] == -signal.SIGKILL and (first, second)[left] == 1
    expected = (
        "error: WorkerDiedError: toy@2: rank 1 of the group has gone, most often because memory ran out; the last "
        "checkpoint is kept. Give the command again",
        "error: WorkerDiedError: rank 1: rank 0 has gone; see its lines. the last checkpoint is kept. Give the "
        "command again",
    )
    assert errors(ends_of[left][2]) == [expected[left]]


def test_processes_that_do_not_come_are_waited_for_with_a_bound() -> None:
    patch = "launched_group._MEETING_SECONDS = 3.0"
    with launched([command("report", patch=patch)], size=2) as processes:
        [(code, _, err)] = ends(processes)
    assert code == 1
    assert len(errors(err)) == 1 and "rank 0: the 2 processes did not meet at 127.0.0.1:" in errors(err)[0]


def test_a_rank_0_that_is_stopped_is_waited_for_with_a_bound() -> None:
    patch = "launched_group._SILENCE_SECONDS, launched_group._BEAT_SECONDS = 8.0, 0.5"
    with launched([command("be_busy_alone", patch=patch)] * 2) as processes:
        said = processes[0].stderr
        assert said is not None
        wait_for(lambda: "rank 0 is at something else" in said.readline(), processes[0], seconds=120)
        os.kill(processes[0].pid, signal.SIGSTOP)
        _, err = processes[1].communicate(timeout=120)
    assert processes[1].returncode == 1
    assert errors(err) == [
        "error: WorkerStuckError: rank 1: rank 0 said nothing for 8 s; the last checkpoint is kept. Give the command "
        "again"
    ]


def test_missing_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(ConfigError, match=r"^WORLD_SIZE: expected MASTER_ADDR, MASTER_PORT beside it"):
        LaunchedGroup()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("WORLD_SIZE", "two", "from 1, as torchrun sets it, got 'two'"),
        ("WORLD_SIZE", "", "from 1, as torchrun sets it, got ''"),
        ("WORLD_SIZE", "0", "from 1, as torchrun sets it, got '0'"),
        ("RANK", "x", "from 0 to 1, as torchrun sets it, got 'x'"),
        ("RANK", "2", "from 0 to 1, as torchrun sets it, got '2'"),
        ("RANK", "-1", "from 0 to 1, as torchrun sets it, got '-1'"),
        ("LOCAL_RANK", "x", "from 0, as torchrun sets it, got 'x'"),
        ("MASTER_PORT", "99999", "from 0 to 65535, as torchrun sets it, got '99999'"),
    ],
)
def test_variables_that_make_no_sense_are_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    usual = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for variable, text in {**usual, name: value}.items():
        monkeypatch.setenv(variable, text)
    with pytest.raises(ConfigError, match=f"^{name}: expected a whole number {said}$"):
        LaunchedGroup()


def test_a_port_in_use_is_one_line_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        usual = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        for variable, text in usual.items():
            monkeypatch.setenv(variable, text)
        with pytest.raises(
            ConfigError, match=f"^MASTER_PORT: expected a free port, got one in use: 127.0.0.1:{port}$"
        ):
            LaunchedGroup()


def test_ctrl_c_ends_the_wait_for_the_others() -> None:
    alone = "from wsis.engine.launched_group import *; print('meets', flush=True); LaunchedGroup()"
    with launched([["-c", alone]], size=2) as (process,):
        assert process.stdout is not None and process.stdout.readline() == "meets\n"
        time.sleep(1)  # it does by now
        process.send_signal(signal.SIGINT)
        ((code, _, err),) = ends([process], 30)
    assert code != 0 and "KeyboardInterrupt" in err
