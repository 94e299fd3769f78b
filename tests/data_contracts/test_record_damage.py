"""Damage to records is found on read, without a look at the manifest, and never read as data."""

import shutil

import numpy as np
import pytest

from data_contracts.errors import CorruptArtefactError
from data_contracts.record_shards import shard_name
from data_contracts.records import RecordReader, RecordWriter
from tests.data_contracts.contract_cases import RAGGED, assert_same_record, good, some_records, write


def read_all(root, schema):
    for _ in RecordReader(root, schema):
        pass


def test_every_flipped_byte_of_every_chunk_is_found(tmp_path):
    """By crc32c alone: no manifest is looked at here."""
    write(tmp_path, RAGGED, some_records(RAGGED, 3, seed=1))
    rng = np.random.default_rng(0)
    chunks = [p for p in tmp_path.rglob("c/*") if p.is_file()] + list(tmp_path.rglob("c/*/0"))
    assert len(chunks) == len(RAGGED.fields) + 1
    for chunk in chunks:
        whole = chunk.read_bytes()
        for position in range(0, len(whole), max(1, len(whole) // 40)):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << int(rng.integers(8))
            chunk.write_bytes(damaged)
            with pytest.raises(CorruptArtefactError, match="expected crc32c") as caught:
                read_all(tmp_path, RAGGED)
            assert caught.value.files == (str(chunk),)
            assert str(chunk) in str(caught.value)
        chunk.write_bytes(whole)
    read_all(tmp_path, RAGGED)


@pytest.mark.parametrize("length", [0, 1, 3, 4, 10])
def test_cut_chunk(length, tmp_path):
    write(tmp_path, RAGGED, some_records(RAGGED, 3, seed=1))
    chunk = tmp_path / shard_name(0) / "maps" / "c" / "0"
    chunk.write_bytes(chunk.read_bytes()[:length])
    with pytest.raises(CorruptArtefactError, match=r"maps/c/0 is damaged"):
        read_all(tmp_path, RAGGED)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("part", ["scores/c/0", "index/c/0/0"])
def test_missing_chunk_is_not_read_as_zeros(value, part, tmp_path):
    """zarr leaves out chunks of zeros when it writes and gives zeros for missing ones when it reads."""
    record = {**good(), "scores": np.full(2, value, np.float32)}
    reader = write(tmp_path, RAGGED, {"a": record})
    assert_same_record(reader["a"], record)
    chunk = tmp_path / shard_name(0) / part
    chunk.unlink()
    with pytest.raises(CorruptArtefactError, match=rf"{part} is damaged: No such file"):
        RecordReader(tmp_path, RAGGED)["a"]


def test_missing_shard_and_field(tmp_path):
    write(tmp_path, RAGGED, some_records(RAGGED, 3))
    shutil.rmtree(tmp_path / shard_name(0) / "size")
    with pytest.raises(CorruptArtefactError, match=r"size/zarr.json is damaged"):
        read_all(tmp_path, RAGGED)
    shutil.rmtree(tmp_path / shard_name(0))
    with pytest.raises(CorruptArtefactError, match=r"shard-00000.zarr/.* is damaged"):
        read_all(tmp_path, RAGGED)


def test_damaged_array_metadata_never_gives_other_values(tmp_path):
    """zarr.json has no checksum of its own (the manifest has): a flip is an error or changes nothing."""
    records = some_records(RAGGED, 3, seed=1)
    write(tmp_path, RAGGED, records)
    metadata = tmp_path / shard_name(0) / "maps" / "zarr.json"
    whole, found = metadata.read_bytes(), 0
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        metadata.write_bytes(damaged)
        try:
            reader = RecordReader(tmp_path, RAGGED)
            for image_id, record in records.items():
                assert_same_record(reader[image_id], record)
        except CorruptArtefactError:
            found += 1
    assert found > len(whole) // 4


@pytest.mark.parametrize("position", range(0, 120, 7))
def test_damaged_list_of_records(position, tmp_path):
    write(tmp_path, RAGGED, some_records(RAGGED, 3))
    path = tmp_path / "records.json"
    damaged = bytearray(path.read_bytes())
    damaged[position] ^= 4
    path.write_bytes(damaged)
    with pytest.raises(CorruptArtefactError, match=r"records.json is damaged"):
        RecordReader(tmp_path, RAGGED)
    with pytest.raises(CorruptArtefactError, match=r"records.json is damaged"):
        RecordWriter(tmp_path, RAGGED, ["a"])


def test_missing_list_of_records(tmp_path):
    with pytest.raises(CorruptArtefactError, match=r"records.json cannot be read: No such file"):
        RecordReader(tmp_path, RAGGED)
