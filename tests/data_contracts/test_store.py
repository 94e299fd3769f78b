"""The store: an artefact is there whole or not at all, every damaged file is named, nothing is overwritten."""

import json
import threading

import numpy as np
import pytest

from data_contracts.errors import ArtefactMissingError, CorruptArtefactError, StoreError
from data_contracts.fingerprint import seal, unseal
from data_contracts.manifest import damaged_files
from data_contracts.paths import safe_relative
from data_contracts.records import RecordWriter
from data_contracts.runs import RunRecord, list_runs, load_run, save_run
from data_contracts.schemas import DETECTIONS
from data_contracts.store import Store
from tests.data_contracts.contract_cases import assert_same_record, manifest_of, random_record

FINGERPRINT = "0123456789ab"


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def commit(store, stage="train", fingerprint=FINGERPRINT, content=b"weights", **changes):
    with store.writing(stage, fingerprint) as work:
        (work / "weights.pt").write_bytes(content)
        (work / "sub").mkdir()
        (work / "sub" / "notes.txt").write_text("a note")
        return store.commit(stage, fingerprint, work, manifest_of(stage, fingerprint, **changes))


def test_commit_and_open(store, tmp_path):
    assert not store.has("train", FINGERPRINT)
    counts = {"images": 3, "share": 0.5, "names": ["a"], "per_class": {"cat": 0.25}}
    committed = commit(store, counts=counts)
    assert store.has("train", FINGERPRINT)
    assert committed.path == tmp_path / "store" / "train" / FINGERPRINT
    opened = store.open("train", FINGERPRINT)
    assert opened.manifest == committed.manifest
    assert opened.fingerprint == FINGERPRINT
    assert opened.manifest.counts == counts
    assert {n: f.bytes for n, f in opened.manifest.files.items()} == {"weights.pt": 7, "sub/notes.txt": 6}
    assert opened.file("weights.pt").read_bytes() == b"weights"
    assert store.stages() == ["train"]
    # nothing is left of the work folder but the lock
    assert [p.name for p in (tmp_path / "store" / "train" / ".work").iterdir()] == [f"{FINGERPRINT}.lock"]


def test_what_is_not_committed_is_not_there(store):
    with pytest.raises(ArtefactMissingError, match="no artefact train/0123456789ab in"):
        store.open("train", FINGERPRINT)
    with store.writing("train", FINGERPRINT) as work:
        (work / "weights.pt").write_bytes(b"half")
        assert not store.has("train", FINGERPRINT)
        with pytest.raises(ArtefactMissingError, match="no artefact train/0123456789ab in"):
            store.open("train", FINGERPRINT)


def test_file_that_the_manifest_does_not_list(store):
    artefact = commit(store)
    with pytest.raises(
        ArtefactMissingError, match=r"holds no 'other.pt'; it holds \['sub/notes.txt', 'weights.pt'\]"
    ):
        artefact.file("other.pt")


def test_work_folder_survives(store):
    with pytest.raises(ZeroDivisionError), store.writing("train", FINGERPRINT) as work:
        (work / "half").write_text("x")
        1 / 0  # noqa: B018
    with store.writing("train", FINGERPRINT) as again:
        assert again == work
        assert (again / "half").read_text() == "x"


def test_what_killed_writers_left_is_not_committed(store):
    with store.writing("train", FINGERPRINT) as work:
        (work / "weights.pt").write_bytes(b"w")
        (work / ".checkpoint.pt.4711-1.tmp").write_bytes(b"half a checkpoint")
        (work / ".shard-00003.zarr.tmp").mkdir()
        (work / ".shard-00003.zarr.tmp" / "zarr.json").write_text("{")
        (work / "manifest.json").write_text("of a commit that was killed before its rename")
        artefact = store.commit("train", FINGERPRINT, work, manifest_of("train", FINGERPRINT))
    assert sorted(artefact.manifest.files) == ["weights.pt"]
    assert sorted(p.name for p in artefact.path.iterdir()) == ["manifest.json", "weights.pt"]
    assert store.open("train", FINGERPRINT).fingerprint == FINGERPRINT


def test_a_file_called_manifest_in_a_folder_is_a_file_like_any_other(store):
    with store.writing("train", FINGERPRINT) as work:
        (work / "sub").mkdir()
        (work / "sub" / "manifest.json").write_text("{}")
        store.commit("train", FINGERPRINT, work, manifest_of("train", FINGERPRINT))
    assert sorted(store.open("train", FINGERPRINT).manifest.files) == ["sub/manifest.json"]


def test_nothing_is_overwritten(store):
    commit(store, content=b"first")
    with pytest.raises(StoreError, match="exists; artefacts are never overwritten"):
        commit(store, content=b"second")
    assert store.open("train", FINGERPRINT).file("weights.pt").read_bytes() == b"first"


