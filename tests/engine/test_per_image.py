"""Per-image stages: killed processes, dead workers, the same bytes however often they were interrupted."""

import contextlib
import io
import os
import signal
import subprocess
from contextlib import redirect_stderr

import numpy as np
import psutil
import pytest

from data_contracts.errors import SchemaError
from data_contracts.record_shards import shard_name
from data_contracts.records import RecordReader
from data_contracts.store import Store
from tests.engine.stage_processes import kill, wait_for, workers_of
from tests.engine.toy_stages import SCHEMA, SHARD, SHARDS, Compute, ShardConfig
from wsis.engine.per_image import write_records
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, StageContext, execute
from wsis.errors import WorkerDiedError

QUIET = Progress(quiet=True)


def context_of(workdir, workers=1, progress=QUIET):
    workdir.mkdir(exist_ok=True)
    return StageContext(workdir, 0, None, Execution(workers=workers), progress, "toy_shards")


def ids(n):
    return [f"img{i:03d}" for i in range(n)]


def record_bytes(root):
    return {
        p.relative_to(root): p.read_bytes()
        for p in root.rglob("*")
        if p.is_file() and p.name != "manifest.json"
    }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The bytes of the records of a stage that nobody killed."""
    store = Store(tmp_path_factory.mktemp("whole"))
    outcome = execute(SHARDS, ShardConfig(), {}, store, execution=Execution(workers=1), progress=QUIET)
    return outcome.artefact.fingerprint, record_bytes(outcome.artefact.path)


def committed_shards(store, fingerprint):
    work = store / "toy_shards" / ".work" / fingerprint
    return sorted(p for p in work.glob("shard-*")) if work.exists() else []


def test_values_are_those_of_the_stage(uninterrupted, tmp_path):
    context = context_of(tmp_path / "w")
    write_records(context, SCHEMA, ids(40), Compute(ShardConfig()), 1, SHARD)
    reader = RecordReader(tmp_path / "w", SCHEMA)
    for image_id, expected in zip(ids(40), Compute(ShardConfig())(ids(40)), strict=True):
        np.testing.assert_array_equal(reader[image_id]["values"], expected["values"])
        assert reader[image_id]["name"].tobytes() == image_id.encode()
    assert record_bytes(tmp_path / "w") == uninterrupted[1]


@pytest.mark.parametrize(
    ("at", "how"), [(3, "starts again, an earlier try had"), (30, "goes on from what an")]
)
def test_it_says_whether_there_is_something_to_go_on_from(tmp_path, at, how):
    for config in (ShardConfig(fail_at=f"img{at:03d}"), ShardConfig()):
        text = io.StringIO()
        with redirect_stderr(text), contextlib.suppress(RuntimeError):
            execute(SHARDS, config, {}, Store(tmp_path), execution=Execution(workers=1))
    assert f"toy_shards: {how}" in text.getvalue() and "toy_shards: done" in text.getvalue()


def test_killed_stage_goes_on_at_the_first_missing_shard(toy, uninterrupted, tmp_path):
    fingerprint, expected = uninterrupted
    process = toy(tmp_path, "shards", delay=0.06, execution={"workers": 1})
    wait_for(lambda: len(committed_shards(tmp_path, fingerprint)) >= 2, process)
    kill(process)
    kept = {p: p.stat().st_mtime_ns for p in committed_shards(tmp_path, fingerprint)}
    assert 2 <= len(kept) < 5
    assert not Store(tmp_path).has("toy_shards", fingerprint)

    text = io.StringIO()
    with redirect_stderr(text):
        outcome = execute(SHARDS, ShardConfig(), {}, Store(tmp_path), execution=Execution(workers=1))
    assert f"{SHARD * len(kept)} of 40 images are there already" in text.getvalue()
    assert not outcome.reused
    assert outcome.artefact.fingerprint == fingerprint
    assert record_bytes(outcome.artefact.path) == expected
    for path, written in kept.items():  # kept, not computed again
        assert (outcome.artefact.path / path.name).stat().st_mtime_ns == written


def test_killed_stage_with_workers(toy, uninterrupted, tmp_path):
    """The same bytes from a pool as from one process; and the workers of the killed stage do not live on."""
    fingerprint, expected = uninterrupted
    process = toy(tmp_path, "shards", delay=0.1, execution={"workers": 2})
    wait_for(lambda: len(committed_shards(tmp_path, fingerprint)) >= 1, process)
    orphans = workers_of(process)
    assert len(orphans) == 2
    # one thread each: set before BLAS libraries are loaded, which read it once
    assert {o.environ()["OPENBLAS_NUM_THREADS"] for o in orphans} == {"1"}
    kill(process)
    _, alive = psutil.wait_procs(orphans, timeout=10)
    assert alive == []
    outcome = execute(
        SHARDS, ShardConfig(), {}, Store(tmp_path), execution=Execution(workers=1), progress=QUIET
    )
    assert outcome.artefact.fingerprint == fingerprint
    assert record_bytes(outcome.artefact.path) == expected


def test_killed_worker_is_named_and_shards_are_kept(toy, uninterrupted, tmp_path):
    fingerprint, _ = uninterrupted
    process = toy(tmp_path, "shards", delay=0.1, execution={"workers": 2})
    wait_for(lambda: len(committed_shards(tmp_path, fingerprint)) >= 1, process)
    os.kill(workers_of(process)[0].pid, signal.SIGKILL)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 1
    assert WorkerDiedError.__name__ in error
    assert "what is finished is kept" in error
    assert "--set execution.workers=1" in error
    assert committed_shards(tmp_path, fingerprint)


@pytest.mark.parametrize("workers", [1, 2])
def test_error_in_one_image_keeps_the_shards_before(workers, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    context = context_of(tmp_path / "w", workers)
    compute = Compute(ShardConfig(fail_at="img011"))
    with pytest.raises(RuntimeError, match="cannot read img011"):
        write_records(context, SCHEMA, ids(24), compute, workers, SHARD)
    assert sorted(p.name for p in (tmp_path / "w").glob("shard-*")) == [shard_name(0)]
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"
    assert 0 < len(context.worker_memory) <= 2 if workers == 2 else not context.worker_memory
    assert all(50e6 < peak < 5e9 for peak in context.worker_memory.values())
    seen = []

    def compute_rest(wanted):
        seen.extend(wanted)
        return Compute(ShardConfig())(wanted)

    write_records(context, SCHEMA, ids(24), compute_rest, 1, SHARD)
    assert seen == ids(24)[8:]
    assert len(RecordReader(tmp_path / "w", SCHEMA)) == 24


def test_wrong_number_of_records(tmp_path):
    with pytest.raises(SchemaError, match="expected 8 records in shard 0, got 7: none for image img007"):
        write_records(
            context_of(tmp_path / "w"),
            SCHEMA,
            ids(8),
            lambda w: list(Compute(ShardConfig())(w))[:-1],
            1,
            SHARD,
        )


def test_listeners_hear_of_the_images(tmp_path):
    heard = []
    progress = Progress([lambda text, share: heard.append((text, share))], quiet=True)
    write_records(context_of(tmp_path / "w", 1, progress), SCHEMA, ids(16), Compute(ShardConfig()), 1, SHARD)
    assert heard[-1] == ("toy_shards", 1.0)


def test_program_needs_no_terminal(toy, tmp_path):
    process = toy(tmp_path, "shards", images=8, execution={"workers": 1})
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert isinstance(process, subprocess.Popen)
    assert "toy_shards: 8/8 img (100%)" in error
