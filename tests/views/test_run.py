"""A stored run as one object: what it opens, what it names, what it counts as absent."""

import shutil
from pathlib import Path

import pytest

from data_contracts.errors import ArtefactMissingError, ConfigError, CorruptArtefactError
from data_contracts.runs import DataFacts, save_run
from data_contracts.store import Store
from tests.reporting.conftest import CLASSES, RunBuilder
from tests.reporting.conftest import built_run as built_run
from tests.reporting.conftest import demo_run as demo_run
from wsis.reporting.page.report import report_html
from wsis.reporting.tables.store_text import run_text
from wsis.views.run import Run, class_name, spread


def test_artefacts_by_key_and_by_iteration(demo_run: RunBuilder) -> None:
    run = Run.load(demo_run.store, "demo")
    assert run.latest("prediction") is run.artefact("prediction@2")  # opened and hashed once
    assert run.latest("prediction", 1).manifest.outer_iteration == 1
    assert run.iterations() == [1, 2] == list(run.by_iteration("pseudo_labels"))
    assert run.classes == tuple(CLASSES) and run.images.ids == ["photo0", "photo1", "photo2"]
    assert (
        run.choice(run.latest("prediction"), None) == "outer iteration 2, the last; --iteration takes another"
    )
    assert [class_name(run.classes, label) for label in (1, 2, 3)] == ["cat", "cow", "class 3"]


def test_warnings_of_the_stages_are_read_once_each(tmp_path: Path) -> None:
    made = RunBuilder(tmp_path / "store")
    made.commit("prm_seeds", "prm_seeds", "weights", counts={"warnings": ["seeds lie on the ground"]})
    for t in (1, 2):
        made.commit(f"pseudo_labels@{t}", "pseudo_labels", "weights", counts={"warnings": ["whole images"]})
    said = ["prm_seeds: seeds lie on the ground", "pseudo_labels@2: whole images"]
    assert made.run.warnings() == said
    assert [line.removeprefix("warning: ") for line in run_text(made.run).splitlines()[-2:]] == said
    assert all(line in report_html(made.run, 0) for line in said)


def test_what_a_run_lacks_is_named_or_noted(demo_run: RunBuilder) -> None:
    run = demo_run.run
    with pytest.raises(
        ConfigError, match=r"run demo holds no 'proposal'; it holds dataset, .*; did you mean 'proposals'\?"
    ):
        run.artefact("proposal")
    with pytest.raises(ConfigError, match=r"run demo holds no prm_classifier yet; .*: wsis run --name demo"):
        run.latest("prm_classifier")
    assert run.records("boxes") is None and run.find("prediction@1") is not None
    assert run.absent == ["boxes"]
    with pytest.raises(ArtefactMissingError, match="no ground truth yet: wsis stage ground_truth --run demo"):
        run.truth()
    run.record.data = DataFacts(root=None, content="c", truth=None, images={"train": 4}, masks={"train": 0})
    with pytest.raises(ConfigError, match=r"run demo: the data has no true masks, .*`wsis view demo`"):
        run.truth()
    run.record.config["evaluate"] = False
    with pytest.raises(ConfigError, match="run with evaluate=false"):
        run.truth()
    del run.record.entries["dataset"]
    with pytest.raises(ConfigError, match="run demo holds no data set yet: wsis run --name demo"):
        _ = run.classes


def test_damage_is_found_when_an_artefact_is_opened(demo_run: RunBuilder, tmp_path) -> None:
    shutil.copytree(demo_run.store.root, tmp_path / "store")
    run = Run(Store(tmp_path / "store"), demo_run.record)
    save_run(run.store, run.record)
    place = run.artefact("prediction@1", verify=False).path
    (place / "curve.json").write_text("[]")
    with pytest.raises(CorruptArtefactError, match=r"curve\.json"):
        run.artefact("prediction@1")
    shutil.rmtree(place)
    manifests = run.manifests()
    assert manifests["prediction@1"] is None and manifests["prediction@2"] is not None


@pytest.mark.parametrize(
    ("count", "expected"), [(None, "abcde"), (9, "abcde"), (3, "ace"), (1, "a"), (0, "")]
)
def test_evenly_spread(count: int | None, expected: str) -> None:
    assert "".join(spread("abcde", count)) == expected
