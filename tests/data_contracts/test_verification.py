"""`wsis verify`, `runs` and `show` on stores with damage: each kind is named, none hides the others."""

import os
import shutil
import sys
import uuid

import pytest

from data_contracts.bucket import BucketObjects
from data_contracts.errors import ConfigError, ContractError, CorruptArtefactError, StoreError
from data_contracts.fingerprint import seal, unseal
from data_contracts.garbage import find_garbage
from data_contracts.manifest import Parent
from data_contracts.runs import Measured, RunEntry, RunRecord, load_run, save_run
from data_contracts.store import Store
from tests.data_contracts.contract_cases import manifest_of
from wsis.reporting.tables.run_list import run_list
from wsis.reporting.tables.store_text import verify_store as verified


def verify_store(store, run=None):
    """Number of artefacts checked, and the lines about damage."""
    found = verified(store, run)
    return found.checked, found.problems


IDENTITY = manifest_of("train", "").identity()


def filled(location):
    """A store with one sound artefact and the run that used it."""
    store = Store(location)
    with store.writing("train", IDENTITY) as work:
        (work / "weights.pt").write_bytes(b"weights")
        store.commit("train", IDENTITY, work, manifest_of("train", IDENTITY))
    entry = RunEntry(
        stage="train", outer_iteration=None, fingerprint=IDENTITY, reused=False, finished="", wall_seconds=1
    )
    save_run(store, RunRecord(name="good", config_name="", config={}, created="", entries={"train": entry}))
    return store


@pytest.fixture
def store(tmp_path):
    return filled(tmp_path / "store")


@pytest.fixture
def remote(tmp_path, monkeypatch):
    monkeypatch.setenv("WSIS_CACHE", str(tmp_path / "cache"))
    return filled(f"memory://verify-{uuid.uuid4().hex}/wsis")


def test_a_sound_store(store, remote):
    assert verify_store(store) == verify_store(remote) == (1, [])
    assert verify_store(store, "good") == verify_store(remote, "good") == (1, [])


