"""Leases: one owner at a time, whoever is stopped, killed or late; and what it keeps for the next one."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_contracts import leases
from data_contracts.bucket import BucketObjects
from data_contracts.errors import LeaseLostError
from data_contracts.leases import Lease, LeaseRecord, held
from data_contracts.objects import FolderObjects
from tests.data_contracts.conftest import REAL_SERVERS, SERVERS

BASE = "toy/abc"


def opened(where):
    return BucketObjects(where) if "://" in str(where) else FolderObjects(where)


@pytest.fixture(params=["folder", *SERVERS])
def place(request, new_url, tmp_path):
    return opened(tmp_path / "place" if request.param == "folder" else new_url(request.param))


def record_of(place):
    found = place.read(f"{BASE}/lease.json")
    return None if found is None else LeaseRecord.read(found.data, "")


def never():
    return False


def test_an_owner_renews_keeps_and_leaves_to_the_next(place, tmp_path):
    first, second = tmp_path / "a.pt", tmp_path / "b.pt"
    with held(place, BASE, first, tmp_path / "a", never, seconds=60.0) as lease:
        assert lease.epoch == 1 and record_of(place).kept is None
        for state in (b"one", b"two"):
            first.write_bytes(state)
            os.utime(first, ns=(time.time_ns(), time.time_ns()))
            lease.renew()
        lease.renew()
        (key,) = place.list(f"{BASE}/checkpoints")
        assert record_of(place).kept == key and key.startswith(f"{BASE}/checkpoints/00001-")
        assert record_of(place).renewals == 3
    with held(place, BASE, second, tmp_path / "b", never, seconds=60.0) as lease:
        assert lease.epoch == 2 and second.read_bytes() == b"two"
        lease.finished = True
    assert record_of(place) is None and not place.list(f"{BASE}/checkpoints")


def test_what_is_kept_and_damaged_is_not_taken(place, tmp_path):
    keep = tmp_path / "a.pt"
    with held(place, BASE, keep, tmp_path / "a", never, seconds=60.0) as lease:
        keep.write_bytes(b"one")
        lease.renew()
    place.put(record_of(place).kept, b"other bytes")
    with held(place, BASE, tmp_path / "b.pt", tmp_path / "b", never, seconds=60.0):
        assert not (tmp_path / "b.pt").exists()


def test_work_that_is_done_is_not_waited_for(place, tmp_path):
    with held(place, BASE, tmp_path / "a", tmp_path / "s", never, seconds=60.0):
        said, asked = [], []

        def done():
            asked.append(1)
            return len(asked) > 2

        with held(place, BASE, tmp_path / "b", tmp_path / "t", done, said.append, 60.0) as lease:
            assert lease is None
    assert len(said) == 1 and "toy/abc is being made by pid" in said[0]


def test_one_that_died_here_is_not_waited_for(place, tmp_path):
    record = leases._acquired(place, BASE, "", never, print, 600.0)
    (tmp_path / "sign").write_text(record.token)
    with held(place, BASE, tmp_path / "a", tmp_path / "sign", never, seconds=600.0) as lease:
        assert lease.epoch == 2
        with pytest.raises(LeaseLostError):
            Lease(place, BASE, record, tmp_path / "a").renew()


def test_a_damaged_record_runs_out(place, tmp_path):
    place.create(f"{BASE}/lease.json", b"{")
    with held(place, BASE, tmp_path / "a", tmp_path / "s", never, seconds=0.5) as lease:
        lease.renew()
        assert (lease.epoch, record_of(place).renewals) == (1, 1)


def test_of_many_one_owns_and_late_ones_change_nothing(place, tmp_path):
    """Owners that say nothing for longer than the lease, others that wait: what the record names never goes back."""
    seconds, owners, epochs, ended = 0.3, 5, [], threading.Event()

    def watch():
        while not ended.wait(0.01):
            if (record := record_of(place)) is not None:
                epochs.append((record.epoch, record.renewals))

    def own(number):
        record = leases._acquired(place, BASE, "", never, lambda line: None, seconds)
        keep = tmp_path / f"{number}.pt"
        lease, accepted = Lease(place, BASE, record, keep), []
        for turn in range(3):
            time.sleep(seconds * (3 if (number + turn) % 2 else 0.2))
            keep.write_bytes(b"%d" % turn)
            try:
                lease.renew()
                accepted.append((lease.epoch, turn))
            except LeaseLostError:
                break
        return record.epoch, accepted

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(owners) as pool:
        found = list(pool.map(own, range(owners)))
    ended.set()
    watcher.join()
    assert sorted(epoch for epoch, _ in found) == list(range(1, owners + 1))
    assert epochs == sorted(epochs)
    last = record_of(place)
    assert last.epoch == owners
    if last.kept is not None:
        assert f"/{max(e for _, some in found for e, _ in some):05d}-" in last.kept


OWNER = """
import sys, time
from pathlib import Path
from data_contracts.errors import LeaseLostError
from data_contracts.leases import held
from tests.data_contracts.test_leases import BASE, opened
where, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
folder = Path(sys.argv[4]) / name
folder.mkdir()
place = opened(where if "://" in where else Path(where))
def waits(line):
    print("waits", flush=True)
with held(place, BASE, folder / "keep", folder / "sign", lambda: False, waits, seconds) as lease:
    before = (folder / "keep").read_text() if (folder / "keep").exists() else "nothing"
    (folder / "new").write_text(name)
    (folder / "new").rename(folder / "keep")
    lease.renew()
    print("has", lease.epoch, before, flush=True)
    try:
        while True:
            lease.check()
            time.sleep(0.02)
    except LeaseLostError as error:
        print("lost", error, flush=True)
"""


@pytest.mark.parametrize("kind", ["folder", *REAL_SERVERS])
@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_process_that_is_stopped_or_killed_is_succeeded_and_overwrites_nothing(
    kind, how, new_url, tmp_path
):
    where = str(tmp_path / "place") if kind == "folder" else new_url(kind)
    started = []

    def start(name):
        command = [sys.executable, "-c", OWNER, where, name, "10.0", str(tmp_path)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
        return started[-1]

    try:
        first = start("first")
        assert first.stdout.readline() == "has 1 nothing\n"
        second = start("second")
        assert second.stdout.readline() == "waits\n"
        time.sleep(12.0)  # longer than the lease: it is renewed
        assert second.poll() is None and record_of(opened_at(where)).epoch == 1
        first.send_signal(how)
        assert second.stdout.readline() == "has 2 first\n"
        if how == signal.SIGSTOP:
            first.send_signal(signal.SIGCONT)
            assert first.stdout.readline().startswith("lost toy/abc: this process said nothing for 10 s")
            assert first.wait(60) == 0
        record = record_of(opened_at(where))
        assert record.epoch == 2 and "/00002-" in record.kept
        assert b"".join(opened_at(where).stream(record.kept)) == b"second"
    finally:
        for process in started:
            process.kill()
            process.communicate()


def opened_at(where):
    return opened(where if "://" in where else Path(where))