def test_discard_and_recompute(store, tmp_path):
    first = commit(store, content=b"first")
    store.discard("train", FINGERPRINT)
    assert not store.has("train", FINGERPRINT)
    private = tmp_path / "store" / "train" / ".work"
    (aside,) = private.glob("*.discarded-*")  # the old bytes are kept until there are new ones
    assert (aside / "weights.pt").read_bytes() == b"first"
    with store.writing("train", FINGERPRINT) as work:
        for path in work.iterdir():
            path.unlink()
        (work / "weights.pt").write_bytes(b"second")
        store.commit("train", FINGERPRINT, work, manifest_of("train", FINGERPRINT))
    store.sweep("train", FINGERPRINT)
    assert not list(private.glob("*.discarded-*"))
    assert store.open("train", FINGERPRINT).file("weights.pt").read_bytes() == b"second"
    assert first.path.exists()


# -- damage ---------------------------------------------------------------------------------------------------
def flip(path, position=0):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_flipped_byte_is_named(store):
    artefact = commit(store)
    for position in range(7):
        flip(artefact.path / "weights.pt", position)
        with pytest.raises(
            CorruptArtefactError,
            match=r"artefact train/0123456789ab is damaged: .*weights.pt: expected sha256 .* No run uses it;",
        ) as caught:
            store.open("train", FINGERPRINT)
        (named,) = caught.value.files
        assert named.startswith(str(artefact.path / "weights.pt"))
        flip(artefact.path / "weights.pt", position)
    artefact = store.open("train", FINGERPRINT)
    assert damaged_files(artefact.path, artefact.manifest) == []


def test_every_kind_of_damage_is_named_at_once(store):
    artefact = commit(store)
    (artefact.path / "sub" / "notes.txt").write_text("longer than it was")
    (artefact.path / "weights.pt").unlink()
    (artefact.path / "sub" / "extra").write_text("x")
    with pytest.raises(CorruptArtefactError) as caught:
        store.open("train", FINGERPRINT)
    assert sorted(caught.value.files) == sorted(
        (
            f"{artefact.path}/sub/notes.txt: expected 6 bytes, got 18",
            f"{artefact.path}/weights.pt: missing",
            f"{artefact.path}/sub/extra: not in the manifest",
        )
    )
    for line in caught.value.files:
        assert line in str(caught.value)
    assert store.open("train", FINGERPRINT, verify=False).fingerprint == FINGERPRINT


def test_folder_where_a_file_should_be(store):
    artefact = commit(store)
    (artefact.path / "weights.pt").unlink()
    (artefact.path / "weights.pt").mkdir()
    with pytest.raises(CorruptArtefactError, match=r"weights.pt: missing"):
        store.open("train", FINGERPRINT)


def test_unreadable_file_is_damage(store, monkeypatch):
    commit(store)

    def bad_sector(path):
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr("data_contracts.manifest.sha256_file", bad_sector)
    with pytest.raises(CorruptArtefactError, match=r"weights.pt: expected sha256 .* got Input/output"):
        store.open("train", FINGERPRINT)


def test_every_flipped_byte_of_the_manifest_is_found(store):
    artefact = commit(store)
    path = artefact.path / "manifest.json"
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(CorruptArtefactError, match=r"manifest.json is damaged"):
            store.open("train", FINGERPRINT, verify=False)


def test_missing_manifest_is_damage_that_can_be_repaired(store):
    """The folder is there, so a commit would be refused after hours of work: it must be named, then set aside."""
    artefact = commit(store)
    (artefact.path / "manifest.json").unlink()
    with pytest.raises(CorruptArtefactError, match=r"manifest.json: missing"):
        store.open("train", FINGERPRINT)
    store.discard("train", FINGERPRINT)
    commit(store)
    assert store.open("train", FINGERPRINT).fingerprint == FINGERPRINT


def rewrite(path, **changes):
    tree = unseal(path.read_bytes(), "")
    for key, value in changes.items():
        if value is None:
            del tree[key]
        else:
            tree[key] = value
    path.write_bytes(seal(tree))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"surprise": 1}, CorruptArtefactError, "is not a manifest.*surprise"),
        ({"seed": None}, CorruptArtefactError, "is not a manifest.*seed"),
        ({"seed": "x"}, CorruptArtefactError, "is not a manifest.*seed"),
        ({"files": {"weights.pt": {"sha256": "0", "bytes": 1, "mode": 7}}}, CorruptArtefactError, "mode"),
        (
            {"fingerprint": "ffffffffffff"},
            CorruptArtefactError,
            "fingerprint ffffffffffff is not the folder's",
        ),
        ({"schema_version": 99}, StoreError, "expected schema version 1, got 99"),
        ({"schema_version": 99, "surprise": 1}, StoreError, "expected schema version 1, got 99"),
        ({"files": {"../../x": {"sha256": "0", "bytes": 1}}}, StoreError, "'../../x' leaves its folder"),
    ],
)
def test_manifest_with_a_good_seal_and_other_content(changes, error, message, store):
    rewrite(commit(store).path / "manifest.json", **changes)
    with pytest.raises(error, match=f"(?s){message}"):
        store.open("train", FINGERPRINT)


