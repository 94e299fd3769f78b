"""Stores: where they lie, records of runs, manifests and files of artefacts."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_contracts.fingerprint import SCHEMA_VERSION, seal, unseal
from data_contracts.manifest import Manifest
from data_contracts.runs import RunEntry, RunRecord, list_runs, load_run, save_run
from data_contracts.store import Store
from tests.hard.case import Case, Facts
from wsis.reporting.tables.store_text import verify_store

Expected = tuple[str, ...] | Facts | None
SOUND = {"checked": 1, "problems": 0}
ONE = {"problems": 1}


def _manifest(fingerprint: str) -> Manifest:
    return Manifest(
        schema_version=SCHEMA_VERSION,
        stage="train",
        algorithm_version=1,
        fingerprint=fingerprint,
        contract="weights",
        outer_iteration=None,
        seed=0,
        config={},
        parents={},
        supervision=[],
        counts={},
        files={},
        wall_seconds=0,
        cpu_seconds=0,
        peak_memory_bytes=0,
        created="",
        code_version="0",
        environment={},
    )


IDENTITY = _manifest("").identity()


def filled(location: str | Path) -> Store:
    """A store with one artefact and the run `good` that used it."""
    store = Store(location)
    with store.writing("train", IDENTITY) as work:
        (work / "weights.pt").write_bytes(b"weights")
        store.commit("train", IDENTITY, work, _manifest(IDENTITY))
    entry = RunEntry(
        stage="train", outer_iteration=None, fingerprint=IDENTITY, reused=False, finished="", wall_seconds=1
    )
    save_run(store, RunRecord(name="good", config_name="", config={}, created="", entries={"train": entry}))
    return store


def _verified(damage: Callable[[Path], Any]) -> Callable[[Path], Facts]:
    """`verify` of a store with a damage, and whether the run `good` is still there."""

    def run(folder: Path) -> Facts:
        store = filled(folder / "store")
        damage(store.root)
        checked, problems, _ = verify_store(store)
        sound = [load_run(store, name).name for name in list_runs(store) if name == "good"]
        return {"good": len(sound), "checked": checked, "problems": len(problems), "said": problems}

    return run


def _opened(location: str) -> Callable[[Path], Facts]:
    def run(folder: Path) -> Facts:
        os.environ["WSIS_CACHE"] = str(folder / "cache")
        there = sys.modules.pop("obstore", None)
        if not location.startswith("memory"):
            sys.modules["obstore"] = None  # type: ignore[assignment]  # as where it is not installed
        try:
            store = filled(location.replace("FOLDER", str(folder)))
            checked, problems, _ = verify_store(store)
        finally:
            sys.modules.pop("obstore", None)
            if there is not None:
                sys.modules["obstore"] = there
        return {
            "checked": checked,
            "problems": len(problems),
            "made": sorted(p.name for p in folder.iterdir()),
        }

    return run


def _loaded(damage: Callable[[Path], Any]) -> Callable[[Path], Facts]:
    def run(folder: Path) -> Facts:
        store = filled(folder / "store")
        damage(store.root)
        return {"name": load_run(store, "bad").name}

    return run


def record(make: Callable[[Path], Any]) -> Callable[[Path], Any]:
    return lambda root: make(root / "runs/bad.json")


def part(name: str, make: Callable[[Path], Any], keep: bool = False) -> Callable[[Path], Any]:
    def change(root: Path) -> None:
        path = root / "train" / IDENTITY / name
        if not keep:
            path.unlink(missing_ok=True)
        make(path)

    return change


def resealed(**fields: Any) -> Callable[[Path], Any]:
    def change(path: Path) -> None:
        path.write_bytes(seal(unseal(path.read_bytes(), "") | fields))

    return part("manifest.json", change, keep=True)


def content(data: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(data)


RECORDS: dict[str, Callable[[Path], Any]] = {
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link loop": lambda path: path.symlink_to(path.name),
    "empty": content(b""),
    "not UTF-8": content(b"\xff"),
    "text": content(b"hello"),
    "null": content(b"null"),
    "list": content(b"[]"),
    "number": content(b"42"),
    "NUL": content(bytes(100)),
    "deep": content(b"[" * 100_000),
    "digits": content(b'{"checksum": ' + b"9" * 6000 + b"}"),
    "keys twice": content(b'{"checksum": "x", "checksum": "y"}'),
    "no fields": content(seal({"name": "bad"})),
    "a field more": content(seal({"name": "bad", "more": 1})),
    "another's": lambda path: shutil.copy(path.with_name("good.json"), path),
    "cut": lambda path: path.write_bytes(path.with_name("good.json").read_bytes()[:-30]),
}
PARTS: dict[str, tuple[Callable[[Path], Any], Expected]] = {
    "sound": (lambda root: None, SOUND | {"good": 1}),
    "no store": (shutil.rmtree, {"good": 0, "checked": 0, "problems": 0}),
    "file changed": (part("weights.pt", content(b"weighTs")), ONE | {"good": 1}),
    "file longer": (part("weights.pt", content(b"weights and more")), ONE),
    "file missing": (part("weights.pt", lambda path: None), ONE),
    "file a pipe": (part("weights.pt", os.mkfifo), {"good": 1}),
    "file a folder": (part("weights.pt", Path.mkdir), ONE),
    "file a device": (part("weights.pt", lambda path: path.symlink_to("/dev/zero")), {"good": 1}),
    "file more": (part("more", content(b"")), ONE),
    "pipe more": (part("more", os.mkfifo), ONE),
    "manifest missing": (part("manifest.json", lambda path: None), ONE),
    "manifest a pipe": (part("manifest.json", os.mkfifo), ONE),
    "manifest empty": (part("manifest.json", content(b"")), ONE),
    "manifest text": (part("manifest.json", content(b"{}")), ONE),
    "manifest of keys twice": (part("manifest.json", content(b'{"checksum": 1, "checksum": 2}')), ONE),
    "another seed": (resealed(seed=1), ONE | {"good": 1}),
    "another config": (resealed(config={"a": 1}), ONE),
    "another version of the stage": (resealed(algorithm_version=9), ONE),
    "another content": (resealed(content="x"), ONE),
    "another stage": (resealed(stage="other"), ONE),
    "another fingerprint": (resealed(fingerprint="0" * 12), ONE),
    "another schema": (resealed(schema_version=99), ONE),
    "names that leave": (resealed(files={"../../x": {"sha256": "0", "bytes": 1}}), ONE),
    "artefact gone": (lambda root: shutil.rmtree(root / "train" / IDENTITY), ONE),
    "artefact a file": (
        lambda root: (shutil.rmtree(root / "train" / IDENTITY), (root / "train" / IDENTITY).touch()),
        ONE,
    ),
    "stage a file": (lambda root: (shutil.rmtree(root / "train"), (root / "train").touch()), ONE),
    "runs a file": (
        lambda root: (shutil.rmtree(root / "runs"), (root / "runs").touch()),
        {"good": 0, "checked": 1},
    ),
    "name of no run": (lambda root: (root / "runs/\x1b[31m.json").touch(), ONE | {"good": 1}),
    "name not UTF-8": (lambda root: (root / os.fsdecode(b"runs/\xff.json")).touch(), ONE | {"good": 1}),
    "reports": (lambda root: (root / "reports/good").mkdir(parents=True), SOUND),
    "previews": (lambda root: (root / f"previews/{IDENTITY}").mkdir(parents=True), SOUND),
}
PLACES: dict[str, tuple[str, Expected]] = {
    "folder": ("FOLDER/a", SOUND),
    "spaces": ("FOLDER/a b", SOUND),
    "file URL": ("file://FOLDER/a", SOUND | {"made": ["a"]}),
    "escaped file URL": ("file://FOLDER/a%20b", SOUND | {"made": ["a b"]}),
    "FILE URL": ("FILE://FOLDER/a", SOUND | {"made": ["a"]}),
    "file URL of this machine": ("file://localhostFOLDER/a", SOUND | {"made": ["a"]}),
    "file URL of another machine": ("file://server/a", ("the machine 'server'",)),
    "memory": ("memory://hard/a", SOUND),
    "local": ("local://FOLDER/a", SOUND),
    "s3": ("s3://bucket/a", ("pip install 'wsis[s3]'",)),
    "s3 alone": ("s3://", ("expected s3://BUCKET/PATH, got no bucket",)),
    "gs": ("gs://bucket/a", ("pip install 'wsis[gs]'",)),
    "abfs": ("abfs://box/a", ("pip install 'wsis[az]'",)),
    "foo": ("foo://a", ("unknown protocol 'foo'",)),
    "foo of s3": ("foo::s3://a", None),
    "NUL": ("a\0b", ("no path that can be followed",)),
    "long": ("FOLDER/" + "x" * 5000, ("cannot",)),
    "a device": ("/dev/null", ("cannot",)),
    "not to be written": ("/proc/nowhere", ("cannot",)),
}


def _case(name: str, run: Callable[[Path], Facts], expected: Expected) -> Case:
    words = expected if isinstance(expected, tuple) else ()
    return Case(name, run, words=words, facts=expected if isinstance(expected, dict) else {})


CASES = [
    *(_case(f"record/{name}", _verified(record(make)), ONE | {"good": 1}) for name, make in RECORDS.items()),
    *(_case(f"record loaded/{name}", _loaded(record(make)), ("bad",)) for name, make in RECORDS.items()),
    *(_case(f"store/{name}", _verified(damage), expected) for name, (damage, expected) in PARTS.items()),
    *(_case(f"place/{name}", _opened(location), expected) for name, (location, expected) in PLACES.items()),
]
