"""A run's name stands for one configuration and one data set."""

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_contracts.errors import ConfigError, ContractError
from data_contracts.runs import RunRecord, load_run, save_run
from data_contracts.store import Store
from tests.runs.other_data import write_voc
from tests.runs.test_ablations import write_suite
from tests.runs.tiny_run import RUN, TINY, computed, done, fingerprints, record_of, wsis
from wsis.apps.suites import load_suite, members, run_members
from wsis.engine.progress import Progress
from wsis.runs.config import RunConfig, load_config
from wsis.runs.identity import refuse_differences, setting_differences
from wsis.runs.plan import Node
from wsis.runs.runner import Runner

CLASSES = ["cup", "fish"]


class Stopped(Exception):
    """The first node that is not of the data."""


def start(
    store: Path, config: RunConfig | None, replace: bool = False, log: list[str] | None = None
) -> RunRecord:
    """Run what comes before `prm_classifier`: the data's stages alone, in a second."""

    def wrap(node: Node, work):
        if node.stage.name not in ("dataset", "boxes", "ground_truth"):
            raise Stopped
        return work()

    progress = Progress(quiet=True)
    if log is not None:
        progress.log = log.append  # type: ignore[method-assign]
    runner = Runner(Store(store), "mine", config, "tiny", progress, replace)
    with pytest.raises(Stopped):
        runner.run(wrap)
    return load_run(Store(store), "mine")


def voc(root: Path, *changes: str) -> RunConfig:
    return load_config(str(TINY), ["data.format=voc", f"data.root={root}", *changes])


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    root = tmp_path / "devkit"
    for split, count in (("train", 6), ("val", 2)):
        write_voc(root, split, CLASSES, count)
    return root


# -- settings ---------------------------------------------------------------------------------------------
def test_what_decides_the_result_differs_and_what_decides_the_speed_does_not() -> None:
    base = load_config(str(TINY))
    fast = [
        "execution.workers=3",
        "execution.shard_images=9",
        "prediction.data_workers=2",
        "data.root=elsewhere",
    ]
    assert setting_differences(base, load_config(str(TINY), fast)) == []
    changes = [
        "conditional.k=3",
        "data.scenes.max_instances=3",
        "data.supervision=box",
        "data.limit=9",
        "seed=4",
    ]
    found = setting_differences(base, load_config(str(TINY), changes))
    assert {str(one) for one in found} == {
        "conditional.k: 2 → 3", "data.scenes.max_instances: 4 → 3", "data.supervision: image → box",
        "data.limit: null → 9", "seed: 0 → 4",
    }  # fmt: skip
    processes = setting_differences(base, load_config(str(TINY), ["prediction.processes=2"]))
    assert [str(one) for one in processes] == ["prediction.processes: 1 → 2"]


def test_at_most_ten_differences_are_shown() -> None:
    names = [
        "conditional.k=3", "conditional.gamma=0.1", "conditional.epochs=1", "pseudo_labels.score_noise=0.04", "seed=5",
        "prm_classifier.epochs=1", "prm_seeds.image_size=64", "proposals.max_side=64", "prediction.steps=3",
        "prediction.self_diversity=0.3", "outer_iterations=1", "evaluate=false",
    ]  # fmt: skip
    found = setting_differences(load_config(str(TINY)), load_config(str(TINY), names))
    with pytest.raises(ConfigError) as raised:
        refuse_differences("x", found)
    assert str(raised.value).count(" → ") == 10 and "and 2 more" in str(raised.value)


def test_another_configuration_is_refused_with_both_ways_out(own_store: Path) -> None:
    before = record_of(own_store)
    for given in (
        ["run", TINY, "--set", "pseudo_labels.score_noise=0.03"],
        ["run", "--name", RUN, "--set", "pseudo_labels.score_noise=0.03"],
        ["run", "demo", "--name", RUN],
    ):
        refused = wsis(*given, "--store", own_store)
        assert refused.code == 2 and refused.err.startswith(
            f"error: run '{RUN}' is of other settings or data: "
        )
        assert len(refused.err.splitlines()) == 1
        assert "--name OTHER" in refused.err and "--replace" in refused.err
        assert given[1] == "demo" or "pseudo_labels.score_noise: 0.02 → 0.03." in refused.err
    assert (
        "pseudo_labels.score_noise: 0.02 → 0.03"
        in wsis("run", "--name", RUN, "--set", "pseudo_labels.score_noise=0.03", "--store", own_store).err
    )
    assert record_of(own_store) == before


def test_replace_goes_on_with_the_new_settings(own_store: Path) -> None:
    before = fingerprints(own_store)
    changes = ["--set", "evaluate=false", "--set", "prediction.data_workers=1"]
    assert wsis("run", "--name", RUN, *changes, "--store", own_store).code == 2
    done(wsis("run", "--name", RUN, *changes, "--replace", "--store", own_store))
    after = fingerprints(own_store)
    assert computed(own_store) == set() and all(before[key] == value for key, value in after.items())
    assert "ground_truth" not in after and record_of(own_store).config["evaluate"] is False


