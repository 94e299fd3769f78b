"""Worker processes: started afresh, bounded in every wait, and gone with whoever started them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.engine import worker_functions
from tests.engine.stage_processes import kill, wait_for
from wsis.engine.worker_processes import Patience, SpawnContext, WorkerPool, start_failures_named
from wsis.errors import WorkerDiedError, WorkerStartError, WorkerStuckError

PATIENCE = Patience("prediction@1", 60, "--set some.workers=0")
REPOSITORY = Path(__file__).resolve().parents[2]


def children() -> list[psutil.Process]:
    return [c for c in psutil.Process().children() if "spawn_main" in " ".join(c.cmdline())]


def test_results_come_in_order_and_not_through_shared_memory() -> None:
    with WorkerPool(worker_functions.square, 2, PATIENCE) as pool:
        for expected, (number, tensor) in enumerate(pool.map(range(9), ahead=3)):
            assert number == expected
            assert tensor.shape == (2, 3) and (tensor == number**2).all()
            assert not tensor.is_shared()
            tensor += 1  # writable
    assert not children()


def test_workers_have_one_thread_and_not_the_callers_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    before = {name: getattr(sys.modules["__main__"], name, None) for name in ("__spec__", "__file__")}
    with WorkerPool(worker_functions.environment, 1, PATIENCE) as pool:
        ((variables, threads, script),) = pool.map([0], ahead=1)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    assert [variables[name] for name in names] == ["1", "1", "1"] and threads == 1
    assert script is None
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"
    assert {name: getattr(sys.modules["__main__"], name, None) for name in before} == before


def test_each_process_has_the_variables_of_its_turn() -> None:
    turns = [{"CUDA_VISIBLE_DEVICES": "2"}, {"CUDA_VISIBLE_DEVICES": "5"}]
    with WorkerPool(worker_functions.slow_environment, 3, PATIENCE, turns) as pool:
        found = list(pool.map(range(6), ahead=6))
    seen = {variables["pid"]: variables["CUDA_VISIBLE_DEVICES"] for variables in found}
    assert sorted(seen.values()) == ["2", "2", "5"]
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (1, WorkerDiedError, "prediction@1: a worker process was killed, .*--set some.workers=0$"),
        (2, WorkerDiedError, "a worker process ended with exit code 3; see above; what is finished is kept"),
        (3, TimeoutError, "^the function's own$"),
        (4, WorkerStuckError, r"a worker gave nothing within 2 s for 4: .*--set some.workers=0$"),
    ],
)
def test_what_does_not_come_is_an_error_with_a_name(
    number: int, error: type[Exception], message: str
) -> None:
    patience = Patience(PATIENCE.title, 2 if number == 4 else 60, PATIENCE.remedy)
    with (
        pytest.raises(error, match=message) as caught,
        WorkerPool(worker_functions.die, 1, patience) as pool,
    ):
        list(pool.map([number], ahead=1))
    assert "\n" not in str(caught.value)
    assert not children()


def test_leaving_early_does_not_wait_for_what_is_computed() -> None:
    began = time.monotonic()
    with (
        pytest.raises(KeyboardInterrupt),
        WorkerPool(worker_functions.pid_and_stay, 1, PATIENCE) as pool,
    ):
        results = pool.map([0, 600], ahead=2)
        next(results)
        raise KeyboardInterrupt
    assert time.monotonic() - began < 60
    assert not children()


_PARENT = """
from tests.engine.worker_functions import pid_and_stay
from wsis.engine.worker_processes import Patience, WorkerPool
with WorkerPool(pid_and_stay, 1, Patience("x", 600, "y")) as pool:
    for pid in pool.map([0, 600], ahead=2):
        print(pid, flush=True)
"""


def start(script: Path, text: str, **environment: str) -> subprocess.Popen[str]:
    script.write_text(text)
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environment}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, str(script)], stdout=pipe, stderr=pipe, text=True, env=variables)


def test_a_script_without_a_guard_works_and_its_workers_end_with_it(tmp_path: Path) -> None:
    with start(tmp_path / "script.py", _PARENT) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        assert worker.ppid() == parent.pid
        kill(parent)
        wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, seconds=20)


def test_a_script_that_defines_what_workers_need_is_told_of_the_guard(tmp_path: Path) -> None:
    text = _PARENT.replace("with Worker", "def own(seconds):\n    return pid_and_stay(seconds)\nwith Worker")
    with start(tmp_path / "script.py", text.replace("WorkerPool(pid_and_stay", "WorkerPool(own")) as parent:
        _, error = parent.communicate(timeout=120)
    assert parent.returncode == 1
    assert "expected its calls under `if __name__ == '__main__':`" in error
    assert "WorkerDiedError: x: a worker process ended with exit code 1; see above" in error


def test_no_room_for_processes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Semaphores lie in /dev/shm, and a pipe takes two files."""

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", full)
    with pytest.raises(
        WorkerStartError, match=r"^prediction@1: .*No space left.*/dev/shm.*ulimit -n.*workers=0$"
    ):
        WorkerPool(worker_functions.square, 1, PATIENCE)
    with pytest.raises(WorkerStartError), start_failures_named("a", "b"):
        SpawnContext(worker_functions.square).Lock()


@pytest.mark.parametrize("killed", [True, False])
def test_a_result_that_is_half_sent_holds_nothing_up(killed: bool) -> None:
    """Of a worker that is killed, and of one that is ended because of an error here."""
    error = WorkerDiedError if killed else RuntimeError
    with pytest.raises(error), WorkerPool(worker_functions.much, 1, PATIENCE) as pool:
        results = pool.map([0, 1, 1], ahead=2)
        worker, here = psutil.Process(next(results)[0]), psutil.Process()
        begun = here.io_counters().read_chars
        wait_for(lambda: here.io_counters().read_chars > begun + 10_000_000, seconds=60)
        if not killed:
            raise RuntimeError("of the caller")
        worker.kill()
        next(results)
    assert not children()
