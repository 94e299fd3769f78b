"""Trainings on a real card: other settings, stopped and resumed, stages side by side; `make gpu-check`."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.gpu.agreement import weights_apart
from tests.gpu.pretended import ON_CUDA, REPOSITORY, SECONDS, SHORT
from tests.gpu.variants import NAMES, each, words
from tests.runs.tiny_run import TINY, Result, copy_of, done, manifest_of, record_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
IN_ORDER = "execution.deterministic=true"
CLOSE = 1e-4  # distance of all weights over their length


def python(module: str, *arguments: object) -> Result:
    """Of `python -m MODULE ARGUMENTS` in a process of its own."""
    command = [sys.executable, "-m", module, *(str(a) for a in arguments)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=SECONDS)
    return Result(ended.returncode, ended.stdout, ended.stderr)


def several(folder: Path, todo: Sequence[tuple[str, str | None, list[str]]]) -> dict[str, tuple[int, str]]:
    """Do it in one process: name -> exit code, stderr."""
    (folder / "todo.json").write_text(json.dumps(todo))
    done(python("tests.gpu.stage_runs", folder / "todo.json", folder / "found.json"))
    found: dict[str, tuple[int, str]] = json.loads((folder / "found.json").read_text())
    return found


def run(store: Path, *settings: str) -> Result:
    overrides = [x for s in (*SHORT, *settings) for x in ("--set", s)]
    return done(python("wsis.cli.main", "run", TINY, "--name", "tiny", "--store", store, *overrides))


@pytest.fixture(scope="module")
def on_the_card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the tiny run; not to be changed."""
    store = tmp_path_factory.mktemp("card") / "store"
    run(store, *ON_CUDA)
    return store


@pytest.fixture(scope="module")
def variants(on_the_card: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    folder = tmp_path_factory.mktemp("variants")
    return several(folder, each(copy_of(on_the_card, folder / "store")))


@pytest.mark.parametrize("name", NAMES)
def test_a_variant_runs(name: str, variants: dict[str, tuple[int, str]]):
    code, err = variants[name]
    assert code == 0, err


@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        ("prm_classifier", ()),
        ("conditional", ()),
        ("prediction", ()),
        ("prediction", ("prediction.precision=float16", "prediction.ema_momentum=0.1")),
    ],
)
def test_with_sums_in_order_a_training_gives_the_same_again_and_after_a_stop(
    stage: str, settings: tuple[str, ...], on_the_card: Path, tmp_path: Path
):
    whole, again, resumed = (copy_of(on_the_card, tmp_path / name) for name in ("whole", "again", "resumed"))
    step, often = 2 if stage == "prediction" else 1, "execution.checkpoint_seconds=0.000001"
    found = several(
        tmp_path,
        [
            ("whole", None, words(stage, whole, IN_ORDER, *settings)),
            ("again", None, words(stage, again, IN_ORDER, *settings)),
            ("stopped", f"stopped before step {step}", words(stage, resumed, IN_ORDER, *settings, often)),
            ("resumed", None, words(stage, resumed, IN_ORDER, *settings, often)),
        ],
    )
    assert found["stopped"][1].startswith("Stop"), found
    assert found["whole"][0] == found["again"][0] == found["resumed"][0] == 0, found
    assert f"resumes at step {step}" in found["resumed"][1]
    key = stage if stage == "prm_classifier" else f"{stage}@1"
    made = [manifest_of(store, key) for store in (whole, again, resumed)]
    if stage == "prediction":  # the gradient of torchvision's RoIAlign has no order
        one, *others = (
            store / m.stage / m.fingerprint for store, m in zip((whole, again, resumed), made, strict=True)
        )
        assert all(weights_apart(one, other) < CLOSE for other in others)
    else:
        assert made[0].files == made[1].files == made[2].files


def test_stages_run_side_by_side_in_processes_that_share_the_card(tmp_path: Path):
    run(tmp_path / "store", "execution.device=cuda", "execution.cores=4", "execution.workers=4")
    assert record_of(tmp_path / "store").status == "completed"
    facts = manifest_of(tmp_path / "store", "prediction@1").environment
    assert facts["device"] == "cuda" and facts["gpu"] == torch.cuda.get_device_name()
