"""A damaged store: found, named, refused, repaired. And two processes at the same run."""

import re
import shutil
import signal
from pathlib import Path

import pytest

from tests.runs.tiny_run import (
    RUN,
    TINY,
    Process,
    computed,
    copy_of,
    done,
    fingerprints,
    manifest_of,
    record_of,
    wsis,
)

pytestmark = pytest.mark.timeout(400)

# A node of every contract, one of its files, and a node that reads it (None: only the results do).
VICTIMS = [
    ("dataset", "shard-00001.zarr/encoded/c/0", "prm_seeds"),
    ("ground_truth", "shard-00001.zarr/mask_bytes/c/0", "evaluation.prm_baseline"),
    ("prm_classifier", "weights.pt", "prm_seeds"),
    ("proposals", "shard-00002.zarr/superpixels/c/0", "pseudo_labels@1"),
    ("prm_seeds", "shard-00000.zarr/zarr.json", "conditional@1"),
    ("prm_baseline", "records.json", "evaluation.prm_baseline"),
    ("conditional@1", "curve.json", "pseudo_labels@1"),
    ("pseudo_labels@1", "shard-00000.zarr/index/c/0/0", "prediction@1"),
    ("prediction@1", "weights.pth", "predictions.val@1"),
    ("predictions.val@1", "shard-00003.zarr/index/c/0/0", "evaluation.prediction@1"),
    ("evaluation.prediction@2", "metrics.json", None),
]


def path_in(store: Path, key: str, name: str) -> Path:
    return store / fingerprints(store)[key] / name


def flip(path: Path) -> None:
    """One bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES = {
    "flip": (flip, "expected sha256"),
    "delete": (Path.unlink, "missing"),
    "truncate": (truncate, "bytes"),
}


@pytest.fixture(scope="module")
def scratch(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that every test leaves as it found it."""
    return copy_of(tiny_store, tmp_path_factory.mktemp("scratch") / "store")


def stage_command(key: str, store: Path, *more: str) -> list[object]:
    name, _, iteration = key.partition("@")
    where = ["--iteration", iteration] if iteration else []
    return ["stage", name, "--run", RUN, "--store", store, *where, *more]


def test_every_contract_has_a_victim(tiny_store: Path) -> None:
    named = {manifest_of(tiny_store, key).contract for key in fingerprints(tiny_store)}
    assert named == {manifest_of(tiny_store, key).contract for key, _, _ in VICTIMS}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("key", "name", "reader"), VICTIMS, ids=[v[0] for v in VICTIMS])
def test_damage_is_named_and_readers_refuse(scratch: Path, key, name, reader, damage) -> None:
    path = path_in(scratch, key, name)
    intact = path.read_bytes()
    harm, words = DAMAGES[damage]
    harm(path)
    try:
        found = wsis("verify", RUN, "--store", scratch)
        assert found.code == 1
        lines = found.out.splitlines()
        assert lines[0].startswith(f"{path}: ") and words in lines[0]
        assert ": Run the stage again to repair it: wsis stage" in lines[1] and f"--run {RUN}" in lines[1]
        assert lines[2:] == [f"{len(fingerprints(scratch))} artefacts checked, 1 problem"]
        arguments = ["results", RUN, "--store", scratch]
        refused = wsis(*(arguments if reader is None else stage_command(reader, scratch, "--force")))
        assert refused.code == 1
        assert refused.err.startswith("error: artefact ") and str(path) in refused.err
        assert "Run the stage again to repair it: wsis stage" in refused.err
    finally:
        path.write_bytes(intact)
    assert done(wsis("verify", RUN, "--store", scratch)).out.endswith(" 0 problems\n")


@pytest.mark.parametrize("key", ["dataset", "prm_seeds", "pseudo_labels@1", "predictions.val@1"])
def test_running_the_damaged_stage_again_repairs(scratch: Path, key: str) -> None:
    name = next(name for victim, name, _ in VICTIMS if victim == key)
    path = path_in(scratch, key, name)
    intact = path.read_bytes()
    flip(path)
    result = done(wsis(*stage_command(key, scratch)))
    assert f"{key}: computed: " in result.out
    assert "is set aside and computed again" in result.err and str(path) in result.err
    assert path.read_bytes() == intact
    assert done(wsis("verify", "--store", scratch)).out.endswith(" 0 problems\n")


