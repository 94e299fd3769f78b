"""What commits stand on, on a folder and on object stores: one creates, one replaces, and all see who."""

import errno
import json
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_contracts import objects
from data_contracts.bucket import BucketObjects
from data_contracts.errors import ConfigError, StoreError
from data_contracts.objects import FolderObjects, probe
from tests.data_contracts.conftest import REAL_SERVERS, SERVERS

PLACES = ["folder", *SERVERS]
SHARED = ["folder", *REAL_SERVERS]  # seen by other processes too


@pytest.fixture
def place_of(new_url, tmp_path, monkeypatch):
    """`place_of(kind)`: an empty place of that kind."""

    def place(kind):
        if kind == "folder":
            monkeypatch.setattr("os.fsync", lambda handle: None)  # hundreds of them say nothing here
            return FolderObjects(tmp_path / uuid.uuid4().hex)
        return BucketObjects(new_url(kind))

    return place


def content(place, key):
    found = place.read(key)
    return None if found is None else found.data


KEYS = st.sampled_from(["a", "b/c", "b/d.json"])
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["create", "read", "replace", "stale", "delete", "write", "remove"]),
        KEYS,
        st.binary(min_size=1, max_size=9),
    ),
    max_size=14,
)


@pytest.mark.parametrize("kind", PLACES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS)
def test_one_writer_sees_what_a_dictionary_would_give(place_of, kind, operations):
    place = _fresh(place_of, kind)
    model: dict[str, bytes] = {}
    for operation, key, data in operations:
        found = place.read(key)
        assert (None if found is None else found.data) == model.get(key)
        if operation == "create":
            assert place.create(key, data) == (model.setdefault(key, data) == data)
        elif operation == "write":
            place.write(key, data)
            model[key] = data
        elif operation == "remove":
            place.remove(key)
            model.pop(key, None)
        elif operation == "replace" and found is not None:
            assert place.replace(key, data, found.version)
            model[key] = data
        elif operation == "delete" and found is not None:
            assert place.delete(key, found.version)
            del model[key]
        elif operation == "stale" and found is not None:
            other = found.data + b"another"
            place.write(key, other)
            assert not place.replace(key, data, found.version) and not place.delete(key, found.version)
            model[key] = other
        assert {k for k, one in place.list("").items() if one.bytes} == set(model)
    assert {key.split("/")[0] for key in model if "/" in key} <= set(place.folders(""))


_kept: dict[str, object] = {}


def _fresh(place_of, kind):
    """A place by itself for each example; of a server an empty part of one bucket."""
    if kind != "folder" and kind in _kept:
        return BucketObjects(f"{_kept[kind]}/{uuid.uuid4().hex}")
    place = place_of(kind)
    if kind != "folder":
        _kept[kind] = place.location
    return place