def test_a_replaced_run_that_is_interrupted_shows_nothing_of_the_old_settings(
    devkit: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    start(store, voc(devkit))
    record = start(store, voc(devkit, "data.limit=5"), replace=True)
    assert set(record.entries) == {"dataset", "ground_truth"} and record.data is not None
    assert record.data.images["train"] == 5


def test_a_run_that_has_computed_nothing_may_be_changed(devkit: Path, tmp_path: Path) -> None:
    store, image = tmp_path / "store", next((devkit / "JPEGImages").glob("train*"))
    whole = image.read_bytes()
    image.write_bytes(whole[:100])
    with pytest.raises(ContractError, match=image.name):
        Runner(Store(store), "mine", voc(devkit), progress=Progress(quiet=True)).run()
    image.write_bytes(whole)
    start(store, voc(devkit, "data.limit=5"))


# -- data -------------------------------------------------------------------------------------------------
def test_other_data_under_the_name_is_refused(devkit: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    known = start(store, voc(devkit)).data
    assert known is not None and known.images == {"train": 6, "val": 2} and len(known.content) == 64
    image = next((devkit / "JPEGImages").glob("train*"))
    assert cv2.imwrite(str(image), np.zeros((64, 80, 3), np.uint8))
    pattern = (
        rf"run 'mine' .*: content of images or labels in {re.escape(str(devkit))}: {known.content[:12]} → "
    )
    for config in (voc(devkit), None):
        with pytest.raises(ConfigError, match=pattern):
            Runner(Store(store), "mine", config, progress=Progress(quiet=True)).run()
    record = start(store, voc(devkit), replace=True)
    assert record.data is not None and record.data.content != known.content


def test_scenes_that_this_version_draws_in_another_way_are_other_data(
    own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsis.readers.formats.scenes.SCENES_VERSION", 999)
    refused = wsis("run", "--name", RUN, "--store", own_store)
    assert refused.code == 2 and len(refused.err.splitlines()) == 1
    assert (
        "content of images or labels in the generated scenes, which this version draws in another way"
        in refused.err
    )
    assert "None" not in refused.err and "--name OTHER" in refused.err and "--replace" in refused.err
    assert "goes on as it is" not in refused.err  # which is what was asked for


def test_masks_that_changed_are_other_data(devkit: Path, tmp_path: Path) -> None:
    start(tmp_path / "store", voc(devkit))
    names = ("SegmentationObject", "SegmentationClass")
    for folder in names:
        shutil.copy(devkit / folder / "val_1.png", devkit / folder / "val_0.png")
    with pytest.raises(ConfigError, match=r"content of masks in "):
        Runner(Store(tmp_path / "store"), "mine", progress=Progress(quiet=True)).run()


def test_the_same_data_in_another_place_is_the_same_run(devkit: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    before = start(store, voc(devkit))
    moved = devkit.rename(tmp_path / "moved")
    after = start(store, voc(moved))
    assert {k: e.fingerprint for k, e in before.entries.items()} == {
        k: e.fingerprint for k, e in after.entries.items()
    }
    assert all(entry.reused for entry in after.entries.values())


def test_a_run_goes_on_without_its_data_at_hand(devkit: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    before = start(store, voc(devkit))
    devkit.rename(tmp_path / "away")
    log: list[str] = []
    after = start(store, None, log=log)
    assert f"data.root {devkit} is not at hand: the run goes on from what the store has of it" in log
    assert after.data == before.data and set(after.entries) == set(before.entries)
    with pytest.raises(ContractError, match=r"data.root: expected a folder, got .*typo"):
        Runner(Store(store), "mine", voc(tmp_path / "typo"), progress=Progress(quiet=True)).run()


# -- suites -----------------------------------------------------------------------------------------------
def test_a_suite_refuses_before_its_first_run_starts(own_store: Path, tmp_path: Path) -> None:
    name, suite = load_suite(str(write_suite(tmp_path)))
    short = ["outer_iterations=1"]
    rows = members(name, suite, short)
    save_run(Store(own_store), record_of(own_store).model_copy(update={"name": rows[1].run_name}))
    started: list[str] = []
    with pytest.raises(ConfigError, match=rf"run '{rows[1].run_name}' .*conditional.terms: "):
        run_members(
            Store(own_store), suite.base, rows, lambda member, runner: started.append(member.run_name)
        )
    assert started == []
    run_members(
        Store(own_store),
        suite.base,
        rows,
        lambda member, runner: started.append(member.run_name),
        replace=True,
    )
    assert started == [row.run_name for row in rows]
