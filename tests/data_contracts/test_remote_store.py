"""A store at an fsspec URL: mirrored artefact by artefact, whole or not at all, repaired from the other side."""

import uuid

import fsspec
import pytest

from data_contracts.errors import ArtefactMissingError, CorruptArtefactError
from data_contracts.runs import RunRecord, list_runs, load_run, save_run
from data_contracts.store import Store
from tests.data_contracts.contract_cases import manifest_of

FINGERPRINT = "0123456789ab"


@pytest.fixture
def machines(tmp_path, monkeypatch):
    """`machines(name)`: the same URL store seen from a machine of that name, each with a cache of its own."""
    url = f"memory://bucket-{uuid.uuid4().hex}/wsis"

    def store_of(name):
        monkeypatch.setenv("WSIS_CACHE", str(tmp_path / name))
        return Store(url)

    yield store_of
    memory, folder = fsspec.core.url_to_fs(url)
    if memory.exists(folder):
        memory.rm(folder, recursive=True)


def commit(store, content=b"weights"):
    with store.writing("train", FINGERPRINT) as work:
        (work / "weights.pt").write_bytes(content)
        (work / "sub").mkdir()
        (work / "sub" / "notes.txt").write_text("a note")
        return store.commit("train", FINGERPRINT, work, manifest_of("train", FINGERPRINT))


def remote_files(store):
    return {
        p.rsplit(f"train/{FINGERPRINT}/", 1)[1]
        for p in store.remote.fs.find(store.remote.url("train", FINGERPRINT))
    }


def test_second_machine_downloads(machines, tmp_path):
    first = machines("first")
    commit(first)
    assert remote_files(first) == {"weights.pt", "sub/notes.txt", "manifest.json"}
    second = machines("second")
    assert second.has("train", FINGERPRINT)
    artefact = second.open("train", FINGERPRINT)
    assert tmp_path / "second" in artefact.path.parents
    assert artefact.file("weights.pt").read_bytes() == b"weights"
    assert artefact.manifest == first.open("train", FINGERPRINT).manifest
    # downloaded once: the bytes come from the cache now
    second.remote.fs.rm(second.remote.url("train", FINGERPRINT, "weights.pt"))
    assert second.open("train", FINGERPRINT).file("weights.pt").read_bytes() == b"weights"


def test_not_there(machines):
    store = machines("first")
    assert not store.has("train", FINGERPRINT)
    with pytest.raises(ArtefactMissingError, match=r"no artefact train/0123456789ab in memory://"):
        store.open("train", FINGERPRINT)


def test_upload_that_was_killed_is_not_there_and_is_finished_later(machines, monkeypatch):
    first = machines("first")
    whole = type(first.remote.fs).put_file

    def killed(self, local, url, **kwargs):
        if url.endswith("manifest.json"):
            raise KeyboardInterrupt
        return whole(self, local, url, **kwargs)

    monkeypatch.setattr(type(first.remote.fs), "put_file", killed)
    with pytest.raises(KeyboardInterrupt):
        commit(first)
    monkeypatch.undo()
    second = machines("second")
    assert not second.has("train", FINGERPRINT)
    with pytest.raises(ArtefactMissingError, match="no artefact"):
        second.open("train", FINGERPRINT)
    first.open("train", FINGERPRINT)  # what the next run does first
    assert second.open("train", FINGERPRINT).file("weights.pt").read_bytes() == b"weights"


def test_download_that_was_killed_is_started_again(machines, monkeypatch):
    commit(machines("first"))
    second = machines("second")
    whole = type(second.remote.fs).get_file

    def killed(self, url, local, **kwargs):
        if url.endswith("notes.txt"):
            raise KeyboardInterrupt
        return whole(self, url, local, **kwargs)

    monkeypatch.setattr(type(second.remote.fs), "get_file", killed)
    with pytest.raises(KeyboardInterrupt):
        second.open("train", FINGERPRINT)
    monkeypatch.undo()
    assert not (second.root / "train" / FINGERPRINT).exists()
    assert second.open("train", FINGERPRINT).file("sub/notes.txt").read_text() == "a note"


def test_damaged_cache_is_downloaded_again(machines):
    commit(machines("first"))
    second = machines("second")
    path = second.open("train", FINGERPRINT).path
    (path / "weights.pt").write_bytes(b"weighTs")
    assert second.open("train", FINGERPRINT).file("weights.pt").read_bytes() == b"weights"
    (path / "manifest.json").unlink()
    assert second.open("train", FINGERPRINT).file("weights.pt").read_bytes() == b"weights"
    assert not list((second.root / "train" / ".work").glob("*.discarded-*"))


def test_damage_on_both_sides_is_named(machines):
    first = machines("first")
    commit(first)
    first.remote.fs.pipe_file(first.remote.url("train", FINGERPRINT, "weights.pt"), b"weighTs")
    second = machines("second")
    with pytest.raises(CorruptArtefactError, match=r"weights.pt: expected sha256"):
        second.open("train", FINGERPRINT)
    first.remote.fs.rm(first.remote.url("train", FINGERPRINT, "weights.pt"))
    with pytest.raises(CorruptArtefactError, match=r"weights.pt: missing in memory://"):
        machines("third").open("train", FINGERPRINT)


def test_the_first_of_two_machines_wins(machines):
    """There is no lock between machines: nothing committed may be overwritten by the slower one."""
    first, second = machines("first"), machines("second")
    with second.writing("train", FINGERPRINT) as work:
        (work / "weights.pt").write_bytes(b"of the second")
        commit(first, b"of the first")
        given = second.commit("train", FINGERPRINT, work, manifest_of("train", FINGERPRINT))
    assert given.file("weights.pt").read_bytes() == b"of the first"
    assert machines("third").open("train", FINGERPRINT).file("weights.pt").read_bytes() == b"of the first"


def test_discard_removes_both_sides(machines):
    first = machines("first")
    commit(first)
    first.discard("train", FINGERPRINT)
    assert not machines("second").has("train", FINGERPRINT)
    assert not first.has("train", FINGERPRINT)


def test_run_records_are_shared(machines):
    record = RunRecord(name="demo", config_name="demo", config={}, created="now")
    save_run(machines("first"), record)
    second = machines("second")
    assert list_runs(second) == ["demo"]
    assert load_run(second, "demo") == record
    save_run(second, record.model_copy(update={"status": "completed"}))
    assert load_run(machines("first"), "demo").status == "completed"