@pytest.mark.parametrize("name", ["a", "a/b", "a/../b"[:3], "..a/b..", "ü"])
def test_safe_relative_keeps(name):
    assert safe_relative(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "/", "/etc/passwd", "../x", "a/../../x", "a/..", "a\0b"])
def test_safe_relative_refuses(name):
    with pytest.raises(StoreError, match="leaves its folder"):
        safe_relative(name)


@pytest.mark.parametrize("fingerprint", ["../../../etc", "a/b", "", ".."])
def test_fingerprint_that_is_a_path(fingerprint, store):
    with pytest.raises(StoreError, match=r"leaves its folder|expected a plain name"):
        store.open("train", fingerprint)


# -- records and run records --------------------------------------------------------------------------------
def test_records_of_an_artefact(store):
    rng = np.random.default_rng(0)
    records = {str(i): random_record(DETECTIONS, rng) for i in range(5)}
    with store.writing("predictions", FINGERPRINT) as work:
        writer = RecordWriter(work, DETECTIONS, list(records), 2)
        for shard in writer.missing():
            writer.write(shard, [records[i] for i in writer.ids_of(shard)])
        store.commit("predictions", FINGERPRINT, work, manifest_of("predictions", FINGERPRINT))
    artefact = store.open("predictions", FINGERPRINT)
    for image_id, got in artefact.records(DETECTIONS):
        assert_same_record(got, records[image_id])


def run_record(name="demo"):
    return RunRecord(name=name, config_name="demo", config={"seed": 0}, created="now")


def test_run_records(store):
    assert list_runs(store) == []
    with pytest.raises(ArtefactMissingError, match=r"no run 'demo' in .*; runs there: none"):
        load_run(store, "demo")
    save_run(store, run_record())
    save_run(store, run_record("other"))
    assert list_runs(store) == ["demo", "other"]
    assert load_run(store, "demo") == run_record()
    with pytest.raises(ArtefactMissingError, match=r"no run 'x' in .*; runs there: demo, other"):
        load_run(store, "x")


def test_every_flipped_byte_of_a_run_record_is_found(store, tmp_path):
    save_run(store, run_record())
    path = tmp_path / "store" / "runs" / "demo.json"
    whole = path.read_bytes()
    for position in range(0, len(whole), 2):
        for mask in (1, 0x20, 0x80):
            damaged = bytearray(whole)
            damaged[position] ^= mask
            path.write_bytes(damaged)
            with pytest.raises(CorruptArtefactError, match=r"runs/demo.json is damaged"):
                load_run(store, "demo")


def test_run_record_with_unknown_keys(store):
    store.write_text("runs/demo.json", seal({**run_record().model_dump(), "surprise": 1}).decode())
    with pytest.raises(CorruptArtefactError, match="surprise"):
        load_run(store, "demo")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 101, "a b", "grün"])
def test_bad_run_names(name, store):
    with pytest.raises(ValueError, match="run name: expected letters"):
        load_run(store, name)


def test_run_record_written_by_many_threads(store):
    """Every state that a reader can see is one that was written."""
    stop, errors = threading.Event(), []

    def write(i):
        while not stop.is_set():
            save_run(
                store, RunRecord(name="demo", config_name="c" * (1 + 1000 * i), config={}, created="now")
            )

    threads = [threading.Thread(target=write, args=(i,)) for i in range(3)]
    save_run(store, run_record())
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            load_run(store, "demo")
    except CorruptArtefactError as error:
        errors.append(error)
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert [p.name for p in (store.root / "runs").iterdir()] == ["demo.json"]


def test_location(tmp_path, monkeypatch):
    monkeypatch.setenv("WSIS_STORE", str(tmp_path / "from_environment"))
    assert Store().root == tmp_path / "from_environment"
    assert Store(tmp_path / "given").root == tmp_path / "given"
    assert Store(f"file://{tmp_path}/url").root == tmp_path / "url"
    monkeypatch.delenv("WSIS_STORE")
    monkeypatch.chdir(tmp_path)
    assert Store().root == tmp_path / "runs"


def test_store_below_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    store = Store(tmp_path / "file" / "store")
    with pytest.raises(StoreError, match=r"cannot create .*file/store"), store.writing("train", FINGERPRINT):
        pytest.fail("there is no such folder")
    with pytest.raises(StoreError, match=r"cannot create .*file/store/runs"):
        save_run(store, run_record())


def test_manifest_is_readable_json(store):
    artefact = commit(store)
    tree = json.loads((artefact.path / "manifest.json").read_text())
    assert tree["stage"] == "train"
    assert tree["supervision"] == ["image labels"]
    assert set(tree["files"]["weights.pt"]) == {"sha256", "bytes"}
