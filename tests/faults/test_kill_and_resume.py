"""`wsis run` killed in the middle of its stages, one after the other: the end is that of a run never killed."""

import fnmatch
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data_contracts.schemas import SCHEMAS
from tests.runs.tiny_run import RUN, TINY, Process, done, fingerprints, record_of, wsis
from wsis.runs.config import load_config
from wsis.runs.plan import Node, plan

pytestmark = pytest.mark.timeout(600)

# What lies in the work folder of a node that is half done, and what the process that goes on from there says.
SIGNS = {
    "weights": ("checkpoint.pt", "resumes at step"),
    **{c: ("shard-*.zarr", "images are there already") for c in SCHEMAS},
}
KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
ENDED_BY = {"prm_baseline": TERM, "conditional@2": INT}  # all others by SIGKILL
# Where, and not what, is computed.
SETTINGS = {"proposals": "execution.workers=2", "prediction@1": "prediction.data_workers=1"}


def interruptions() -> dict[str, Node]:
    """The first node of each stage that goes on from what it left, and one of the second outer iteration."""
    nodes = [n for n in plan(load_config(str(TINY))) if n.stage.contract in SIGNS]
    first = {n.key: n for n in nodes if n is next(m for m in nodes if m.stage is n.stage)}
    return first | {n.key: n for n in nodes if n.key == "conditional@2"}


INTERRUPTIONS = interruptions()


def half_done(work: Path, node: Node) -> bool:
    return any(work.glob(SIGNS[node.stage.contract][0]))


class Interrupted:
    """A run that is ended again and again, each time in the middle of a later stage."""

    def __init__(self, store: Path, logs: Path, expected: dict[str, str]) -> None:
        self.store, self.logs, self.expected = store, logs, expected
        self.codes: dict[str, int] = {}
        self.texts: dict[str, str] = {}
        self.statuses: dict[str, tuple[str, str | None]] = {}
        self.left: dict[str, list[str]] = {}

    def start(self, name: str, *settings: str) -> Process:
        overrides = [x for s in settings for x in ("--set", s)]
        return Process(self.logs / f"{name}.log", "run", TINY, "--store", self.store, *overrides)

    def interrupt(self, key: str, node: Node) -> None:
        stage, fingerprint = self.expected[key].split("/")
        work = self.store / stage / ".work" / fingerprint
        for _ in range(12):
            process = self.start(key, *([SETTINGS[key]] if key in SETTINGS else []))
            try:
                process.wait_for(lambda: half_done(work, node))
                code = process.end(ENDED_BY.get(key, KILL))
            finally:
                process.close()
            self.texts[key] = self.texts.get(key, "") + process.text
            if half_done(work, node):
                break
            # The machine was so busy that the signal came after the commit: once more.
            assert code in (0, 130, -signal.SIGKILL), f"{key}: code {code}:\n{process.text[-3000:]}"
            shutil.rmtree(self.store / stage / fingerprint)
        self.codes[key] = code
        record = record_of(self.store)
        self.statuses[key] = record.status, record.error
        self.left[key] = [p.name for p in work.iterdir()]

    def finish(self) -> None:
        process = self.start("end")
        try:
            done(process.result())
        finally:
            process.close()
        self.texts["end"] = process.text


@pytest.fixture(scope="module")
def interrupted(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interrupted]:
    folder = tmp_path_factory.mktemp("interrupted")
    it = Interrupted(folder / "store", folder, fingerprints(tiny_store))
    for key, node in INTERRUPTIONS.items():
        it.interrupt(key, node)
    it.finish()
    yield it
    shutil.rmtree(folder)


