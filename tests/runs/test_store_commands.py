"""`wsis note`, `wsis rm`, `wsis gc`, and the rows of `wsis runs`: nothing goes that someone uses."""

import errno
import json
import os
import re
from pathlib import Path

import pytest

from data_contracts.runs import DataFacts, RunEntry, RunRecord, load_run, now, save_run
from data_contracts.store import Artefact, Store
from data_contracts.verification import stored_artefacts
from tests.engine.toy_stages import SHARDS, ShardConfig
from tests.runs.tiny_run import RUN, done, wsis
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, execute
from wsis.reporting.tables.run_list import run_list


def made(store: Store, scale: float, **inputs: Artefact) -> Artefact:
    """A small artefact of a stage, from others."""
    config = ShardConfig(images=2, scale=scale)
    one = Execution(workers=1, threads=1)
    return execute(SHARDS, config, inputs, store, execution=one, progress=Progress(quiet=True)).artefact


def save(store: Store, name: str, status: str = "completed", **used: Artefact) -> None:
    entries = {
        key: RunEntry(
            stage=one.manifest.stage,
            outer_iteration=None,
            fingerprint=one.fingerprint,
            reused=False,
            finished=now(),
            wall_seconds=1.0,
        )
        for key, one in used.items()
    }
    record = RunRecord(name=name, config_name="demo", config={}, created=now(), entries=entries)
    save_run(store, record.model_copy(update={"status": status}))


