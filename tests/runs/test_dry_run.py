"""`wsis run --dry-run` and the place of a stage in its run: what is reused, what is computed, what it costs."""

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_contracts.store import Store
from tests.runs.tiny_run import RUN, TINY, done, fingerprints, record_of, wsis
from wsis.reporting.tables.expected_time import roughly, time_here
from wsis.runs.config import load_config
from wsis.runs.costs import NodeCost, RunCost
from wsis.runs.durations import Durations
from wsis.runs.plan import plan


def rows(out: str) -> dict[str, list[str]]:
    """Key of each node -> artefact, state, time, MB."""
    table = out.split("\n\n")[0].splitlines()[2:]
    return {cells[0]: cells[1:] for cells in (re.split(r" {2,}", line) for line in table)}


def test_nothing_is_written_and_all_of_a_new_run_is_to_compute(tmp_path: Path) -> None:
    out = done(wsis("run", TINY, "--dry-run", "--store", tmp_path / "store")).out
    found = rows(out)
    assert len(found) == 20 and {cells[1] for cells in found.values()} == {"compute"}
    assert "run 'tiny': 20 stages, 0 reused, 20 to compute\ntime: " in out and "\n20 reckoned; " in out
    assert re.search(r"^disk: about \d+ MB of [\d.]+ GB free$", out, re.MULTILINE)
    assert not (tmp_path / "store").exists()
    assert max(map(len, out.splitlines())) <= 80


def test_it_says_that_photographs_are_not_opened(tmp_path: Path) -> None:
    for number in range(24):
        folder = tmp_path / "photos" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (64, 80, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.jpg"), noise)
    options = ("--set", f"data.root={tmp_path / 'photos'}", "--dry-run", "--store", tmp_path / "store")
    out = done(wsis("run", "voc_lite", *options)).out
    assert out.rstrip().endswith("labels were read, photographs not opened: `wsis check` looks at each")
    assert "\ntime: about" in out
    for whole in sorted((tmp_path / "photos" / "dog").iterdir())[1:]:
        whole.write_bytes(whole.read_bytes()[:2000])  # some of them the reckoning looks at
    out = done(wsis("run", "voc_lite", *options)).out
    assert re.search(
        r"^time: not known: the run would stop .*dog/\d+\.jpg: the image is cut short", out, re.MULTILINE
    )


def test_the_fingerprints_are_those_that_the_run_has_used(tiny_store: Path) -> None:
    out = done(wsis("run", TINY, "--dry-run", "--store", tiny_store)).out
    assert {key: cells[0] for key, cells in rows(out).items()} == fingerprints(tiny_store)
    assert "20 reused, 0 to compute: nothing to do" in out


def test_what_is_missing_damaged_or_half_done_is_computed(own_store: Path) -> None:
    before = record_of(own_store)
    there = fingerprints(own_store)
    shutil.rmtree(own_store / there["prediction@2"])
    half = own_store / "prediction" / ".work" / there["prediction@2"].split("/")[1]
    half.mkdir()
    (half / "checkpoint.pt").touch()
    shutil.rmtree(own_store / there["evaluation.prediction@2"])
    (own_store / there["prm_seeds"] / "manifest.json").write_text("{}")
    out = done(wsis("run", "--name", RUN, "--dry-run", "--store", own_store)).out
    states = {key: cells[1] for key, cells in rows(out).items() if cells[1] != "reused"}
    assert states == {"prediction@2": "goes on", "evaluation.prediction@2": "compute", "prm_seeds": "damaged"}
    assert (
        "17 reused, 3 to compute" in out
        and "\n3 reckoned; other work on the machine makes it longer\n" in out
    )
    assert record_of(own_store) == before


def test_a_dry_run_is_refused_as_the_run_would_be(tiny_store: Path) -> None:
    refused = wsis("run", TINY, "--dry-run", "--set", "seed=5", "--store", tiny_store)
    assert refused.code == 2 and "seed" in refused.err and "--replace" in refused.err


def test_times_of_earlier_artefacts_come_before_reckoned_ones(tiny_store: Path) -> None:
    config = load_config(str(TINY))
    nodes = {node.key: node for node in plan(config)}
    cost = RunCost(tuple(NodeCost(key, 100.0, 100.0, 1e6) for key in nodes), 1e9)
    store = Store(tiny_store)
    known = Durations(store, 20, lambda: cost)
    entry = record_of(tiny_store).entries["conditional@2"]
    assert known.seconds(nodes["conditional@2"]) == entry.wall_seconds
    other = Durations(store, 200, lambda: cost)  # of ten times the images: no such run was here
    assert other.known(nodes["conditional@2"]) is None and other.seconds(nodes["conditional@2"]) == 100
    other.learn(nodes["conditional@1"], 40.0)  # beside 20 s that count as gone as expected
    assert other.pace() == (40 + 20) / (100 + 20)
    assert other.seconds(nodes["prm_seeds"]) == other.seconds(nodes["conditional@2"]) == 50
    assert other.seconds(nodes["conditional@1"]) == 40 and other.bytes(nodes["prediction@2"]) == 1e6
    assert Durations(store, 200, lambda: None).seconds(nodes["prm_seeds"]) is None


def test_a_stage_that_starts_says_its_place(own_store: Path) -> None:
    shutil.rmtree(own_store / fingerprints(own_store)["evaluation.prediction@2"])
    said = done(wsis("run", "--name", RUN, "--store", own_store)).err
    assert "evaluation.prediction@2: starts (stage 20 of 20, under a minute left)" in said
    assert said.count("(stage ") == 1


def test_lines_of_a_stage_name_it_as_the_run_does(own_store: Path) -> None:
    """The two predictions of an iteration differ in their split alone, its two evaluations in what they score."""
    wanted = [
        f"{stage}@1" for stage in ("evaluation.pseudo_labels", "predictions.val", "evaluation.prediction")
    ]
    wanted.append("predictions.train@1")
    for key in wanted:
        shutil.rmtree(own_store / fingerprints(own_store)[key])
    said = done(wsis("run", "--name", RUN, "--store", own_store)).err
    assert re.findall(r"([\w.@]+): starts", said) == wanted
    assert re.findall(r"([\w.@]+): done in", said) == wanted
    assert re.findall(r"^([\w.@]+): \d+/\d+ img", said, re.MULTILINE) == wanted


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (20, "under a minute"),
        (700, "about 12 min"),
        (3600, "about 1 h"),
        (4700, "about 1 h 20 min"),
        (100_000, "about 28 h"),
    ],
)
def test_roughly(seconds: float, text: str) -> None:
    assert roughly(seconds) == text


def test_what_a_time_takes_for_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsis.engine.machine.cores", lambda: 2)
    assert time_here(2400, 2.0) == "about 40 min (20 min to 1 h 20 min) with 2 free cores"
    assert time_here(50) == "about 1 min with 2 free cores"
    assert time_here(50, 2.0) == "about 1 min (under a minute to 2 min) with 2 free cores"


def test_a_folder_in_place_of_a_configuration_is_told_where_it_belongs(tmp_path: Path) -> None:
    found = wsis("run", tmp_path, "--dry-run")
    assert found.code == 2 and found.err.rstrip().endswith(
        f"; of a folder of data: --set data.root={tmp_path}"
    )
    assert "error: run name: expected letters" in wsis("run", TINY, "--name", "", "--dry-run").err
