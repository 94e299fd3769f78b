"""The paper's configurations run on a dozen photographs: real architectures, few steps, smaller pictures.

No ResNet weights can be had without a network, so `pretrained: null` is set by name, as a user would have to.
"""

from pathlib import Path

import pytest

from data_contracts.errors import DataError
from data_contracts.store import Store
from wsis.engine.progress import Progress
from wsis.errors import MissingWeightsError
from wsis.reporting.tables.results import results_of
from wsis.runs.config import load_config
from wsis.runs.runner import Runner

SMALL = [
    "data.train_split=train",
    "data.limit=12",
    "prm_classifier.pretrained=null",
    "prm_classifier.epochs=1",
    "prm_classifier.image_size=160",
    "prm_classifier.test_size=160",
    "prm_seeds.image_size=160",
    "proposals.max_side=160",
    "proposals.num_proposals=100",
    "conditional.image_size=96",
    "conditional.pretrain_epochs=0.3",
    "conditional.epochs=0.3",
    "prediction.pretrained=null",
    "prediction.image_size=160",
    "prediction.shorter_size=160",
    "prediction.batch_size=2",
    "prediction.steps=2",
    "prediction.later_steps=1",
    "execution.workers=1",
    "execution.device=cpu",
]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_smoke_pass(voc_root: Path, tmp_path: Path) -> None:
    """Of the letter, and so of what it is based on too."""
    config = load_config("literal_image", [*SMALL, f"data.root={voc_root}", "outer_iterations=2"])
    runner = Runner(Store(tmp_path), "letter", config, progress=Progress(quiet=True))
    record = runner.run()
    assert record.status == "completed"
    rows = results_of(runner)
    evaluated = [(kind, t) for t in (1, 2) for kind in ("pseudo_labels", "prediction")]
    assert [(r["kind"], r["outer_iteration"]) for r in rows] == [("prm_baseline", None), *evaluated]
    samples = runner.artefact("pseudo_labels@2").manifest.counts
    assert samples["images"] == 12 and samples["samples_per_image"] == 10


def test_with_boxes_every_network_is_built_and_nothing_stops_the_run(voc_root: Path, tmp_path: Path) -> None:
    config = load_config("voc2012_box", [*SMALL, f"data.root={voc_root}"])
    nodes, data = Runner(Store(tmp_path), "box", config, progress=Progress(quiet=True)).prepare()
    assert "boxes" in {node.key for node in nodes} and data.images["train"] == 12


def test_without_sbd_trainaug_is_refused_at_once(voc_root: Path, tmp_path: Path) -> None:
    no_weights = ["prm_classifier.pretrained=null", "prediction.pretrained=null"]
    config = load_config("voc2012_image", [f"data.root={voc_root}", *no_weights])
    with pytest.raises(DataError, match="sbd"):
        Runner(Store(tmp_path), "paper", config, progress=Progress(quiet=True)).run()


def test_missing_backbone_weights_stop_a_run_before_any_stage(voc_root: Path, tmp_path: Path) -> None:
    missing = tmp_path / "resnet50.pth"
    overrides = [*SMALL, f"data.root={voc_root}", f"prm_classifier.pretrained={missing}"]
    runner = Runner(Store(tmp_path / "store"), "paper", load_config("voc2012_image", overrides))
    with pytest.raises(MissingWeightsError, match=r"resnet50\.pth"):
        runner.run()
    assert not (tmp_path / "store" / "dataset").exists()
