"""Every per-image stage of a run, made by a worker on loopback: the artefacts that one machine made, to the byte."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from data_contracts.store import Store
from tests.dask_processes import DaskProcesses
from tests.runs.tiny_run import RUN, TINY, copy_of, done, record_of, shared_tiny_run, wsis
from wsis.runs.config import load_config
from wsis.runs.plan import plan

PER_IMAGE = sorted({node.key for node in plan(load_config(str(TINY))) if node.stage.per_image})
SLURM = Path(__file__).parents[2] / "docs" / "howto" / "cluster" / "slurm.sbatch"


def artefacts(store: Path) -> dict[str, Any]:
    """Key of a node -> fingerprint and files."""
    opened, found = Store(store), {}
    for key, entry in record_of(store).entries.items():
        found[key] = (entry.fingerprint, opened.open(entry.stage, entry.fingerprint).manifest.files)
    return found


@pytest.mark.slow
def test_a_cluster_makes_what_one_machine_made(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    assert {key.partition("@")[0].partition(".")[0] for key in PER_IMAGE} == {
        *("proposals", "prm_seeds", "prm_baseline", "pseudo_labels", "predictions")
    }
    store = copy_of(shared_tiny_run(tmp_path_factory), tmp_path / "store")
    before = artefacts(store)
    for key in PER_IMAGE:
        entry = record_of(store).entries[key]
        shutil.rmtree(store / entry.stage / entry.fingerprint)
    with DaskProcesses(tmp_path) as dask:
        dask.start_worker(["--preload", "wsis.engine.cluster_work"])
        setting = f"execution.cluster={dask.address}"
        result = done(wsis("run", "--name", RUN, "--store", store, "--set", setting))
        assert artefacts(store) == before
        made = {key for key, entry in record_of(store).entries.items() if not entry.reused}
        assert made == set(PER_IMAGE)
        assert result.err.count(f"shards by 1 workers of {dask.address}") == len(PER_IMAGE), result.err
    # the cluster is gone: nothing is left for it, and then something
    done(wsis("run", "--name", RUN, "--store", store))
    shutil.rmtree(store / "proposals" / before["proposals"][0])
    failed = wsis("run", "--name", RUN, "--store", store)
    assert failed.code == 1 and len(failed.err.splitlines()) <= 3, failed.err
    assert f"expected a Dask scheduler at {dask.address}, got none" in failed.err


@pytest.mark.slow
def test_the_job_of_slurm_runs(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    """With an `srun` that starts two tasks on this machine."""
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text('#!/bin/bash\nshift\n"$@" & "$@" & wait\n')
    srun.chmod(0o755)
    store = copy_of(shared_tiny_run(tmp_path_factory), tmp_path / "store")
    before = artefacts(store)
    shutil.rmtree(store / "proposals" / before["proposals"][0])
    environment = {
        **os.environ,
        "PATH": f"{srun.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SLURM_JOB_ID": str(os.getpid()),
    }
    command = ["bash", str(SLURM), "--name", RUN, "--store", str(store)]
    job = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert job.returncode == 0, job.stderr[-3000:]
    assert "shards by" in job.stderr and artefacts(store) == before


def test_a_job_of_slurm_without_the_environment_ends_at_once(tmp_path: Path) -> None:
    """It waited for a scheduler that could not start."""
    (tmp_path / "bin").mkdir()
    for name in ("bash", "hostname", "mktemp"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    environment = {"PATH": str(tmp_path / "bin"), "SLURM_JOB_ID": "1"}
    job = subprocess.run(["bash", str(SLURM)], env=environment, capture_output=True, text=True, timeout=20)
    assert job.returncode == 1
    assert job.stderr.splitlines() == [
        "slurm.sbatch: expected dask in PATH, got none: activate the environment of wsis before sbatch"
    ]
