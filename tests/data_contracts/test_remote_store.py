"""A store behind a URL: mirrored artefact by artefact, whole or not at all, committed once, repaired from the other
side, and nothing taken from under a reader."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from data_contracts import remote as remote_module
from data_contracts.bucket import BucketObjects
from data_contracts.errors import ArtefactMissingError, CorruptArtefactError, StoreError
from data_contracts.fingerprint import seal, sha256_file
from data_contracts.garbage import find_garbage, remove
from data_contracts.manifest import FileEntry
from data_contracts.runs import RunRecord, list_runs, load_run, save_run
from data_contracts.verification import damage_of, stored_artefacts
from tests.data_contracts.contract_cases import manifest_of

FINGERPRINT = "0123456789ab"
PAIR = ("train", FINGERPRINT)
BASE = f"train/{FINGERPRINT}"


def filled(work, content=b"weights"):
    (work / "weights.pt").write_bytes(content)
    (work / "sub").mkdir()
    (work / "sub" / "notes.txt").write_text("a note")


def commit(store, content=b"weights"):
    with store.writing(*PAIR) as work:
        filled(work, content)
        return store.commit(*PAIR, work, manifest_of(*PAIR))


def keys(store):
    """Names of what lies there of the artefact, without the attempts' names; removed records do not count."""
    listed = store.remote.objects.list(BASE)
    here = (key.removeprefix(f"{BASE}/") for key, one in listed.items() if one.bytes)
    return sorted(re.sub("attempts/[0-9a-f]{32}", "attempts/UUID", key) for key in here)


def object_of(store, name):
    (key,) = [key for key in store.remote.objects.list(BASE) if key.endswith(f"/{name}")]
    return key


WHOLE = ["attempts/UUID/sub/notes.txt", "attempts/UUID/weights.pt", "manifest.json"]


def test_second_machine_downloads(machines, tmp_path):
    first = machines("first")
    commit(first)
    assert keys(first) == WHOLE
    second = machines("second")
    assert second.has(*PAIR)
    artefact = second.open(*PAIR)
    assert tmp_path / "second" in artefact.path.parents
    assert artefact.file("weights.pt").read_bytes() == b"weights"
    assert artefact.manifest == first.open(*PAIR).manifest
    assert artefact.manifest.without_places().files == manifest_files(artefact.path)
    # downloaded once: the bytes come from the cache now
    second.remote.objects.remove(object_of(second, "weights.pt"))
    assert second.open(*PAIR).file("weights.pt").read_bytes() == b"weights"


def manifest_files(path):
    names = ("sub/notes.txt", "weights.pt")
    return {n: FileEntry(sha256=sha256_file(path / n), bytes=(path / n).stat().st_size) for n in names}


def test_not_there(machines):
    store = machines("first")
    assert not store.has(*PAIR)
    with pytest.raises(ArtefactMissingError, match=r"no artefact train/0123456789ab in (memory|s3)://"):
        store.open(*PAIR)


def test_upload_that_was_killed_is_not_there_and_is_finished_later(machines, monkeypatch):
    first = machines("first")
    first.remote.check()
    with monkeypatch.context() as patch:
        patch.setattr(BucketObjects, "create", interrupt)
        with pytest.raises(KeyboardInterrupt):
            commit(first)
    second = machines("second")
    assert not second.has(*PAIR)
    with pytest.raises(ArtefactMissingError, match="no artefact"):
        second.open(*PAIR)
    first.open(*PAIR)  # what the next run does first
    assert second.open(*PAIR).file("weights.pt").read_bytes() == b"weights"


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