# -- records of runs ------------------------------------------------------------------------------------------
DAMAGES = {
    "folder": (lambda path: path.mkdir(), "got a folder"),
    "pipe": (os.mkfifo, "got no plain file"),
    "dangling link": (lambda path: path.symlink_to("nowhere"), "got a link that leads nowhere"),
    "link loop": (lambda path: path.symlink_to(path.name), "got a link that leads nowhere"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "got no plain file"),
    "empty": (lambda path: path.write_bytes(b""), "is damaged"),
    "not UTF-8": (lambda path: path.write_bytes(b"\xff\xfe"), "is damaged"),
    "other bytes": (lambda path: path.write_text('{"name": "bad", "name": "good"}'), "is damaged"),
    "no fields": (lambda path: path.write_bytes(seal({"name": "bad"})), "is damaged"),
    "another's": (
        lambda path: shutil.copy(path.with_name("good.json"), path),
        "it is the record of run 'good'",
    ),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_record_is_named_and_hides_no_other(store, kind):
    damage, said = DAMAGES[kind]
    damage(store.root / "runs" / "bad.json")
    bad, good = run_list(store).splitlines()[2:]
    assert bad.startswith("bad ") and said in bad and good.startswith("good ")
    with pytest.raises(CorruptArtefactError, match=said) as caught:
        load_run(store, "bad")
    assert "\n" not in str(caught.value)
    checked, problems = verify_store(store)
    assert checked == 1 and len(problems) == 1 and "bad.json" in problems[0] and said in problems[0]
    assert verify_store(store, "good") == (1, [])
    assert verify_store(store, "bad") == (0, problems)


def test_a_record_that_cannot_be_written_is_named(store):
    (store.root / "runs" / "bad.json").mkdir()
    with pytest.raises(StoreError, match=r"bad\.json is damaged: expected a file, got a folder"):
        save_run(store, RunRecord(name="bad", config_name="", config={}, created=""))


# -- artefacts ------------------------------------------------------------------------------------------------
def resealed(path, **changes):
    tree = unseal(path.read_bytes(), "")
    path.write_bytes(seal({**tree, **changes}))


def test_a_manifest_that_does_not_give_its_fingerprint_is_named(store):
    path = store.root / "train" / IDENTITY / "manifest.json"
    whole = path.read_bytes()
    for changes in ({"seed": 1}, {"config": {"size": 4}}, {"algorithm_version": 2}, {"content": "x"}):
        resealed(path, **changes)
        (problem,) = verify_store(store)[1]
        assert "its content gives the fingerprint" in problem and IDENTITY in problem
        path.write_bytes(whole)
    resealed(path, stage="other")
    assert "is of stage other, not train" in verify_store(store)[1][0]


def test_an_artefact_without_manifest_and_pipes_in_one_are_named(store):
    folder = store.root / "train" / IDENTITY
    os.mkfifo(folder / "pipe")
    assert verify_store(store)[1] == [f"{folder / 'pipe'}: not in the manifest"]
    (folder / "manifest.json").unlink()
    (problem,) = verify_store(store)[1]
    assert "manifest.json: missing" in problem
    os.mkfifo(folder / "manifest.json")
    assert verify_store(store)[1] == [problem]


def test_what_repairs_it_is_said_with_the_run_and_the_store(store, monkeypatch):
    """Of a run's stage, of an outer iteration, of other data; of what no run uses."""
    (store.root / "train" / IDENTITY / "weights.pt").unlink()
    (line,) = verified(store).remedies
    again = f"Run the stage again to repair it: wsis stage train --run good --store {store.root}"
    assert line == f"train/{IDENTITY}: {again}"
    with pytest.raises(CorruptArtefactError, match=f"weights.pt: missing. {again}$"):
        store.open("train", IDENTITY)
    monkeypatch.setenv("WSIS_STORE", str(store.root))
    assert verified(store).remedies[0].endswith("wsis stage train --run good")

    record = load_run(store, "good")
    entry = record.entries.pop("train").model_copy(update={"outer_iteration": 3})
    save_run(store, record.model_copy(update={"entries": {"train.val@3": entry}}))
    assert verified(store).remedies[0].endswith("wsis stage train.val --run good --iteration 3")
    measured = Measured(
        data="my data",
        format="coco",
        split="val",
        digest="",
        outer_iteration=2,
        finished="",
        artefacts={"train": IDENTITY},
    )
    save_run(store, record.model_copy(update={"entries": {}, "measured": [measured]}))
    (line,) = verified(store).remedies
    assert line.endswith("wsis evaluate good --data 'my data' --split val --format coco --iteration 2")
    save_run(store, record.model_copy(update={"entries": {}}))
    assert verified(store).remedies == [
        f"train/{IDENTITY}: No run uses it; to remove what no run uses: wsis gc"
    ]


def test_what_runs_only_made_others_from_is_not_said_to_be_removed(store):
    """`wsis gc` keeps it: two steps back from a stage, from a score on other data; and a model that was trained."""
    (store.root / "train" / IDENTITY / "weights.pt").unlink()
    grandchild = committed(store, "score", use=committed(store, "use", train=IDENTITY))
    record = load_run(store, "good")
    made = record.entries.pop("train").model_copy(update={"stage": "score", "fingerprint": grandchild})
    save_run(store, record.model_copy(update={"entries": {"score.val": made}}))
    (line,) = verified(store).remedies
    assert line == (
        f"train/{IDENTITY}: No run uses it any more, but score.val of run good was made from it; "
        f"to make that anew without it: wsis run --name good --store {store.root}"
    )
    assert find_garbage(store).pieces == ()
    one = {"data": "d", "format": "coco", "split": "val", "digest": "", "outer_iteration": 2, "finished": ""}
    measured = Measured(**one, artefacts={"score": grandchild})
    save_run(store, record.model_copy(update={"entries": {}, "measured": [measured]}))
    (line,) = verified(store).remedies
    assert "but a score on d of run good was made from it" in line
    assert f"wsis evaluate good --data d --split val --format coco --iteration 2 --store {store.root}" in line
    (store.root / "score" / grandchild / "manifest.json").write_text("{}")  # what it was made from is lost
    assert any(x.startswith(f"train/{IDENTITY}: No run uses it; to remove") for x in verified(store).remedies)

    shutil.move(store.root / "train" / IDENTITY, store.root / "train_contours" / IDENTITY)
    (line,) = [x for x in verified(store).remedies if x.startswith("train_contours/")]
    again = f"wsis train-contours --store {store.root}, with the same data and settings"
    assert line.endswith(f": The command that made it makes it anew: {again}")


def committed(store, stage, **parents):
    """Fingerprint of an artefact that was made from others (input and stage -> fingerprint)."""
    named = {name: Parent(stage=name, fingerprint=one) for name, one in parents.items()}
    identity = manifest_of(stage, "", parents=named).identity()
    with store.writing(stage, identity) as work:
        (work / "weights.pt").write_bytes(b"weights")
        store.commit(stage, identity, work, manifest_of(stage, identity, parents=named))
    return identity


def test_reports_and_previews_are_no_artefacts(store):
    for name in ("reports/good", f"previews/{IDENTITY}"):
        (store.root / name).mkdir(parents=True)
    assert verify_store(store) == (1, [])


# -- URL stores -----------------------------------------------------------------------------------------------
def test_verify_reads_the_remote_bytes(remote):
    far = remote.remote.objects
    (key,) = [key for key in far.list("train") if key.endswith("/weights.pt")]
    weights = far.url(key)
    far.put(key, b"weighTs")  # the mirror is sound
    (problem,) = verify_store(remote)[1]
    assert problem.startswith(f"{weights}: expected sha256")
    far.put(key, b"more bytes")
    assert verify_store(remote)[1] == [f"{weights}: expected 7 bytes, got 10"]
    far.remove(key)
    assert verify_store(remote, "good")[1] == [f"{weights}: missing"]
    far.put(key, b"weights")
    far.put(f"train/{IDENTITY}/attempts/{uuid.uuid4().hex}/more", b"of another attempt")
    assert verify_store(remote)[1] == []


def test_verify_finds_artefacts_that_this_machine_has_not_mirrored(remote, tmp_path, monkeypatch):
    monkeypatch.setenv("WSIS_CACHE", str(tmp_path / "another"))
    other = Store(remote.location)
    assert verify_store(other) == (1, [])
    remote.remote.objects.put(f"train/{IDENTITY}/manifest.json", b"{}")
    assert "is damaged" in verify_store(other)[1][0]
    assert not (tmp_path / "another").exists()


def test_what_is_only_in_the_mirror_is_named(remote):
    remote.remote.objects.remove(f"train/{IDENTITY}/manifest.json")
    (problem,) = verify_store(remote)[1]
    assert "manifest.json: missing; it is in the mirror on this machine" in problem


# -- places ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("foo://x", "the unknown protocol 'foo'"),
        ("file://other.host/x", "expected file:///PATH, got the machine 'other.host'"),
        ("a\0b", "no path that can be followed"),
    ],
)
def test_a_place_that_is_none_is_one_line(location, said):
    with pytest.raises(ConfigError, match=said) as caught:
        Store(location)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("protocol", "extra"), [("s3", "s3"), ("gs", "gs"), ("abfs", "az"), ("az", "az")])
