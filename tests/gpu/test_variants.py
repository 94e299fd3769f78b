"""Stages on the pretended device with settings that take other ways, stopped and resumed, and with mistakes put in."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.gpu.agreement import agreement
from tests.gpu.conftest import FinishedRun
from tests.gpu.pretended import ON_CUDA, REPOSITORY, SECONDS, SHORT, Pretended, needed, pretended, run
from tests.gpu.variants import NAMES, each, words
from tests.runs.tiny_run import TINY, Process, computed, copy_of, done, manifest_of, record_of
from wsis.engine.training import CURVE_NAME
from wsis.runs.config import load_config
from wsis.runs.plan import plan

pytestmark = [needed, pytest.mark.slow, pytest.mark.timeout(1800)]
WRONG = {
    "a table of the CPU": ("conditional", "same device"),
    "an image of the CPU": ("prm_seeds", "same device"),
    "numpy of the device": ("prm_seeds", "convert cuda:0 device type tensor to numpy"),
}


def several(folder: Path, todo: Sequence[tuple[str, str | None, list[str]]]) -> tuple[Any, Pretended]:
    """Do it with `stage_runs.py`: name -> [exit code, stderr], and what was counted."""
    (folder / "todo.json").write_text(json.dumps(todo))
    script = Path(__file__).with_name("stage_runs.py")
    counted = pretended(folder, script, folder / "todo.json", folder / "found.json")
    done(counted.result)
    return json.loads((folder / "found.json").read_text()), counted


@pytest.fixture(scope="module")
def variants(short_run: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("variants")
    store = copy_of(short_run.store, folder / "store")
    return several(folder, each(store))


@pytest.mark.parametrize("name", NAMES)
def test_a_variant_runs(name: str, variants: Any):
    code, err = variants[0][name]
    assert code == 0, err
    assert not [k for k in variants[1].kinds() if k.startswith(("random numbers", "torch.load without"))]


def test_the_device_gives_what_the_cpu_gives(short_run: FinishedRun, tmp_path: Path):
    store, overrides = tmp_path / "store", [x for s in SHORT for x in ("--set", s)]
    process = Process(tmp_path / "log", "run", TINY, "--store", store, *overrides)
    try:
        done(process.result(SECONDS))
    finally:
        process.close()
    nodes = plan(load_config(str(TINY)))
    hosts = ("dataset", "ground_truth", "proposals")
    for node in nodes:
        mine, theirs = (manifest_of(one, node.key) for one in (short_run.store, store))
        assert mine.fingerprint == theirs.fingerprint
        assert node.stage.name not in hosts or mine.files == theirs.files, node.key
        if node.stage.contract == "weights":
            where = Path(mine.stage) / mine.fingerprint
            assert agreement(node, short_run.store / where, store / where).value < 1e-6, node.key
    # Once more, networks as a GPU is given them: what is folded and chosen for the CPU alone moves last bits.
    apart = tmp_path / "apart"
    for name in hosts:
        shutil.copytree(store / name, apart / name)
    laid = ["-m", "tests.gpu.laid_as_on_a_gpu"]
    command = [sys.executable, *laid, "run", str(TINY), "--store", str(apart), *overrides]
    again = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=REPOSITORY)
    assert again.returncode == 0, again.stderr
    # Layouts of memory that are for the CPU alone move last bits: those of the seeds' scores and, by GroupNorm, which
    # gives a GPU another one than the CPU, those of the conditional network and of all that comes of it.
    exact = (*hosts, "prm_classifier", "prm_baseline")
    assert {node.stage.name for node in nodes} > set(exact)
    for node in nodes:
        mine, theirs = (manifest_of(one, node.key) for one in (short_run.store, apart))
        assert mine.fingerprint == theirs.fingerprint
        assert node.stage.name not in exact or mine.files == theirs.files, node.key
        if node.stage.on_device:
            where = Path(mine.stage) / mine.fingerprint
            found = agreement(node, short_run.store / where, apart / where)
            assert found.value < 1e-6 if found.what == "weights apart" else found.value == 1.0, node.key


def test_the_check_of_a_card_ends_with_a_table(tmp_path: Path):
    script = REPOSITORY / "benchmarks" / "gpu_check.py"
    command = [sys.executable, str(script), "--pretend", "--out", str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=2 * SECONDS)
    assert found.returncode == 0, found.stdout
    rows = (tmp_path / "table.md").read_text().splitlines()[4:]
    assert len(rows) == 7 and not [row for row in rows if "–" in row or "NOT EQUAL" in row]


def test_boxes_and_the_ceiling(tmp_path: Path):
    boxes = ("data.supervision=box", "ceiling=true", "outer_iterations=1")
    run(tmp_path, tmp_path / "store", *SHORT, *boxes)
    assert record_of(tmp_path / "store").status == "completed"
    nodes = plan(load_config(str(TINY), boxes))
    assert computed(tmp_path / "store") == {node.key for node in nodes}


def test_photographs(short_run: FinishedRun, tmp_path: Path):
    store = copy_of(short_run.store, tmp_path / "store")
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 300, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / "a.png")
    command = ["wsis", "predict", "tiny", tmp_path / "photos", "--out", tmp_path / "out", "--store", store]
    tiles = ["--tiles", "100", "--score", "0", "--set", ON_CUDA[0]]
    found = pretended(tmp_path, *command, *tiles)
    assert "tiles" in done(found.result).err
    assert json.loads((tmp_path / "out" / "results.json").read_text())
    assert found.waits()["predictions image"].total > 0


@pytest.fixture(scope="module")
def wrong(short_run: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("wrong")
    store = copy_of(short_run.store, folder / "store")
    todo = [(name, name, words(stage, store)) for name, (stage, _) in WRONG.items()]
    return several(folder, [*todo, ("no map_location", "no map_location", words("prm_seeds", store))])


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_in_a_stage_is_found(name: str, wrong: Any):
    code, err = wrong[0][name]
    assert code == 1
    assert WRONG[name][1] in err


def test_a_file_loaded_to_where_it_was_saved_is_counted(wrong: Any):
    assert wrong[1].kinds()["torch.load without map_location"] == 1


@pytest.mark.parametrize(
    ("stage", "step", "settings"),
    [
        ("conditional", 1, ()),
        ("prediction", 2, ()),
        ("prediction", 2, ("prediction.precision=float16", "prediction.ema_momentum=0.1")),
    ],
)
def test_stopped_and_resumed_it_has_the_weights_of_one_that_was_not(
    stage: str, step: int, settings: tuple[str, ...], short_run: FinishedRun, tmp_path: Path
):
    whole, resumed = (copy_of(short_run.store, tmp_path / name) for name in ("whole", "resumed"))
    often = "execution.checkpoint_seconds=0.000001"
    todo = [
        ("whole", None, words(stage, whole, *settings)),
        ("stopped", f"stopped before step {step}", words(stage, resumed, *settings, often)),
        ("resumed", None, words(stage, resumed, *settings, often)),
    ]
    found, _ = several(tmp_path, todo)
    assert found["stopped"][1].startswith("Stop") and found["whole"][0] == found["resumed"][0] == 0, found
    assert f"resumes at step {step}" in found["resumed"][1]
    files = [manifest_of(store, f"{stage}@1").files for store in (whole, resumed)]
    assert files[0] == files[1]
    assert CURVE_NAME in files[0]