def test_a_machine_killed_between_commit_and_mirror_goes_on_from_what_is_there(machines, monkeypatch):
    first = machines("first")
    with first.writing(*PAIR) as work, monkeypatch.context() as patch:
        filled(work)
        whole = remote_module.Remote.commit

        def killed(self, *args):
            whole(self, *args)
            raise KeyboardInterrupt

        patch.setattr(remote_module.Remote, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            first.commit(*PAIR, work, manifest_of(*PAIR))
    assert first.open(*PAIR).manifest == machines("second").open(*PAIR).manifest
    assert keys(first) == WHOLE


def test_download_that_was_killed_is_started_again(machines, monkeypatch):
    commit(machines("first"))
    second = machines("second")
    whole = BucketObjects.stream

    def killed(self, key):
        if key.endswith("notes.txt"):
            raise KeyboardInterrupt
        return whole(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(BucketObjects, "stream", killed)
        with pytest.raises(KeyboardInterrupt):
            second.open(*PAIR)
    assert not (second.root / BASE).exists()
    assert second.open(*PAIR).file("sub/notes.txt").read_text() == "a note"


def test_damaged_cache_is_downloaded_again(machines):
    commit(machines("first"))
    second = machines("second")
    path = second.open(*PAIR).path
    (path / "weights.pt").write_bytes(b"weighTs")
    assert second.open(*PAIR).file("weights.pt").read_bytes() == b"weights"
    (path / "manifest.json").unlink()
    assert second.open(*PAIR).file("weights.pt").read_bytes() == b"weights"
    assert not list((second.root / "train" / ".work").glob("*.discarded-*"))


def test_damage_on_both_sides_is_named(machines):
    first = machines("first")
    commit(first)
    weights = object_of(first, "weights.pt")
    first.remote.objects.put(weights, b"weighTs")
    second = machines("second")
    with pytest.raises(CorruptArtefactError, match=r"weights.pt: expected sha256"):
        second.open(*PAIR)
    first.remote.objects.remove(weights)
    with pytest.raises(CorruptArtefactError, match=r"weights.pt: missing in (memory|s3)://"):
        machines("third").open(*PAIR)


def test_the_first_of_two_machines_wins_and_the_other_leaves_nothing(machines, monkeypatch):
    first, second = machines("first"), machines("second")
    with second.writing(*PAIR) as work:
        filled(work, b"of the second")
        looked = remote_module.Remote.record
        with monkeypatch.context() as patch:
            # the other commits after this one has looked, while it uploads
            answers = iter([None])
            patch.setattr(
                remote_module.Remote, "record", lambda self, *pair: next(answers, 0) or looked(self, *pair)
            )
            whole = remote_module.Remote.shard_files

            def meanwhile(self, *pair):
                if self is second.remote:
                    commit(first, b"of the first")
                return whole(self, *pair)

            patch.setattr(remote_module.Remote, "shard_files", meanwhile)
            given = second.commit(*PAIR, work, manifest_of(*PAIR))
    assert given.file("weights.pt").read_bytes() == b"of the first"
    assert machines("third").open(*PAIR).file("weights.pt").read_bytes() == b"of the first"
    assert keys(first) == WHOLE
    assert second.open(*PAIR).manifest == first.open(*PAIR).manifest


def test_of_many_machines_at_once_one_wins(machines):
    stores = [machines(f"m{number}") for number in range(5)]
    barrier = threading.Barrier(len(stores))

    def make(number):
        with stores[number].writing(*PAIR) as work:
            filled(work, b"of %d" % number)
            barrier.wait()
            return stores[number].commit(*PAIR, work, manifest_of(*PAIR)).file("weights.pt").read_bytes()

    with ThreadPoolExecutor(len(stores)) as pool:
        given = list(pool.map(make, range(len(stores))))
    assert len(set(given)) == 1
    assert keys(stores[0]) == WHOLE
    assert damage_of(stores[0], [PAIR])[PAIR] == damage_with_foreign_identity(stores[0])


def damage_with_foreign_identity(store):
    """These tests use a fingerprint that no content gives: the one thing to be named."""
    manifest = store.open(*PAIR).manifest
    where = store.remote.objects.url(f"{BASE}/manifest.json")
    return [f"{where}: its content gives the fingerprint {manifest.identity()}, not {FINGERPRINT}"]


# -- discarding -----------------------------------------------------------------------------------------------
def test_discard_removes_both_sides_and_leaves_the_data_to_its_readers(machines):
    first, reader = machines("first"), machines("reader")
    commit(first)
    record = reader.remote.record(*PAIR)
    first.discard(*PAIR)
    assert not machines("second").has(*PAIR) and not first.has(*PAIR)
    assert stored_artefacts(first) == []
    manifest = reader.remote.manifest(*PAIR, record)
    reader.remote.download(manifest, reader.root / "read", reader.root / "nothing")
    assert (reader.root / "read" / "weights.pt").read_bytes() == b"weights"


def test_what_another_has_committed_since_is_not_discarded(machines):
    first, second = machines("first"), machines("second")
    commit(first, b"damaged")
    first.open(*PAIR)
    second.open(*PAIR)
    second.discard(*PAIR)
    commit(second, b"sound")
    first.discard(*PAIR)  # decided on what it had opened
    assert first.open(*PAIR).file("weights.pt").read_bytes() == b"sound"


def test_a_mirror_of_what_was_discarded_is_replaced(machines):
    first, second = machines("first"), machines("second")
    commit(first, b"old")
    second.open(*PAIR)
    first.discard(*PAIR)
    commit(first, b"new")
    assert second.open(*PAIR).file("weights.pt").read_bytes() == b"new"


def test_attempts_that_nobody_names_go_after_a_day(machines, monkeypatch):
    store = machines("first")
    commit(store, b"old")
    store.discard(*PAIR)
    commit(store, b"new")
    store.remote.objects.put(f"{BASE}/attempts/{'0' * 32}/half", b"of a killed upload")
    assert len(keys(store)) == 6
    assert find_garbage(store).pieces == ()  # all is too young
    day = remote_module.GRACE_SECONDS
    monkeypatch.setattr(remote_module, "clock", lambda place: time.time() + day + 60)
    found = find_garbage(store)
    assert len(found.pieces) == 2 and found.bytes == len(b"old" + b"a note" + b"of a killed upload")
    assert remove(store, found) == found.bytes
    assert keys(store) == WHOLE
    assert machines("second").open(*PAIR).file("weights.pt").read_bytes() == b"new"


# -- the former layout ----------------------------------------------------------------------------------------
def committed_formerly(store, content=b"weights"):
    """As wsis 0.2.0 did: the files beside the manifest, which names no attempt."""
    folder = store.root / "formerly"
    folder.mkdir(parents=True)
    filled(folder, content)
    manifest = manifest_of(*PAIR, files=manifest_files(folder))
    for name in manifest.files:
        store.remote.objects.put(f"{BASE}/{name}", folder / name)
    store.remote.objects.put(f"{BASE}/manifest.json", seal(manifest.model_dump(mode="json")))


def test_the_former_layout_is_read_verified_and_discarded(machines):
    first = machines("first")
    committed_formerly(first)
    assert stored_artefacts(first) == [PAIR]
    assert damage_of(first, [PAIR])[PAIR] == damage_with_foreign_identity(machines("third"))
    second = machines("second")
    assert second.open(*PAIR).file("sub/notes.txt").read_text() == "a note"
    first.remote.objects.put(f"{BASE}/weights.pt", b"weighTs")
    assert f"{BASE}/weights.pt: expected sha256" in damage_of(first, [PAIR])[PAIR][0]
    second.discard(*PAIR)
    commit(second, b"new")
    assert first.open(*PAIR).file("weights.pt").read_bytes() == b"new"
    assert "weights.pt" in keys(first)  # for a day


# -- small files ----------------------------------------------------------------------------------------------
def test_run_records_are_shared(machines):
    record = RunRecord(name="demo", config_name="demo", config={}, created="now")
    save_run(machines("first"), record)
    second = machines("second")
    assert list_runs(second) == ["demo"]
    assert load_run(second, "demo") == record
    save_run(second, record.model_copy(update={"status": "completed"}))
    assert load_run(machines("first"), "demo").status == "completed"
    second.remove_text("runs/demo.json")
    assert list_runs(second) == []


def test_a_store_that_cannot_be_trusted_is_refused_before_a_stage_computes(machines, monkeypatch):
    store = machines("first")

    def deaf(self, key, data, mode):
        self.put(key, data)
        return True

    monkeypatch.setattr(BucketObjects, "_put_if", deaf)
    with pytest.raises(StoreError, match="creates an object twice"), store.writing(*PAIR):
        pytest.fail("a stage began")
    with pytest.raises(StoreError, match="creates an object twice"):
        store.write_text("runs/x.json", "{}")


def test_without_credentials_the_line_says_so(monkeypatch):
    """Where the environment has none the driver asks the machine for its role, and tells of that address alone."""
    objects = BucketObjects("memory://credentials")

    def refused(*_, **__):
        raise OSError(
            "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token\nin 2 ms"
        )

    monkeypatch.setattr(objects._driver, "get", refused)
    with pytest.raises(
        StoreError, match=r"expected credentials in the environment, .* got neither \(OSError: .* in 2 ms\)$"
    ):
        objects.read("key")
