"""`wsis proposals` and `wsis contours` that are killed, run out of disk, or run twice at once."""

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.runs.own_photographs import SMALL, good_folder
from tests.runs.tiny_run import Process, done, wsis
from tests.small_disks import small_disk
from wsis.apps.contour_maps import MARK

pytestmark = pytest.mark.timeout(400)
SHARDS = ["--set", "execution.shard_images=2", "--workers", 1]
FAILED = "error: 1 of 13 photographs failed, the others are done\n  - p04x.png: expected an image"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve good photographs and, in the third of seven shards, a bad one."""
    root = good_folder(tmp_path_factory.mktemp("own") / "photos", 12)
    (root / "p04x.png").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def whole(images: Path) -> Path:
    """The store of a command that nobody disturbed."""
    store = images.parent / "whole"
    assert wsis("proposals", images, "--out", store, *SMALL, *SHARDS).code == 1
    return store


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "tiny", "400k") as folder:
        yield folder


def make_room(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)


def artefact(store: Path) -> Path:
    (manifest,) = (store / "proposals").glob("*/manifest.json")
    return manifest.parent


def data_of(folder: Path) -> dict[str, bytes]:
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    costs = ("wall_seconds", "cpu_seconds", "peak_memory_bytes", "created", "checksum")
    manifest = json.loads(files.pop("manifest.json"))
    kept = {k: v for k, v in manifest.items() if k not in costs}
    return {**files, "manifest": json.dumps(kept, sort_keys=True).encode()}


def test_killed_and_given_again_it_ends_the_same(images: Path, whole: Path, tmp_path: Path) -> None:
    """Killed after the shard with the failure; the failure is listed all the same."""
    store, arguments = tmp_path / "store", ["proposals", images, "--out", tmp_path / "store", *SMALL, *SHARDS]
    name = artefact(whole).name
    third = store / "proposals" / ".work" / name / "shard-00002.zarr"
    for _ in range(12):
        process = Process(tmp_path / "log", *arguments)
        try:
            process.wait_for(third.exists)
            code = process.end(signal.SIGKILL)
        finally:
            process.close()
        if third.exists():
            break
        assert code in (1, -signal.SIGKILL), process.text  # it was quicker than the signal: once more
        shutil.rmtree(store)
    assert code == -signal.SIGKILL
    assert (third.parent / "failed-00002.json").exists()
    again = wsis(*arguments)
    assert again.code == 1 and FAILED in again.err
    assert "of 13 images are there already" in again.err
    assert data_of(artefact(store)) == data_of(artefact(whole))


def test_disk_full_while_proposals_are_stored(images: Path, whole: Path, tiny_disk: Path) -> None:
    arguments = ["proposals", images, "--out", tiny_disk / "store", *SMALL, *SHARDS]
    (tiny_disk / "filler").write_bytes(bytes(150 << 10))
    refused = wsis(*arguments)
    assert refused.code == 1 and refused.out == ""
    assert (
        "error: no space left while writing" in refused.err
        and "Everything committed before is kept" in refused.err
    )
    assert "Traceback" not in refused.err
    assert not list((tiny_disk / "store" / "proposals").glob("*/manifest.json"))
    make_room(tiny_disk)
    again = wsis(*arguments)
    assert again.code == 1 and FAILED in again.err
    assert data_of(artefact(tiny_disk / "store")) == data_of(artefact(whole))
    assert done(wsis("verify", "--store", tiny_disk / "store")).out.endswith(" 0 problems\n")


def test_disk_full_while_coco_results_or_previews_are_written(
    images: Path, whole: Path, tiny_disk: Path
) -> None:
    """The older file stays whole, and nothing half-written is left."""
    arguments = ["proposals", images, "--out", whole, *SMALL, *SHARDS]
    (tiny_disk / "c.json").write_text("[]")
    (tiny_disk / "filler").write_bytes(bytes(360 << 10))
    refused = wsis(*arguments, "--coco", tiny_disk / "c.json")
    assert refused.code == 1 and f"error: no space left while writing {tiny_disk / 'c.json'}" in refused.err
    assert (tiny_disk / "c.json").read_text() == "[]"
    assert {p.name for p in tiny_disk.iterdir()} == {"c.json", "filler"}
    refused = wsis(*arguments, "--preview", 2, "--preview-out", tiny_disk / "drawn")
    assert refused.code == 1 and "error: no space left while writing" in refused.err
    make_room(tiny_disk)
    assert FAILED in wsis(*arguments, "--coco", tiny_disk / "c.json").err
    assert len(json.loads((tiny_disk / "c.json").read_text())) > 100


def test_disk_full_while_contour_maps_are_written(images: Path, tiny_disk: Path) -> None:
    """What is written is whole and is kept by the next call."""
    arguments = ["contours", images, "--out", tiny_disk / "maps", *SMALL, "--workers", 1]
    (tiny_disk / "filler").write_bytes(bytes(380 << 10))
    refused = wsis(*arguments)
    assert refused.code == 1 and "error: no space left while writing" in refused.err
    before = sorted((tiny_disk / "maps").iterdir())
    assert 0 < len(before) < 12
    for path in before:
        with Image.open(path) as picture:
            picture.load()
            assert MARK in picture.info
    make_room(tiny_disk)
    again = wsis(*arguments)
    assert FAILED in again.err
    assert f"{12 - len(before)} contour maps written, {len(before)} were there already" in again.out


def test_two_at_once_compute_it_once(images: Path, whole: Path, tmp_path: Path) -> None:
    """The first is stopped in the middle of its work, until the second has said for whom it waits."""
    store, name = tmp_path / "store", artefact(whole).name
    arguments = ["proposals", images, "--out", store, *SMALL, *SHARDS]
    first, second = Process(tmp_path / "log1", *arguments), None
    try:
        first.wait_for((store / "proposals" / ".work" / name).exists)
        first.popen.send_signal(signal.SIGSTOP)
        second = Process(tmp_path / "log2", *arguments)
        second.wait_for(lambda: f"{name}.lock is being written by pid {first.popen.pid} " in second.text)
        assert second.popen.poll() is None, second.text
        first.popen.send_signal(signal.SIGCONT)
        results = [first.result(), second.result()]
    finally:
        for process in filter(None, (first, second)):
            process.close()
    assert [r.code for r in results] == [1, 1]
    assert all(FAILED in r.err for r in results)
    assert ["(was there already)" in r.out for r in results] == [False, True]
    assert data_of(artefact(store)) == data_of(artefact(whole))
    assert done(wsis("verify", "--store", store)).out.endswith(" 0 problems\n")
