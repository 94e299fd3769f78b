"""Shards behind a URL: made by one machine, gone on from by another, and the same bytes for all."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_contracts.record_shards import shard_files
from data_contracts.records import RecordReader, RecordWriter
from data_contracts.store import Store
from data_contracts.verification import damage_of, stored_artefacts
from tests.data_contracts.conftest import REAL_SERVERS
from tests.data_contracts.contract_cases import RAGGED, assert_same_record, manifest_of, some_records

PAIR = ("train", "0123456789ab")
BASE = "/".join(PAIR)
RECORDS = some_records(RAGGED, 14)


def writer_of(store, work, size=4):
    return RecordWriter(work, RAGGED, list(RECORDS), size, store.shared_shards(*PAIR))


def write(writer, shards, records=RECORDS):
    for shard in shards:
        writer.write(shard, [records[i] for i in writer.ids_of(shard)])


def bytes_of(root, shard):
    return {name: (root / name).read_bytes() for name in shard_files(root, shard)}


def test_another_machine_goes_on_from_the_shards_that_are_there(machines):
    first, second = machines("first"), machines("second")
    with first.writing(*PAIR) as one, second.writing(*PAIR) as two:
        (one / "failed-00002.json").write_text('{"some image": "no reason"}')
        write(writer_of(first, one), [0, 2])
        writer = writer_of(second, two, size=5)  # the first one's size holds
        assert sorted(writer.missing()) == [1, 3]
        assert bytes_of(two, 2) == bytes_of(one, 2) and "failed-00002.json" in bytes_of(two, 2)
        write(writer, [1, 3])
        artefact = second.commit(*PAIR, two, manifest_of(*PAIR))
    for image_id, record in RECORDS.items():
        assert_same_record(RecordReader(artefact.path, RAGGED)[image_id], record)
    # the shards lie where they were made, once
    listed = first.remote.objects.list(f"{BASE}/attempts")
    assert sum(key.endswith(".pack") for key in listed) == 4 and len(listed) == 4 + 1
    assert first.open(*PAIR).manifest == artefact.manifest
    third = machines("third").open(*PAIR)
    assert all(bytes_of(third.path, shard) == bytes_of(artefact.path, shard) for shard in range(4))
    assert len(damage_of(third_store := machines("third"), [PAIR])[PAIR]) == 1, (
        third_store
    )  # of the fingerprint alone


def test_who_comes_second_takes_the_first_ones_shard(machines):
    first, second = machines("first"), machines("second")
    other = some_records(RAGGED, 14, seed=1)
    with first.writing(*PAIR) as one, second.writing(*PAIR) as two:
        mine, theirs = writer_of(first, one), writer_of(second, two)
        (two / "failed-00000.json").write_text("{}")
        write(mine, [0])
        write(theirs, [0], other)
        assert bytes_of(two, 0) == bytes_of(one, 0)
        assert theirs.take(0) and not theirs.take(1)
    attempts = [key for key in first.remote.objects.list(f"{BASE}/attempts")]
    assert len(attempts) == 1


def test_a_shard_made_before_the_other_side_was_reached_is_published_later(machines, monkeypatch):
    first, second = machines("first"), machines("second")
    with first.writing(*PAIR) as one, second.writing(*PAIR) as two:
        writer = writer_of(first, one)
        with monkeypatch.context() as patch:
            patch.setattr(
                type(first.remote.objects), "put", lambda *args: (_ for _ in ()).throw(OSError("gone"))
            )
            with pytest.raises(OSError, match="gone"):
                write(writer, [3])
        writer_of(first, one)
        assert sorted(writer_of(second, two).missing()) == [0, 1, 2]


def test_a_damaged_shard_is_made_again(machines):
    first, second = machines("first"), machines("second")
    with first.writing(*PAIR) as one, second.writing(*PAIR) as two:
        write(writer_of(first, one), [0, 1])
        packs = list(first.remote.objects.list(f"{BASE}/attempts"))
        for key in packs:
            first.remote.objects.put(key, b"".join(first.remote.objects.stream(key))[:-1] + b"\0")
        writer = writer_of(second, two)
        assert sorted(writer.missing()) == [0, 1, 2, 3]
        write(writer, range(4))
        assert sorted(writer_of(first, one).missing()) == []
        artefact = second.commit(*PAIR, two, manifest_of(*PAIR))
        assert not {e.attempt for e in artefact.manifest.files.values()} & {Path(p).stem for p in packs}


def test_a_discarded_artefact_takes_its_shards_along(machines):
    first, second = machines("first"), machines("second")
    with first.writing(*PAIR) as work:
        write(writer_of(first, work), range(4))
        first.commit(*PAIR, work, manifest_of(*PAIR))
    first.discard(*PAIR)
    with second.writing(*PAIR) as work:
        assert len(writer_of(second, work).missing()) == 4


def test_machines_at_one_artefact_end_with_the_same_bytes(machines):
    """Each would write other bytes, as two GPUs do."""
    stores = [machines(f"m{number}") for number in range(4)]

    def make(number):
        records = some_records(RAGGED, 14, seed=number)
        with stores[number].writing(*PAIR) as work:
            writer = writer_of(stores[number], work)
            for shard in writer.missing():
                if not writer.take(shard):
                    write(writer, [shard], records)
            return stores[number].commit(*PAIR, work, manifest_of(*PAIR))

    with ThreadPoolExecutor(len(stores)) as pool:
        artefacts = list(pool.map(make, range(len(stores))))
    for shard in range(4):
        assert len({tuple(bytes_of(a.path, shard).items()) for a in artefacts}) == 1
    assert len({a.manifest.model_dump_json() for a in artefacts}) == 1
    packs = [key for key in stores[0].remote.objects.list(f"{BASE}/attempts") if key.endswith(".pack")]
    assert len(packs) == 4


# -- processes ------------------------------------------------------------------------------------------------
TOY = Path(__file__).parents[1] / "engine" / "toy_stages.py"


def toy(url, cache, log, **config):
    command = [sys.executable, str(TOY), url, "shards", json.dumps({**config, "execution": {"workers": 1}})]
    environment = {**os.environ, "WSIS_CACHE": str(cache)}
    with log.open("ab") as stream:
        return subprocess.Popen(command, env=environment, stderr=stream, stdout=stream)


@pytest.mark.parametrize("server", REAL_SERVERS)
def test_machines_killed_again_and_again_leave_one_whole_artefact(new_url, server, tmp_path, monkeypatch):
    url, log = new_url(server), tmp_path / "log"
    running = [toy(url, tmp_path / f"m{n}", log, delay=0.05) for n in range(2)]
    monkeypatch.setenv("WSIS_CACHE", str(tmp_path / "watching"))
    store, kills = Store(url), 0
    try:
        while kills < 3:
            shards = sum("/shards/0" in key for key in store.remote.objects.list(""))
            if shards > kills:
                running[kills % 2].send_signal(signal.SIGKILL)
                running[kills % 2].wait()
                kills += 1
                running[kills % 2 - 1] = toy(url, tmp_path / f"new{kills}", log, delay=0.05)
            time.sleep(0.05)
        assert [process.wait(300) for process in running] == [0, 0], log.read_text()
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert "are there already" in log.read_text()
    (pair,) = stored_artefacts(store)
    assert damage_of(store, [pair]) == {}
    alone = Store(tmp_path / "alone")
    assert toy(str(alone.root), tmp_path / "unused", log).wait(300) == 0, log.read_text()
    assert store.open(*pair).manifest.without_places().files == alone.open(*pair).manifest.files
