"""Two runs side by side: what one waits for the other is counted by itself."""

import time
from pathlib import Path

import pytest

from data_contracts.store import Store
from tests.runs.tiny_run import RUN, Process, done, fingerprints, record_of, wsis

pytestmark = pytest.mark.timeout(400)


def test_waiting_for_another_process_is_no_orchestration(own_store: Path, tmp_path: Path) -> None:
    stage, made = fingerprints(own_store)["prm_seeds"].split("/")
    began = time.monotonic()
    with Store(own_store).writing(stage, made):
        process = Process(tmp_path / "log", "run", "--name", RUN, "--store", own_store)
        try:
            process.wait_for(lambda: "is being written by pid" in process.text)
            time.sleep(2)
        except BaseException:
            process.close()
            raise
    before = record_of(own_store)
    assert process.result().code == 0
    after = record_of(own_store)
    assert before.waited_seconds < 0.5 and after.waited_seconds > 2
    assert after.overhead_seconds - before.overhead_seconds < time.monotonic() - began - 2
    shown = done(wsis("show", RUN, "--store", own_store)).out
    assert f"waited {after.waited_seconds:.0f} s for other processes" in shown