@pytest.mark.parametrize("kind", PLACES)
def test_data_comes_back_and_is_listed(place_of, kind, tmp_path):
    place = place_of(kind)
    source = tmp_path / "source"
    for size in (0, 1, 3_000_000):
        source.write_bytes(bytes(range(256)) * (size // 256 + 1))
        with source.open("r+b") as stream:
            stream.truncate(size)
        place.put("x/y/file", source)
        place.put("x/y/pieces", (source.read_bytes()[i : i + 1_000_000] for i in range(0, size, 1_000_000)))
        for key in ("x/y/file", "x/y/pieces"):
            assert b"".join(place.stream(key)) == source.read_bytes()
            assert place.list("x")[key].bytes == size
    assert abs(place.list("x/y")["x/y/file"].modified - objects.clock(place)) < 60
    assert place.list("x/yy") == {} and place.list("nowhere") == {} and place.folders("nowhere") == []
    assert place.folders("") in (["x"], [".probe", "x"]) and place.folders("x") == ["y"]
    with pytest.raises(FileNotFoundError):
        list(place.stream("x/nothing"))


@pytest.mark.parametrize("kind", PLACES)
def test_of_many_threads_one_creates(place_of, kind):
    assert_one_creates(place_of(kind))


def assert_one_creates(place):
    keys, writers = [f"k/{i}" for i in range(15)], [f"writer {i}".encode() for i in range(8)]
    barrier = threading.Barrier(len(writers))

    def write(name):
        barrier.wait()
        return [place.create(key, name) for key in keys]

    with ThreadPoolExecutor(len(writers)) as pool:
        won = list(pool.map(write, writers))
    for number, key in enumerate(keys):
        winners = [name for name, results in zip(writers, won, strict=True) if results[number]]
        assert winners == [content(place, key)]


@pytest.mark.parametrize("kind", PLACES)
def test_what_threads_add_is_never_lost(place_of, kind):
    """Replacing what one has read, and creating again what another has removed: no addition may disappear."""
    place = place_of(kind)
    threads, each = 5, 6

    def add(worker):
        done = 0
        while done < each:
            mine = f" {worker}.{done}".encode()
            found = place.read("sum")
            if found is None:
                done += place.create("sum", mine)
            elif done % 3 == 2 and place.delete("sum", found.version):
                taken.append(found.data)
            else:
                done += place.replace("sum", found.data + mine, found.version)

    taken: list[bytes] = []
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(add, range(threads)))
    there = (b"".join(set(taken)) + (content(place, "sum") or b"")).split()
    assert sorted(set(there)) == sorted(f"{w}.{d}".encode() for w in range(threads) for d in range(each))


RACE = """
import json, sys
from data_contracts.bucket import BucketObjects
from data_contracts.objects import FolderObjects
from pathlib import Path
where, name, keys = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
place = BucketObjects(where) if "://" in where else FolderObjects(Path(where))
print("ready", flush=True)
sys.stdin.readline()
won = []
for key in range(keys):
    if place.create(f"k/{key}", name):
        won.append(key)
added = 0
while added < 10:
    found = place.read("sum")
    if found is None:
        added += place.create("sum", name)
    else:
        added += place.replace("sum", found.data + b" " + name + b"-%d" % added, found.version)
print(json.dumps(won), flush=True)
"""


@pytest.mark.parametrize("kind", SHARED)
def test_of_many_processes_one_creates_and_none_loses_an_addition(place_of, kind):
    place, keys, names = place_of(kind), 20, ["p0", "p1", "p2", "p3"]
    where = str(place.root) if kind == "folder" else place.location
    command = [sys.executable, "-c", RACE, where]
    started = [
        subprocess.Popen(
            [*command, name, str(keys)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in names
    ]
    try:
        assert [process.stdout.readline() for process in started] == ["ready\n"] * len(names)
        for process in started:
            process.stdin.write("go\n")
            process.stdin.flush()
        won = {n: json.loads(p.communicate(timeout=300)[0]) for n, p in zip(names, started, strict=True)}
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert sorted(key for some in won.values() for key in some) == list(range(keys))
    for name, some in won.items():
        assert all(content(place, f"k/{key}") == name.encode() for key in some)
    added = content(place, "sum").split()
    assert len(added) == len(set(added)) == 10 * len(names)


def test_a_driver_that_repeats_a_request_has_won_all_the_same(place_of, monkeypatch):
    place = place_of("memory")
    put = place._driver.put

    def repeated(*args, **kwargs):
        put(*args, **kwargs)
        return put(*args, **kwargs)  # the first answer was lost

    monkeypatch.setattr(place._driver, "put", repeated)
    assert place.create("a", b"mine")
    assert place.replace("a", b"mine again", place.read("a").version)
    assert not place.create("a", b"another's")
    assert content(place, "a") == b"mine again"


class _Deaf(BucketObjects):
    """A server that knows nothing of some conditions."""

    def __init__(self, location, ignored):
        super().__init__(location)
        self._ignored = ignored

    def _put_if(self, key, data, mode):
        if self._ignored(mode):
            self.put(key, data)
            return True
        return super()._put_if(key, data, mode)


@pytest.mark.parametrize(
    ("ignored", "said"),
    [
        (lambda mode: True, "creates an object twice"),
        (lambda mode: isinstance(mode, dict), "replaces an object that another has changed"),
    ],
)
def test_a_place_that_ignores_conditions_is_refused_in_one_line(new_url, ignored, said):
    url = new_url("memory")
    for _ in range(2):
        with pytest.raises(StoreError, match=f"{said}.*needs a server with conditional writes") as caught:
            probe(_Deaf(url, ignored), url)
        assert "\n" not in str(caught.value)
    assert not {k: v for k, v in BucketObjects(url).list("").items() if v.bytes}


@pytest.mark.parametrize("kind", PLACES)
def test_a_sound_place_passes_and_is_asked_once(place_of, kind, monkeypatch):
    place, name = place_of(kind), uuid.uuid4().hex
    probe(place, name)
    monkeypatch.setattr(type(place), "create", lambda *args: pytest.fail("asked again"))
    probe(place, name)
    assert not {k: v for k, v in place.list("").items() if v.bytes}


@pytest.mark.parametrize("url", ["foo://x", "foo::s3://x", "sftp://host/x", "http://host/x"])
def test_other_protocols_are_refused_in_one_line(url):
    with pytest.raises(ConfigError, match=r"which of two writers wins.*unknown protocol") as caught:
        BucketObjects(url)
    assert "\n" not in str(caught.value)


HOLDS_THE_LOCK = """
import sys, time
from pathlib import Path
from data_contracts.locks import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def stopped_holder(tmp_path):
    """A process that holds the record lock of `tmp_path` and does not go on."""
    command = [sys.executable, "-c", HOLDS_THE_LOCK, str(tmp_path / objects._LOCK)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        yield holder
        holder.kill()


def test_a_stopped_process_holds_up_nobody_who_creates(stopped_holder, tmp_path):
    place = FolderObjects(tmp_path)
    assert place.create("shards/00001.json", b"mine")
    assert not place.create("shards/00001.json", b"other") and place.create("shards/00001.json", b"mine")
    assert content(place, "shards/00001.json") == b"mine"
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["00001.json"]


def test_who_must_wait_for_a_stopped_process_does_so_for_a_while(stopped_holder, tmp_path, monkeypatch):
    place = FolderObjects(tmp_path)
    assert place.create("runs/a.json", b"before")
    monkeypatch.setattr(objects, "_ALONE_SECONDS", 0.3)
    said = rf"pid {stopped_holder.pid} on .*, for 0 s, where it takes less than one: expected a process"
    with pytest.raises(StoreError, match=said):
        place.replace("runs/a.json", b"after", place.read("runs/a.json").version)
    assert content(place, "runs/a.json") == b"before"


def test_a_file_system_without_hard_links_has_the_same_conditions(place_of, monkeypatch):
    def no_links(source, target):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr("os.link", no_links)
    assert_one_creates(place_of("folder"))


def test_a_place_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    def broken(source, target):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.link", broken)
    with pytest.raises(StoreError, match=r"^cannot write .*a\.json: Input/output error$"):
        FolderObjects(tmp_path).create("a.json", b"x")
