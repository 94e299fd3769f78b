"""One of several machines trains: one that is stopped past its lease is succeeded, and takes the other's result."""

import os
import signal
import subprocess
import sys

import pytest

from data_contracts.store import Store
from tests.engine.stage_processes import wait_for
from tests.object_servers import environment, moto, new_store


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with moto(tmp_path_factory.mktemp("moto")) as address:
        yield address


@pytest.fixture
def machine(server, tmp_path, monkeypatch):
    """`machine(name, seconds a step)`: a process that makes the artefact, and its log."""
    for name, value in environment(server).items():
        monkeypatch.setenv(name, value)
    url, started = new_store(server), []

    def start(name, pause):
        log = tmp_path / f"{name}.log"
        own = {
            "WSIS_CACHE": str(tmp_path / name),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        with log.open("w") as stream:
            command = [sys.executable, "-m", "tests.engine.lease_stage", url, str(pause)]
            process = subprocess.Popen(
                command, env={**os.environ, **own}, stdout=subprocess.PIPE, stderr=stream, text=True
            )
        started.append(process)
        return process, log

    start.url = url
    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_stopped_owner_is_succeeded_and_takes_the_others_result(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("WSIS_CACHE", str(tmp_path / "here"))
    place = Store(machine.url).remote.objects

    seen = set()

    def named():  # the lease names a checkpoint before the next one is written
        seen.update(key for key in place.list("toy_training") if "/checkpoints/00001-" in key)
        return len(seen) > 1

    first, log = machine("first", 1.0)
    wait_for(named, seconds=120)
    first.send_signal(signal.SIGSTOP)
    second, other = machine("second", 0.01)
    out, _ = second.communicate(timeout=200)
    assert out.startswith("False ")
    text = other.read_text()
    assert "is being made by pid" in text and "toy_training: resumes at step" in text
    first.send_signal(signal.SIGCONT)
    late, _ = first.communicate(timeout=120)
    assert late == out.replace("False", "True")
    assert "another one has taken the work over; its artefact is waited for" in log.read_text()
    names = [key.split("/")[2:] for key, one in place.list("toy_training").items() if one.bytes]
    assert sorted(name[0] for name in names) == ["attempts", "attempts", "manifest.json"]  # weights and curve
