"""One writer an artefact: real processes, real SIGKILL."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from data_contracts import locks
from data_contracts.errors import LockTimeoutError, StoreError
from data_contracts.locks import exclusive

HOLDER = """
import sys
from pathlib import Path
from data_contracts.locks import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
print("released", flush=True)
"""


@pytest.fixture
def hold():
    """Start a process that holds a lock until it is given a line; returns once it has the lock."""
    started = []

    def start(path):
        command = [sys.executable, "-c", HOLDER, str(path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_second_process_waits_and_names_the_holder(tmp_path, hold):
    holder, said = hold(tmp_path / "a.lock"), []

    def release_later(message):
        said.append(message)
        threading.Timer(0.3, lambda: (holder.stdin.write("go\n"), holder.stdin.flush())).start()

    with exclusive(tmp_path / "a.lock", on_wait=release_later, poll=0.05):
        assert holder.stdout.readline() == "released\n"
    assert len(said) == 1
    assert f"a.lock is being written by pid {holder.pid} on {os.uname().nodename} since 2" in said[0]


def test_a_long_wait_says_again_how_long_it_lasts(tmp_path, hold, monkeypatch):
    monkeypatch.setattr(locks, "_SAY_AGAIN_SECONDS", 0.1)
    holder, said = hold(tmp_path / "a.lock"), []
    with (
        pytest.raises(LockTimeoutError),
        exclusive(tmp_path / "a.lock", timeout=1.0, on_wait=said.append, poll=0.02),
    ):
        pytest.fail("two processes hold one lock")
    assert 2 <= len(said) <= 5
    assert all(f"pid {holder.pid}" in text for text in said)
    assert [("so far" in text) for text in said] == [False] + [True] * (len(said) - 1)


def test_timeout_names_the_holder(tmp_path, hold):
    holder = hold(tmp_path / "a.lock")
    began = time.monotonic()
    with (
        pytest.raises(LockTimeoutError, match=f"a.lock is being written by pid {holder.pid} on"),
        exclusive(tmp_path / "a.lock", timeout=0.3, poll=0.05),
    ):
        pytest.fail("two processes hold one lock")
    assert 0.25 < time.monotonic() - began < 5
    with (
        pytest.raises(LockTimeoutError, match=f"pid {holder.pid}"),
        exclusive(tmp_path / "a.lock", timeout=0, poll=0.05),
    ):
        pytest.fail("two processes hold one lock")


def test_killed_holder_does_not_block(tmp_path, hold):
    holder = hold(tmp_path / "a.lock")
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert str(holder.pid) in (tmp_path / "a.lock").read_text()
    with exclusive(tmp_path / "a.lock", timeout=1, on_wait=lambda m: pytest.fail(m)):
        assert f'"pid": {os.getpid()}' in (tmp_path / "a.lock").read_text()


def test_waiting_ends_when_the_holder_is_killed(tmp_path, hold):
    holder = hold(tmp_path / "a.lock")
    threading.Timer(0.3, holder.kill).start()
    with exclusive(tmp_path / "a.lock", timeout=20, poll=0.05):
        assert holder.wait() == -signal.SIGKILL


def test_child_process_of_a_holder_does_not_keep_the_lock(tmp_path):
    """A worker may outlive a killed parent; the lock must not live on in it."""
    child = "import time; time.sleep(30)"
    program = (
        "import subprocess, sys, time, os\nfrom pathlib import Path\n"
        "from data_contracts.locks import exclusive\n"
        "with exclusive(Path(sys.argv[1])):\n"
        f"    child = subprocess.Popen([sys.executable, '-c', {child!r}], close_fds=False)\n"
        "    print(child.pid, flush=True)\n    time.sleep(30)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "a.lock")], stdout=subprocess.PIPE, text=True
    ) as parent:
        orphan = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        try:
            with exclusive(tmp_path / "a.lock", timeout=2, poll=0.05):
                os.kill(orphan, 0)  # it is still alive
        finally:
            os.kill(orphan, signal.SIGKILL)


def test_threads_of_one_process_exclude_each_other(tmp_path):
    inside, most, said = 0, 0, []

    def work():
        nonlocal inside, most
        # another spelling of the same path is the same lock
        with exclusive(tmp_path / "x" / ".." / "a.lock", on_wait=said.append, poll=0.01):
            inside += 1
            most = max(most, inside)
            time.sleep(0.02)
            inside -= 1

    (tmp_path / "x").mkdir()
    threads = [threading.Thread(target=work) for _ in range(6)]
    with exclusive(tmp_path / "a.lock"):
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        assert inside == 0
    for thread in threads:
        thread.join(20)
    assert (inside, most) == (0, 1)
    assert said
    assert "another thread of this process" in said[0]


def test_timeout_between_threads(tmp_path):
    caught = []

    def work():
        with (
            pytest.raises(LockTimeoutError, match="another thread") as error,
            exclusive(tmp_path / "a.lock", timeout=0.1, poll=0.02),
        ):
            pytest.fail("two threads hold one lock")
        caught.append(error)

    with exclusive(tmp_path / "a.lock"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(20)
    assert len(caught) == 1


def test_released_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path / "a.lock"):
        1 / 0  # noqa: B018
    with exclusive(tmp_path / "a.lock", timeout=0):
        pass


def test_a_damaged_lock_file_is_no_obstacle(tmp_path, hold):
    (tmp_path / "a.lock").write_bytes(b"\xff\x00[")
    holder = hold(tmp_path / "a.lock")
    (tmp_path / "a.lock").write_bytes(b"\xff\x00[")
    with (
        pytest.raises(LockTimeoutError, match=r"being written by pid \? on \?"),
        exclusive(tmp_path / "a.lock", timeout=0.1, poll=0.05),
    ):
        pytest.fail("two processes hold one lock")
    holder.kill()


def test_lock_that_cannot_be_opened(tmp_path):
    (tmp_path / "a.lock").mkdir()
    with pytest.raises(StoreError, match=r"cannot lock .*a.lock"), exclusive(tmp_path / "a.lock"):
        pytest.fail("a folder is no lock")