@pytest.mark.parametrize("key", INTERRUPTIONS)
def test_it_was_ended_in_the_middle(interrupted: Interrupted, key: str) -> None:
    """With what was half done left in place, and the next process going on from there."""
    sign, resumed = SIGNS[INTERRUPTIONS[key].stage.contract]
    left = interrupted.left[key]
    assert fnmatch.filter(left, sign) and "manifest.json" not in left
    following = [*interrupted.texts][[*interrupted.texts].index(key) + 1]
    lines = [x for x in interrupted.texts[following].splitlines() if f" {key}: " in x]
    assert any("goes on from what an earlier try left" in x for x in lines), lines
    assert any(resumed in x for x in lines), lines


@pytest.mark.parametrize("key", [k for k in INTERRUPTIONS if k not in ENDED_BY])
def test_a_killed_process_says_nothing_more(interrupted: Interrupted, key: str) -> None:
    assert interrupted.codes[key] == -signal.SIGKILL
    assert "interrupted" not in interrupted.texts[key]


@pytest.mark.parametrize("key", ENDED_BY)
def test_sigterm_and_ctrl_c_end_with_130_and_a_message(interrupted: Interrupted, key: str) -> None:
    assert interrupted.codes[key] == 130
    text = interrupted.texts[key]
    assert "interrupted; what is committed is kept: the same command goes on from there" in text
    assert "Traceback" not in text
    assert interrupted.statuses[key] == ("interrupted", None)


def test_the_last_process_completes_and_reuses(interrupted: Interrupted) -> None:
    record = record_of(interrupted.store)
    assert (record.status, record.error) == ("completed", None)
    reused = [key for key, entry in record.entries.items() if entry.reused]
    last = [*INTERRUPTIONS][-1]
    assert reused == list(record.entries)[: list(record.entries).index(last)]


def test_same_fingerprints_and_results(interrupted: Interrupted, tiny_store: Path) -> None:
    assert fingerprints(interrupted.store) == fingerprints(tiny_store)
    rows = [
        json.loads(done(wsis("results", RUN, "--json", "--store", s)).out)
        for s in (interrupted.store, tiny_store)
    ]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 5


def files_of(store: Path, artefact: str) -> dict[str, bytes]:
    folder = store / artefact
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "manifest.json"
    }


def test_same_bytes(interrupted: Interrupted, tiny_store: Path) -> None:
    """Weights, curves, records, metrics: every file of every artefact."""
    for key, artefact in fingerprints(tiny_store).items():
        got, expected = files_of(interrupted.store, artefact), files_of(tiny_store, artefact)
        assert set(got) == set(expected), key
        assert [n for n in got if got[n] != expected[n]] == [], key


def times_apart(store: Path, artefact: str) -> dict[str, object]:
    tree = json.loads((store / artefact / "manifest.json").read_text())
    costs = ("wall_seconds", "cpu_seconds", "peak_memory_bytes", "created", "checksum")
    tree["counts"].pop("data_wait_share", None)
    return {k: v for k, v in tree.items() if k not in costs}


def test_same_manifests_but_for_what_it_cost(interrupted: Interrupted, tiny_store: Path) -> None:
    for key, artefact in fingerprints(tiny_store).items():
        assert times_apart(interrupted.store, artefact) == times_apart(tiny_store, artefact), key


def test_nothing_is_left_over(interrupted: Interrupted, tiny_store: Path) -> None:
    """No artefact that no run names, no half-done work."""
    named = set(fingerprints(tiny_store).values())
    store = interrupted.store
    found = {f"{p.parent.parent.name}/{p.parent.name}" for p in store.glob("*/*/manifest.json")}
    assert found == named
    assert [p for p in store.glob("*/.work/*") if p.suffix != ".lock"] == []
    assert done(wsis("verify", "--store", store)).out.startswith(f"{len(named)} artefacts checked, 0 problem")


def test_wait_sees_a_process_that_ends_too_early(tmp_path: Path) -> None:
    """The harness itself: no endless wait when the command cannot start."""
    process = Process(tmp_path / "log", "bogus")
    never: Callable[[], bool] = lambda: False  # noqa: E731
    process.wait_for(never)
    assert process.result().code == 2
