"""What TensorBoard shows of a run beside its losses: pictures and scores, by tag and outer iteration."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data_contracts.runs import load_run
from data_contracts.store import Store
from tests.runs.tiny_run import RUN, TINY, Result, computed, done, fingerprints, wsis
from wsis.engine.scalars import why_unwritable
from wsis.reporting.pictures import stage_pictures
from wsis.reporting.tables.results import results_of
from wsis.views.run import Run

pytestmark = pytest.mark.timeout(300)


def board(store: Path, events: Path) -> Result:
    """The finished run once more: it reuses everything."""
    return done(wsis("run", TINY, "--store", store, "--set", f"execution.tensorboard={events}"))


def read(events: Path) -> EventAccumulator:
    found = EventAccumulator(str(events / "runs" / RUN))
    found.Reload()
    return found


def test_pictures_and_scores_of_every_outer_iteration(own_store: Path, tmp_path: Path) -> None:
    before = fingerprints(own_store)
    board(own_store, tmp_path / "events")
    board(own_store, tmp_path / "events")  # shows the same anew, and nothing twice
    assert fingerprints(own_store) == before and not computed(own_store)
    found = read(tmp_path / "events")

    steps = {tag: [event.step for event in found.Images(tag)] for tag in found.Tags()["images"]}
    assert steps == {"pseudo_labels": [1, 2], "predictions.val": [1, 2], "predictions.train": [1]}
    for tag in steps:
        for event in found.Images(tag):
            with Image.open(io.BytesIO(event.encoded_image_string)) as picture:
                assert picture.format == "JPEG" and picture.size == (event.width, event.height)
                assert event.height > 4 * 200 and len(picture.getcolors(1 << 24) or ()) > 1000

    rows = results_of(Run.load(Store(own_store), RUN))
    assert len(rows) == 5
    for row in rows:
        for threshold, score in row["mAP"].items():
            shown = found.Scalars(f"{row['kind']}/mAP {threshold}")
            assert [e.value for e in shown if e.step == (row["outer_iteration"] or 0)] == [
                pytest.approx(score)
            ]
        shown = found.Scalars(f"{row['kind']}/COCO AP")
        assert [e.step for e in shown] == ([0] if row["kind"] == "prm_baseline" else [1, 2])


def test_what_cannot_be_shown_is_one_warning(
    own_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", full)
    said = board(own_store, tmp_path / "events").err
    assert said.count("warning: execution.tensorboard: ") == 1 and "Traceback" not in said
    assert (
        "evaluation.prm_baseline and what comes after it is not shown: OSError: [Errno 28] No space" in said
    )
    assert load_run(Store(own_store), RUN).status == "completed"


@pytest.mark.parametrize("place", ["file", "file/below", "taken"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_first_stage(
    tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "runs").write_text("no folder")
    events = f"execution.tensorboard={tmp_path / place}"
    refused = wsis("run", TINY, "--store", tmp_path / "store", "--set", events)
    assert refused.code == 2 and refused.err.count("error: ") == 1
    last = refused.err.splitlines()[-1]
    assert last.startswith("error: execution.tensorboard: expected a folder that can be written, got ")
    assert last.endswith(f"{tmp_path / ('taken/runs' if place == 'taken' else 'file')} is no folder")
    assert not (tmp_path / "store" / "dataset").exists() and not list(tmp_path.glob("store/runs/*.json"))


def test_a_folder_without_permission_is_one_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_unwritable(tmp_path / "a" / "b") is None and not (tmp_path / "a").exists()
    monkeypatch.setattr(os, "access", lambda place, mode: False)  # root may write everywhere
    assert why_unwritable(tmp_path / "a") == f"{tmp_path} cannot be written"


def test_only_the_outer_loop_has_pictures(tiny_store: Path) -> None:
    run = Run.load(Store(tiny_store), RUN)
    drawn = {key: len(stage_pictures.stage_pictures(run, key)) for key in run.record.entries}
    assert {key: count for key, count in drawn.items() if count} == {
        **{f"pseudo_labels@{t}": 4 for t in (1, 2)},
        **{"predictions.train@1": 4, "predictions.val@1": 4, "predictions.val@2": 4},
    }
