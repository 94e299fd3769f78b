"""The tiny run with two cores: equal to the byte to one stage after the other, interrupted, and with a process lost."""

import shutil
import signal
from pathlib import Path

import psutil
import pytest

from tests.runs.tiny_run import TINY, Process, computed, done, fingerprints, record_of, wsis

pytestmark = pytest.mark.timeout(600)
BESIDE = ("--set", "execution.cores=2")


def files(store: Path) -> dict[str, bytes]:
    """All bytes of all artefacts but their manifests, which hold times."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for stage in store.iterdir()
        if stage.name != "runs"
        for path in stage.rglob("*")
        if path.is_file() and path.name != "manifest.json" and ".work" not in path.parts
    }


def begin(store: Path, log: Path, until: str) -> Process:
    """A run with two cores that has come to a line of its log."""
    process = Process(log, "run", TINY, "--store", store, *BESIDE)
    process.wait_for(lambda: until in process.text)
    assert process.popen.poll() is None, process.text
    return process


def test_interrupted_and_with_a_process_lost_it_ends_with_the_same_bytes(
    tiny_store: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    began = begin(store, tmp_path / "first.log", "proposals: starts")
    assert began.end(signal.SIGINT) == 130
    began.result()
    assert "tried again" not in began.text
    assert record_of(store).status == "interrupted"

    second = begin(store, tmp_path / "second.log", "pseudo_labels@1: starts")
    lost = [c for c in psutil.Process(second.popen.pid).children() if "spawn_main" in " ".join(c.cmdline())]
    for process in lost:
        process.kill()
    done(second.result(400))
    assert "was ended by signal 9" in second.text and "tried again in 5 s" in second.text

    assert record_of(store).status == "completed"
    assert list(record_of(store).entries) == list(record_of(tiny_store).entries)
    assert fingerprints(store) == fingerprints(tiny_store)
    assert files(store) == files(tiny_store)


def test_what_is_intact_is_reused_and_what_is_damaged_computed_again(
    tiny_store: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny_store, store)
    damaged = store / fingerprints(store)["predictions.val@1"]
    array = max((p for p in damaged.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    array.write_bytes(array.read_bytes()[::-1])
    done(wsis("run", TINY, "--store", store, *BESIDE))
    assert computed(store) == {"predictions.val@1"}
    assert files(store) == files(tiny_store)
