"""The README's Prefect commands to the end: a real server, a real worker, default settings, the whole demo."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from data_contracts.runs import load_run
from data_contracts.store import Store
from tests.flows.prefect_services import Prefect

pytestmark = [pytest.mark.service, pytest.mark.timeout(3 * 3600)]
TIMES = 5


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """A server with the work pool and all deployments of prefect.yaml."""
    running = Prefect(tmp_path_factory.mktemp("prefect"))
    try:
        running.start()
        yield running
    finally:
        running.close()


@pytest.mark.parametrize("time", range(1, TIMES + 1))
def test_the_demo_runs_to_its_end(prefect: Prefect, tmp_path: Path, time: int) -> None:
    worker = prefect.worker(WSIS_STORE=str(tmp_path / "store"))
    try:
        run = prefect.start_flow_run("wsis/full-training", config="demo", run_name="demo")
        prefect.finished(run, 2 * 3600)
    finally:
        prefect.kill(worker)
    record = load_run(Store(str(tmp_path / "store")), "demo")
    assert record.status == "completed"
    assert not any(entry.reused for entry in record.entries.values())
    prefect.all_completed(run, record.entries)