def there(store: Store) -> set[str]:
    return {fingerprint for _, fingerprint in stored_artefacts(store)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two runs that share an artefact, and one that nobody uses but as a parent of a used one."""
    store = Store(tmp_path / "store")
    parent, shared = made(store, 1), made(store, 2)
    save(store, "one", child=made(store, 3, a=parent), shared=shared)
    save(store, "two", own=made(store, 4), shared=shared)
    return store


def test_gc_removes_what_no_run_uses_after_it_has_said_so(store: Store) -> None:
    before = there(store)
    own = load_run(store, "two").entries["own"].fingerprint
    assert "0 folders, 0.0 MB that no run uses" in done(wsis("gc", "--yes", "--store", store.root)).out
    out = done(wsis("rm", "two", "--store", store.root)).out
    assert out == "run two is removed; 1 of its artefacts are used by no other run: wsis gc\n"
    listed = done(wsis("gc", "--dry-run", "--store", store.root)).out
    assert "toy_shards" in listed and "1 folders" in listed and there(store) == before
    unasked = wsis("gc", "--store", store.root)
    assert unasked.code == 2 and "expected --yes (or --dry-run)" in unasked.err and there(store) == before
    assert "removed 0.0 MB" in done(wsis("gc", "--yes", "--store", store.root)).out
    assert there(store) == before - {own}
    assert "3 artefacts checked, 0 problems\n" in done(wsis("verify", "--store", store.root)).out


def test_runs_that_may_not_be_read_are_not_taken_for_none(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of another user's runs: what they use would else be removed."""

    def refuse(folder: Path) -> list[str]:
        if Path(folder) == store.root / "runs":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return listed(folder)

    listed, before = os.listdir, stored_artefacts(store)
    monkeypatch.setattr("data_contracts.paths.os.listdir", refuse)
    for command in (["gc", "--yes"], ["runs"], ["results", "three"]):
        refused = wsis(*command, "--store", store.root)
        assert refused.code == 1
        assert refused.err.endswith(f"error: {store.root / 'runs'} cannot be read: Permission denied\n")
    assert before and stored_artefacts(store) == before


def test_gc_leaves_artefacts_while_a_process_is_at_work(store: Store) -> None:
    done(wsis("rm", "two", "--store", store.root))
    before = there(store)
    with store.writing("toy_shards", "0" * 12):
        out = done(wsis("gc", "--yes", "--store", store.root)).out
    assert "kept: 1 artefact of" in out and "while a process is at work" in out and there(store) == before


def test_gc_leaves_work_folders_that_an_unfinished_run_goes_on_from(store: Store) -> None:
    left = store.root / "toy_shards" / ".work" / ("1" * 12)
    left.mkdir()
    (left / "half").write_bytes(b"x" * 2_000_000)
    save(store, "three", status="failed")
    out = done(wsis("gc", "--yes", "--store", store.root)).out
    assert "kept: 1 work folders of 2.0 MB" in out and "wsis run --name RUN" in out and left.exists()
    done(wsis("rm", "three", "--store", store.root))
    assert "removed 2.0 MB" in done(wsis("gc", "--yes", "--store", store.root)).out and not left.exists()


def test_gc_leaves_trained_models(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_contracts.garbage.KEPT", ("toy_shards",))
    done(wsis("rm", "two", "--store", store.root))
    assert "0 folders" in done(wsis("gc", "--yes", "--store", store.root)).out


def test_gc_does_not_guess_what_a_damaged_record_uses(store: Store) -> None:
    before = there(store)
    (store.root / "runs" / "two.json").write_text("{}")
    refused = wsis("gc", "--yes", "--store", store.root)
    assert refused.code == 1 and "runs/two.json is damaged" in refused.err and there(store) == before
    assert "run two is removed" in done(wsis("rm", "two", "--store", store.root)).out
    assert "1 folders" in done(wsis("gc", "--yes", "--store", store.root)).out


def test_gc_of_a_url_store_leaves_artefacts() -> None:
    said = done(wsis("gc", "--store", "memory://somewhere")).out
    assert (
        "kept: artefacts: who else uses a store behind a URL cannot be seen" in said and "0 folders" in said
    )


def test_rm_of_no_run(store: Store) -> None:
    refused = wsis("rm", "tow", "--store", store.root)
    assert refused.code == 1 and "no run 'tow'" in refused.err and "did you mean 'two'?" in refused.err


def test_notes_are_repeated_and_outlive_the_next_save(store: Store) -> None:
    place = ["--store", store.root]
    done(wsis("note", "one", "boxes of the  second\nannotator", *place))
    save_run(store, load_run(store, "one"))  # as a run does that was under way
    assert done(wsis("note", "one", "better", *place)).out.count("\n") == 2
    shown = done(wsis("show", "one", *place)).out
    assert ": boxes of the second annotator\n" in shown and shown.index("second") < shown.index(": better")
    rows = json.loads(done(wsis("runs", "--json", *place)).out)
    assert [row["notes"] for row in rows] == [["boxes of the second annotator", "better"], []]
    done(wsis("rm", "one", *place))
    save(store, "one")
    assert done(wsis("note", "one", *place)).out == ""


@pytest.mark.parametrize("text", ["", " \n", "a\x1b[31mred"])
def test_a_note_is_a_line_of_text(store: Store, text: str) -> None:
    refused = wsis("note", "one", text, "--store", store.root)
    assert refused.code == 2 and "expected a line of printable text" in refused.err


def test_the_format_that_was_found_is_shown_and_auto_never(store: Store) -> None:
    record = load_run(store, "one")
    record.config = {**record.config, "data": {"format": "auto", "root": "/data/photos"}}
    save_run(store, record)
    row = next(line for line in run_list(store).splitlines() if line.startswith("one"))
    assert " photos " in row and "auto" not in row
    record.data = DataFacts(root="/data/photos", content="", truth=None, images={}, masks={}, format="coco")
    save_run(store, record)
    assert " coco photos " in run_list(store)


def test_rows_are_lines_that_fit(store: Store) -> None:
    save(store, "a-run-of-a-very-long-name-indeed", status="failed", shared=made(store, 2))
    record = load_run(store, "one")
    record.error, record.config_name = (
        "DataError: " + "long " * 50 + "\nand more",
        "configs/a_long_name_of_mine.yaml",
    )
    save_run(store, record)
    for width in (80, 100, 200):
        *lines, stale = run_list(store, width).splitlines()
        assert len(lines) == 2 + 3 and max(map(len, lines)) <= width and stale.startswith("stale: ")
    assert "and more" in run_list(store) and "a-run-of-a-very-long-name-indeed" in run_list(store, 120)


def test_runs(tiny_store: Path) -> None:
    header, _, line = done(wsis("runs", "--store", tiny_store)).out.splitlines()
    assert header.split() == ["run", "status", "config", "data", "last", "stage", "AP50", "age"]
    assert re.match(rf"{RUN} +completed +tiny +scenes +evaluation\.prediction@2 +\d+\.\d +\d+ (min|h)$", line)
    (row,) = json.loads(done(wsis("runs", "--json", "--store", tiny_store)).out)
    (scored,) = [
        r
        for r in json.loads(done(wsis("results", RUN, "--json", "--store", tiny_store)).out)
        if (r["kind"], r["outer_iteration"]) == ("prediction", 2)
    ]
    assert row["mAP50"] == scored["mAP"]["0.50"] and row["artefacts"] == 20


def test_runs_of_an_empty_store(tmp_path: Path) -> None:
    assert done(wsis("runs", "--store", tmp_path)).out == f"no runs in {tmp_path}\n"


@pytest.mark.parametrize("command", ["verify", "gc", "runs"])
def test_a_store_that_is_a_file_is_named(command: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no store")
    found = wsis(command, "--store", file)
    assert (
        found.code == 2
        and found.err
        == f"error: store: expected a folder or a URL, got {file}, which is a file and cannot be one\n"
    )


@pytest.mark.parametrize("command", ["verify", "gc"])
def test_a_store_that_is_not_there_is_not_said_to_be_sound(command: str, tmp_path: Path) -> None:
    found = wsis(command, "--store", tmp_path / "mistyped")
    assert (
        found.code == 1
        and found.err == f"error: store: expected a folder that is there, got {tmp_path / 'mistyped'}\n"
    )
