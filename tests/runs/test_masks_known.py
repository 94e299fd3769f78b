"""Which parts of the data have masks is known before the first stage: what can be scored is, and the rest is said."""

import json
import shutil
from pathlib import Path

import pytest

from data_contracts.errors import ConfigError, DataError
from data_contracts.runs import DataFacts
from data_contracts.store import Store
from tests.runs.other_data import write_coco, write_voc
from tests.runs.tiny_run import SHORT, TINY, done, manifest_of, record_of, wsis
from wsis.engine.progress import Progress
from wsis.readers.config import DataConfig
from wsis.readers.survey import survey
from wsis.runs.config import RunConfig, load_config
from wsis.runs.plan import check_ceiling, masks_line, plan
from wsis.runs.runner import Runner

pytestmark = pytest.mark.timeout(400)
CLASSES = ["cup", "fish", "kite"]


def facts(train: int, val: int) -> DataFacts:
    return DataFacts(
        root=None, content="c", truth=None, images={"train": 12, "val": 8}, masks={"train": train, "val": val}
    )


def configured(*changes: str) -> RunConfig:
    return load_config(str(TINY), ["outer_iterations=1", *changes])


def keys(config: RunConfig, data: DataFacts | None) -> set[str]:
    nodes = plan(config, data)
    there = {n.key for n in nodes}
    assert all(set(n.inputs.values()) <= there for n in nodes), "a node reads what is not planned"
    return there


FULL = keys(configured(), None)
OF_TRAIN = {"evaluation.pseudo_labels@1"}
OF_VAL = {"prm_baseline", "evaluation.prm_baseline", "evaluation.prediction@1"}


@pytest.mark.parametrize(
    ("train", "val", "left_out", "line"),
    [
        (12, 8, set(), None),
        (0, 8, OF_TRAIN,
         "true masks to measure with: train 0 of 12, val 8 of 8; "
         "pseudo labels are not scored, val predictions are scored"),
        (12, 0, OF_VAL,
         "true masks to measure with: train 12 of 12, val 0 of 8; "
         "pseudo labels are scored, val predictions are not scored"),
        (0, 0, {"ground_truth", *OF_TRAIN, *OF_VAL},
         "true masks to measure with: none (train 0 of 12, val 0 of 8); nothing is scored, training is the same"),
        (5, 3, set(),
         "true masks to measure with: train 5 of 12, val 3 of 8; "
         "pseudo labels are scored, val predictions are scored, "
         "on the images that have masks"),
    ],
)  # fmt: skip
def test_what_is_scored_follows_from_the_masks(
    train: int, val: int, left_out: set[str], line: str | None
) -> None:
    config = configured()
    assert FULL - keys(config, facts(train, val)) == left_out
    assert masks_line(config, facts(train, val)) == line


def test_nothing_is_said_where_nothing_shall_be_scored() -> None:
    assert masks_line(configured("evaluate=false"), facts(0, 0)) is None
    assert masks_line(configured("data.val_split=null"), facts(12, 0)) is None


@pytest.mark.parametrize(
    ("train", "val", "named"), [(0, 8, "on train;"), (12, 0, "on val;"), (0, 0, "train and val")]
)
def test_a_ceiling_without_masks_is_refused(train: int, val: int, named: str) -> None:
    with pytest.raises(ConfigError, match=f"ceiling: expected masks on train and val .*{named}"):
        check_ceiling(configured("ceiling=true"), facts(train, val))
    check_ceiling(configured("ceiling=true"), facts(1, 1))
    check_ceiling(configured(), facts(train, val))


# -- the data ---------------------------------------------------------------------------------------------
def labelled_coco(root: Path, without: tuple[str, ...]) -> Path:
    for split, count in (("train", 6), ("val", 4)):
        write_coco(root, split, CLASSES, count)
    for split in without:
        path = root / "annotations" / f"instances_{split}.json"
        tree = json.loads(path.read_text())
        for annotation in tree["annotations"]:
            del annotation["segmentation"]
        path.write_text(json.dumps(tree))
    return root


def test_masks_of_a_coco_file_are_counted(tmp_path: Path) -> None:
    root = labelled_coco(tmp_path / "coco", ("train",))
    found = survey(DataConfig(format="coco", root=root), with_truth=True)
    assert (found.images, found.masks) == ({"train": 6, "val": 4}, {"train": 0, "val": 4})
    assert (
        found.truth is not None
        and survey(DataConfig(format="coco", root=root), with_truth=False).truth is None
    )


