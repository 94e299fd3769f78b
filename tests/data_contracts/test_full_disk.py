"""A full disk: one error that says where, and everything committed before is still whole."""

import errno
import os
import subprocess

import numpy as np
import pytest
import torch

from data_contracts.atomic import write_atomic
from data_contracts.errors import StoreFullError
from data_contracts.records import RecordWriter
from data_contracts.schemas import Field, Schema
from data_contracts.store import Store
from tests.data_contracts.contract_cases import assert_same_record, manifest_of
from tests.small_disks import small_disk

BLOB = Schema("blob", 1, {"data": Field("uint8", ("N",), "bytes that do not compress")})
FINGERPRINT = "0123456789ab"


@pytest.fixture
def tiny_disk(tmp_path):
    with small_disk(tmp_path / "tiny", "1m") as folder:
        yield folder


def blob(kilobytes, seed=0):
    return {"data": np.random.default_rng(seed).integers(0, 256, kilobytes << 10).astype(np.uint8)}


def test_shards_committed_before_the_disk_was_full_are_kept(tiny_disk):
    store = Store(tiny_disk / "store")
    with store.writing("proposals", FINGERPRINT) as work:
        writer = RecordWriter(work, BLOB, [str(i) for i in range(4)], shard_size=1)
        with pytest.raises(StoreFullError, match=r"no space left while writing .*shard-0000\d.zarr.*kept"):
            for shard in range(4):
                writer.write(shard, [blob(300, shard)])
        assert writer.missing() == [3]
    # room is made, and the stage goes on from the first missing shard
    subprocess.run(["mount", "-o", "remount,size=4m", str(tiny_disk)], check=True)
    with store.writing("proposals", FINGERPRINT) as work:
        writer = RecordWriter(work, BLOB, [str(i) for i in range(4)], shard_size=1)
        assert writer.missing() == [3]
        writer.write(3, [blob(300, 3)])
        store.commit("proposals", FINGERPRINT, work, manifest_of("proposals", FINGERPRINT))
    reader = store.open("proposals", FINGERPRINT).records(BLOB)
    for i in range(4):
        assert_same_record(reader[str(i)], blob(300, i))


def test_file_that_does_not_fit_leaves_the_old_one(tiny_disk):
    write_atomic(tiny_disk / "run.json", b"old")
    with pytest.raises(StoreFullError, match=r"no space left while writing .*run.json"):
        write_atomic(tiny_disk / "run.json", bytes(2 << 20))
    assert (tiny_disk / "run.json").read_bytes() == b"old"
    assert [p.name for p in tiny_disk.iterdir()] == ["run.json"]


def test_a_checkpoint_that_does_not_fit_leaves_the_old_one(tiny_disk):
    """torch.save makes a RuntimeError of a full disk."""
    path, weights = tiny_disk / "checkpoint.pt", torch.zeros(400_000)
    write_atomic(path, b"old")
    with pytest.raises(StoreFullError, match=r"no space left while writing .*checkpoint\.pt\. Everything"):
        write_atomic(path, lambda stream: torch.save({"weights": weights}, stream))
    assert path.read_bytes() == b"old"


def test_disk_full_from_the_first_byte(tiny_disk):
    (tiny_disk / "filler").write_bytes(bytes((1 << 20) - (4 << 10)))
    store = Store(tiny_disk / "store")
    with (
        pytest.raises(StoreFullError, match="no space left while writing"),
        store.writing("train", FINGERPRINT) as w,
    ):
        write_atomic(w / "weights.pt", bytes(100_000))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_commit_on_a_full_disk(code, tmp_path, monkeypatch):
    store = Store(tmp_path)
    whole = os.fsync

    def full(handle):
        raise OSError(code, os.strerror(code))

    with store.writing("train", FINGERPRINT) as work:
        (work / "weights.pt").write_bytes(b"w")
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StoreFullError, match="free some space and give the same command again"):
            store.commit("train", FINGERPRINT, work, manifest_of("train", FINGERPRINT))
        monkeypatch.setattr(os, "fsync", whole)
    assert not store.has("train", FINGERPRINT)
    with store.writing("train", FINGERPRINT) as work:
        assert (work / "weights.pt").read_bytes() == b"w"
        store.commit("train", FINGERPRINT, work, manifest_of("train", FINGERPRINT))
    assert sorted(store.open("train", FINGERPRINT).manifest.files) == ["weights.pt"]


def test_other_errors_keep_their_name(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "no folder" / "x", b"")