def test_a_missing_package_is_named_with_the_command(protocol, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigError, match=rf"not installed: pip install 'wsis\[{extra}\]'$"):
        Store(f"{protocol}://bucket/store")


def test_an_escaped_file_url_is_the_folder_that_it_names(tmp_path):
    assert Store(f"file://{tmp_path}/a%20b").root == tmp_path / "a b"
    assert Store(f"file://localhost{tmp_path}/c").root == tmp_path / "c"


def test_no_home(monkeypatch, tmp_path):
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    monkeypatch.delenv("WSIS_CACHE", raising=False)
    with pytest.raises(ConfigError, match="set WSIS_CACHE"):
        Store("memory://x/y")
    monkeypatch.setenv("WSIS_CACHE", str(tmp_path))
    assert Store("memory://x/y").root.parent == tmp_path


def test_what_a_driver_raises_is_one_line(monkeypatch):
    far = BucketObjects("memory://x/y")

    def broken(*args, **kwargs):
        raise Exception("no credentials\nat all\n\nDebug source:\nGeneric {")

    for name in ("get", "put", "list", "delete", "list_with_delimiter"):
        monkeypatch.setattr(far._driver, name, broken)
    for ask in (
        lambda: far.read("a"),
        lambda: far.create("a", b"x"),
        lambda: far.list("a"),
        lambda: far.folders("a"),
        lambda: far.remove("a"),
        lambda: list(far.stream("a")),
    ):
        with pytest.raises(ContractError, match=r"store 'memory://x/y': Exception: no credentials at all$"):
            ask()
