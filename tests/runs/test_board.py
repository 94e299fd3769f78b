"""What TensorBoard shows of a run beside its losses: pictures and scores, by tag and outer iteration."""

import io
from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data_contracts.runs import load_run
from data_contracts.store import Store
from tests.runs.tiny_run import RUN, TINY, Result, computed, done, fingerprints, wsis
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


def test_what_cannot_be_shown_is_one_warning(own_store: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("no folder")
    said = board(own_store, tmp_path).err
    assert said.count("warning: execution.tensorboard: ") == 1 and "Traceback" not in said
    assert "evaluation.prm_baseline and what comes after it is not shown: " in said
    assert load_run(Store(own_store), RUN).status == "completed"


def test_only_the_outer_loop_has_pictures(tiny_store: Path) -> None:
    run = Run.load(Store(tiny_store), RUN)
    drawn = {key: len(stage_pictures.stage_pictures(run, key)) for key in run.record.entries}
    assert {key: count for key, count in drawn.items() if count} == {
        **{f"pseudo_labels@{t}": 4 for t in (1, 2)},
        **{"predictions.train@1": 4, "predictions.val@1": 4, "predictions.val@2": 4},
    }