def test_a_damaged_manifest_is_named_and_repaired(scratch: Path) -> None:
    path = path_in(scratch, "prm_seeds", "manifest.json")
    flip(path)
    found = wsis("verify", "--store", scratch)
    assert found.code == 1 and str(path) in found.out
    assert wsis("show", RUN, "prm_seeds", "--store", scratch).code == 1
    assert "missing or damaged: wsis verify" in done(wsis("show", RUN, "--store", scratch)).out
    assert "prm_seeds: computed" in done(wsis(*stage_command("prm_seeds", scratch))).out
    assert done(wsis("verify", "--store", scratch)).out.endswith(" 0 problems\n")


def test_a_file_that_nobody_wrote_is_named(scratch: Path) -> None:
    path = path_in(scratch, "prm_seeds", "extra.txt")
    path.write_text("x")
    found = wsis("verify", "--store", scratch)
    path.unlink()
    assert found.code == 1 and f"{path}: not in the manifest" in found.out


def test_run_repairs_everything_by_itself(own_store: Path) -> None:
    """A flipped byte in records, a lost weights file, and a damaged run record, at once."""
    expected = fingerprints(own_store)
    results = done(wsis("results", RUN, "--json", "--store", own_store)).out
    damaged = ["proposals", "prm_baseline", "predictions.train@1", "evaluation.prediction@2"]
    for key, (harm, _) in zip(damaged, [*DAMAGES.values(), DAMAGES["flip"]], strict=True):
        name = "metrics.json" if key.startswith("evaluation") else "records.json"
        harm(path_in(own_store, key, name))
    shutil.rmtree(own_store / expected["pseudo_labels@2"])
    flip(own_store / "runs" / f"{RUN}.json")
    found = wsis("verify", "--store", own_store)
    assert found.code == 1 and f"runs/{RUN}.json is damaged" in found.out
    assert re.search(rf"^{RUN} +damaged ", done(wsis("runs", "--store", own_store)).out, re.MULTILINE)
    assert wsis("show", RUN, "--store", own_store).code == 1

    result = done(wsis("run", TINY, "--store", own_store))
    assert f"runs/{RUN}.json is damaged" in result.err
    assert computed(own_store) == {*damaged, "pseudo_labels@2"}
    assert fingerprints(own_store) == expected
    assert done(wsis("results", RUN, "--json", "--store", own_store)).out == results
    assert done(wsis("verify", "--store", own_store)).out.endswith(" 0 problems\n")
    assert [p for p in own_store.glob("*/.work/*") if p.suffix != ".lock"] == []


def test_two_processes_at_one_run_compute_each_stage_once(own_store: Path, tmp_path: Path) -> None:
    """The first is stopped in the middle of a stage, until the second has said for whom it waits."""
    nodes = fingerprints(own_store)
    lost = ["proposals", "prm_seeds", "pseudo_labels@1", "predictions.val@2"]
    for key in lost:
        shutil.rmtree(own_store / nodes[key])
    stage, fingerprint = nodes["proposals"].split("/")
    work = own_store / stage / ".work" / fingerprint
    arguments = ["run", TINY, "--store", own_store]
    first = Process(tmp_path / "log1", *arguments)
    second = None
    try:
        first.wait_for(work.exists)
        first.popen.send_signal(signal.SIGSTOP)
        second = Process(tmp_path / "log2", *arguments)
        second.wait_for(
            lambda: f"{fingerprint}.lock is being written by pid {first.popen.pid} " in second.text
        )
        assert second.popen.poll() is None, second.text
        first.popen.send_signal(signal.SIGCONT)
        results = [done(first.result()), done(second.result())]
    finally:
        for process in filter(None, (first, second)):
            process.close()
    for key, artefact in nodes.items():
        committed = [r.err.count(f"{key}: committed {artefact}") for r in results]
        reused = [r.err.count(f"{key}: reused {artefact}") for r in results]
        assert sum(committed) == (1 if key in lost else 0), (key, committed)
        assert [a + b for a, b in zip(committed, reused, strict=True)] == [1, 1], (key, committed, reused)
    assert record_of(own_store).status == "completed"
    assert fingerprints(own_store) == nodes
    assert results[0].out == results[1].out
    assert done(wsis("verify", "--store", own_store)).out.endswith(" 0 problems\n")