def test_images_without_objects_alone_are_no_masks(tmp_path: Path) -> None:
    root = labelled_coco(tmp_path / "coco", ("train", "val"))
    path = root / "annotations" / "instances_val.json"
    tree = json.loads(path.read_text())
    tree["annotations"] = [a for a in tree["annotations"] if a["image_id"] != 1]
    path.write_text(json.dumps(tree))
    assert survey(DataConfig(format="coco", root=root), with_truth=True).masks == {"train": 0, "val": 0}


def test_masks_of_some_images_of_a_devkit_are_counted(tmp_path: Path) -> None:
    root = tmp_path / "devkit"
    for split, count in (("train", 6), ("val", 3)):
        write_voc(root, split, CLASSES, count)
    for name in ("train_0", "train_4", "val_1"):
        (root / "SegmentationObject" / f"{name}.png").unlink()
    found = survey(DataConfig(format="voc", root=root), with_truth=True)
    assert found.masks == {"train": 4, "val": 2}


# -- the command ------------------------------------------------------------------------------------------
def test_a_run_with_masks_on_val_alone(tmp_path: Path) -> None:
    """Through to the end, then alone and without the data at hand: what was known at the start stays known."""
    root, store = labelled_coco(tmp_path / "coco", ("train",)), tmp_path / "store"
    changes = ["data.format=coco", f"data.root={root}", "outer_iterations=1", *SHORT]
    options = [x for change in changes for x in ("--set", change)]
    result = done(wsis("run", TINY, "--name", "mine", *options, "--store", store))
    line = "true masks to measure with: train 0 of 6, val 4 of 4; "
    line += "pseudo labels are not scored, val predictions are scored"
    assert next(x for x in result.err.splitlines() if "masks to measure with:" in x).endswith(line)
    assert set(record_of(store, "mine").entries) == FULL - OF_TRAIN
    assert manifest_of(store, "ground_truth", "mine").counts["images_without_masks"] == 6
    shutil.move(root, tmp_path / "away")
    out = done(wsis("stage", "evaluation", "--run", "mine", "--force", "--store", store)).out
    assert [x.split(": ")[0] for x in out.splitlines()] == [
        "evaluation.prm_baseline",
        "evaluation.prediction@1",
    ]
    again = done(wsis("run", "--name", "mine", "--store", store))
    assert "is not at hand" in again.err and all(e.reused for e in record_of(store, "mine").entries.values())
    refused = wsis("run", "--name", "mine", "--set", "ceiling=true", "--replace", "--store", store)
    assert refused.code == 2 and "ceiling: expected masks on train and val" in refused.err


def test_no_masks_at_all_is_said_before_the_first_stage(tmp_path: Path) -> None:
    root = labelled_coco(tmp_path / "coco", ("train", "val"))
    log: list[str] = []
    progress = Progress(quiet=True)
    progress.log = log.append  # type: ignore[method-assign]
    config = configured("data.format=coco", f"data.root={root}")
    order: list[str] = []

    def stop(node, work):
        order.extend([*log, node.key])
        if node.key != "dataset":
            raise KeyboardInterrupt
        return work()

    with pytest.raises(KeyboardInterrupt):
        Runner(Store(tmp_path / "store"), "mine", config, progress=progress).run(stop)
    line = (
        "true masks to measure with: none (train 0 of 6, val 0 of 4); nothing is scored, training is the same"
    )
    assert order.index(line) < order.index("dataset")
    place = ("--store", tmp_path / "store")
    shown = done(wsis("results", "mine", *place)).out
    assert shown.splitlines()[0] == "nothing is scored: the data has no masks to compare with"
    refused = wsis("diagnose", "mine", *place)
    assert refused.code == 2 and "wsis stage" not in refused.err
    assert "run mine: the data has no true masks" in refused.err and "`wsis report mine`" in refused.err
    for more in ((), ("--set", "evaluate=true")):
        refused = wsis("stage", "ground_truth", "--run", "mine", *more, *place)
        assert refused.code == 2 and "no true masks on train or val to compare with" in refused.err
    refused = wsis("stage", "evaluation", "--run", "mine", "--set", "evaluate=false", *place)
    assert refused.code == 2 and "evaluate=false; where the data has true masks, --set eval" in refused.err


def test_a_stage_of_masks_where_there_are_none_is_refused(tmp_path: Path) -> None:
    from stages.data import ground_truth
    from wsis.engine.stage import execute

    root = labelled_coco(tmp_path / "coco", ("train", "val"))
    with pytest.raises(DataError, match="masks: expected some to compare with, got none on any of 10 images"):
        execute(
            ground_truth.STAGE,
            DataConfig(format="coco", root=root),
            {},
            Store(tmp_path),
            progress=Progress(quiet=True),
        )
