"""What cannot be shown in Prefect is a warning that says why; results never depend on it. No server is asked."""

from pathlib import Path

import pytest

from data_contracts.store import Store
from flows import artifacts, tasks
from tests.runs.tiny_run import RUN
from wsis.engine.progress import Progress
from wsis.reporting.tables.results import results_of
from wsis.views.run import Run

pytestmark = pytest.mark.timeout(300)


class Said(Progress):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes no artifact."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("413 Request Entity\nToo Large")

    for kind in ("table", "markdown", "link"):
        monkeypatch.setattr(artifacts, f"create_{kind}_artifact", refuse)
    monkeypatch.setattr(tasks, "create_progress_artifact", refuse)


def test_an_artifact_that_is_refused_is_one_warning(refusing: None, own_store: Path) -> None:
    run, said = Run.load(Store(own_store), RUN), Said()
    why = "not shown in Prefect: RuntimeError: 413 Request Entity Too Large"
    artifacts.publish_pictures(run, "pseudo_labels@1", said.log)
    assert said.lines == [f"warning: pictures of pseudo_labels@1 are {why}"]
    assert artifacts.publish_results(run, said.log) == results_of(run)
    assert said.lines[1:] == [f"warning: the results are {why}"]
    artifacts.publish_pictures(run, "prediction@1", said.log)  # has none
    assert len(said.lines) == 2
    artifacts.publish_report(run, True, said)
    assert said.lines[2:] == [f"warning: the report is {why}"]
    assert (own_store / "reports" / RUN / "report.html").is_file()


def test_where_nothing_is_scored_there_is_no_table(monkeypatch: pytest.MonkeyPatch, own_store: Path) -> None:
    def never(**_: object) -> None:
        raise RuntimeError("an empty table")

    monkeypatch.setattr(artifacts, "create_table_artifact", never)
    monkeypatch.setattr(artifacts, "results_of", lambda run: [])
    said = Said()
    assert artifacts.publish_results(Run.load(Store(own_store), RUN), said.log) == [] and said.lines == []


def test_a_picture_that_cannot_be_drawn_is_a_warning(
    tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no colour is left")

    monkeypatch.setattr(artifacts, "stage_pictures", broken)
    said = Said()
    artifacts.publish_pictures(Run.load(Store(tiny_store), RUN), "predictions.val@2", said.log)
    assert said.lines == [
        "warning: pictures of predictions.val@2 are not shown in Prefect: ValueError: no colour is left"
    ]


def test_how_far_the_run_is(refusing: None, monkeypatch: pytest.MonkeyPatch) -> None:
    said = Said()
    monkeypatch.setattr(tasks.PrefectProgress, "log", lambda _, message: said.log(message))
    progress = tasks.PrefectProgress(RUN)
    progress.of_run(0.5)
    assert said.lines == [
        "warning: how far the run is, is not shown in Prefect: RuntimeError: 413 Request Entity Too Large"
    ]
