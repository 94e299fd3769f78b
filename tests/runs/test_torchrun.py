"""`torchrun -m wsis`: a stage trained by processes that torchrun starts is the one trained by processes of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_contracts.store import Store
from tests.runs.tiny_run import RUN, TINY, Result, done, fingerprints, manifest_of, wsis
from wsis.engine.progress import Progress
from wsis.runs.config import load_config
from wsis.runs.runner import Runner

STAGE = ("stage", "prm_classifier", "--run", RUN)
SHARED = ("--set", "prm_classifier.processes=2")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has its classifier."""
    path = tmp_path_factory.mktemp("torchrun") / "store"
    config = load_config(str(TINY), ("prm_classifier.epochs=2",))
    Runner(Store(path), RUN, config, progress=Progress(quiet=True)).run(until="prm_classifier")
    return path


def torchrun(*arguments: object) -> Result:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "wsis", "--"]
    found = subprocess.run(
        [sys.executable, *command, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    return Result(found.returncode, found.stdout, found.stderr)


def test_processes_of_torchrun_make_the_artefact_of_own_ones(store: Path) -> None:
    alone = fingerprints(store)["prm_classifier"]
    done(wsis(*STAGE, *SHARED, "--store", store))
    own, files = fingerprints(store)["prm_classifier"], manifest_of(store, "prm_classifier").files
    result = done(torchrun(*STAGE, "--force", "--store", store))
    assert fingerprints(store)["prm_classifier"] == own != alone
    assert manifest_of(store, "prm_classifier").files == files
    assert result.out.count("prm_classifier: computed") == 1
    assert result.err.count("prm_classifier: done in") == 1
    assert not list(store.rglob("checkpoint.pt")), "no rank but 0 writes, and its checkpoint is gone"


def test_more_processes_than_torchrun_started_are_refused_once(store: Path) -> None:
    settings = ("--set", "prm_classifier.processes=4", "--set", "prm_classifier.batch_size=8")
    result = torchrun(*STAGE, *settings, "--store", store)
    assert result.code != 0
    line = "error: prm_classifier.processes: expected at most 2, as many as torchrun started, got 4"
    assert result.err.count(line) == 1
