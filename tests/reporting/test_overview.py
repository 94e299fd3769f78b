"""The first screen of a page: what it says of runs in every state."""

import pytest

from tests.reporting.conftest import row
from tests.reporting.gallery_run import gallery_run
from wsis.reporting.page.overview import overview
from wsis.reporting.page.report import report_html
from wsis.runs.config import load_config
from wsis.views.run import TRIAL, TRIAL_STEPS


@pytest.fixture
def built(tmp_path):
    return gallery_run(tmp_path / "store")


def test_a_finished_run(built):
    said = overview(built.run, None)
    assert [(bar.title, round(bar.percent)) for bar in said.bars] == [
        ("prediction, iteration 1", 35),
        ("prediction, iteration 2", 49),
    ]
    assert said.scored == "mAP^r at IoU 0.50 on val, in percent" and not said.unscored
    weak = said.facts["Learned from"]
    assert weak == "5 photographs with boxes and image-level labels: cat, cow; 3 more were held out."
    assert said.facts["So far"] == "2 of 2 outer iterations; finished."
    assert said.following == "Ask where accuracy is lost: wsis report demo --diagnose."


def test_a_trial_is_followed_by_a_run(built, monkeypatch):
    monkeypatch.setattr("wsis.views.run.Run.trial_line", lambda run: "quick only shows that everything works")
    said = overview(built.run, None)
    assert said.following == "Train long enough to learn: the same command with voc_lite in place of quick."


def test_a_run_that_failed_before_it_scored_says_why(built):
    for key in [key for key, one in built.record.entries.items() if one.stage == "evaluation"]:
        del built.record.entries[key]
    built.record.status, built.record.error = "failed", "DataError: B.jpg is damaged"
    said = overview(built.run, None).unscored
    assert said.startswith("Nothing is scored: the run failed: DataError: B.jpg is damaged. ")


def test_given_masks_are_told_of(built, monkeypatch):
    shares = [{"iteration": 1, "labels": 5, "masks": 0}, {"iteration": 2, "labels": 3, "masks": 2}]
    monkeypatch.setattr("wsis.reporting.page.overview.training_shares", lambda run: shares)
    said = overview(built.run, None).facts["Learned from"]
    assert said.startswith(
        "5 photographs with boxes and image-level labels: cat, cow; 3 more were held out. "
    )
    assert said.endswith("what they learn from: iteration 1: labels 5; iteration 2: labels 3, given masks 2.")


def test_baseline_and_ceiling_stand_beside(built):
    baseline = {**row("prm_baseline", 1, 0.2), "outer_iteration": None, "split": "val"}
    ceiling = {**row("prediction", 1, 0.9), "outer_iteration": None}
    for key, metrics in (("evaluation.prm_baseline", baseline), ("evaluation.ceiling", ceiling)):
        built.commit(key, "evaluation", "metrics", files={"metrics.json": metrics})
    titles = [bar.title for bar in overview(built.run, None).bars]
    assert titles == [
        "PRM baseline", "prediction, iteration 1", "prediction, iteration 2", "ceiling: trained on true masks",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "following"),
    [("running", "wsis view demo shows it live"), ("failed", "Go on with wsis run --name demo")],
)
def test_a_run_that_is_not_finished(built, status, following):
    built.record.status = status
    said = overview(built.run, None)
    assert following in said.following and status in said.facts["So far"]


def test_next_points_to_the_warnings(built, monkeypatch):
    """It does not say them once more."""
    warned = ["pseudo_labels@1: the samples cover the image: docs/howto/common-class.md"]
    monkeypatch.setattr("wsis.views.run.Run.warnings", lambda run: warned)
    said = overview(built.run, None)
    assert (said.following, said.anchor) == ("Read its warning first.", "warnings")
    page = report_html(built.run, 0)
    assert '<dd class="next"><a href="#warnings">Read its warning first.</a></dd>' in page
    assert page.count(warned[0]) == 1 and '<section id="warnings">' in page
    warned.append("prm_seeds: spread")
    assert overview(built.run, None).following == "Read its 2 warnings first."


@pytest.mark.parametrize(
    ("config", "steps", "said"), [("quick", 100, True), ("quick", 900, False), ("demo", 100, False)]
)
def test_a_trial_says_that_its_masks_say_little(built, config, steps, said):
    built.record.config_name, built.record.config["prediction"] = config, {"steps": steps}
    fact = overview(built.run, None).facts.get("What to expect", "")
    assert fact.startswith("quick only shows that everything works") == said


def test_the_trial_is_the_shipped_configuration():
    assert load_config(TRIAL).prediction.steps == TRIAL_STEPS


def test_a_diagnosis_says_what_to_do(built):
    def step(name: str, loss: float | None) -> dict:
        return {"step": name, "iou": 0.5, "loss": loss, "aside": False}

    steps = [
        step("perfect", None),
        step("best proposal", 0.1),
        step("best of K", 0.3),
        step("mean over K", 0.05),
    ]
    found = {"conclusion": "most is lost there", "waterfalls": [{"iteration": 2, "steps": steps}]}
    said = overview(built.run, found)
    assert said.facts["Where accuracy is lost"] == "most is lost there"
    assert "choose other proposals than the best" in said.following


def test_without_masks_it_says_what_to_look_at(tmp_path):
    said = overview(gallery_run(tmp_path / "store", masks=False).run, None)
    assert said.unscored.startswith(
        "Nothing is scored: evaluate=false. Look at what the trained network predicts"
    )
    assert not said.bars and "--pseudo-labels --worst 20 --out labels, then wsis correct" in said.following
