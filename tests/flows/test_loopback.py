"""docker/compose.yaml to its end, without a container engine: the demo over Prefect, PostgreSQL, SeaweedFS and Dask."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from data_contracts.bucket import BucketObjects
from data_contracts.runs import load_run
from data_contracts.store import Store
from tests.docker_files import loopback_script

pytestmark = [pytest.mark.service, pytest.mark.timeout(3 * 3600)]
script = loopback_script()


@pytest.fixture
def services() -> Iterator["script.Loopback"]:
    """All services of the profile `cpu`."""
    # not below pytest's own folder, which PostgreSQL's user may not enter
    with tempfile.TemporaryDirectory() as state, script.loopback(Path(state)) as running:
        yield running


def test_the_demo_runs_to_its_end(
    services: "script.Loopback", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers make the shards, one of them until it is killed; artefacts are objects."""
    prefect = {**services.environment("cli"), **services.environment("server")}
    overrides = json.dumps([f"execution.cluster={services.scheduler()}", "execution.shard_images=16"])
    command = ["prefect", "deployment", "run", "wsis/full-training", "--watch"]
    command += ["--param", f"overrides={overrides}"]
    for key, value in services.environment("cli").items():
        if key.startswith(("AWS_", "WSIS_")):
            monkeypatch.setenv(key, value)
    with (tmp_path / "log").open("wb") as log:
        run = subprocess.Popen(command, env=prefect, stdout=log, stderr=subprocess.STDOUT)
    try:
        objects = BucketObjects(os.environ["WSIS_STORE"])
        while not any("/shards/" in key for key in objects.list("proposals")):
            assert run.poll() is None, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.5)
        _kill(services.running["shards"][0].pid)
        assert run.wait(2 * 3600) == 0, (tmp_path / "log").read_text()[-3000:]
    finally:
        run.kill()
        run.wait()
    record = load_run(Store(os.environ["WSIS_STORE"]), "demo")
    assert record.status == "completed"
    assert not any(entry.reused for entry in record.entries.values())


def _kill(pid: int) -> None:
    """A worker and its nanny, which would start another."""
    nanny = psutil.Process(pid)
    family = [nanny, *nanny.children(recursive=True)]
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=30)
