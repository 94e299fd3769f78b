"""One number of threads, one result: OMP_NUM_THREADS, cores and workers decide nothing; `execution.threads` has its own
fingerprint where it decides."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import pytest
import torch
from threadpoolctl import threadpool_info

from tests.engine.arithmetic_stages import IMAGES, TRAINING, Config
from wsis.engine.stage import Execution, identify
from wsis.engine.threads import arithmetic_threads

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Made(NamedTuple):
    fingerprint: str
    threads: int
    environment: dict[str, str]
    files: dict[str, str]


def made(folder: Path, which: str, environment: int, **execution: Any) -> Made:
    """The artefact of a process of its own that was started with OMP_NUM_THREADS and its like."""
    variables = dict.fromkeys(VARIABLES, str(environment))
    command = [
        sys.executable,
        "-m",
        "tests.engine.arithmetic_stages",
        str(folder),
        which,
        json.dumps(execution),
    ]
    done = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return Made(*json.loads(done.stdout))


@pytest.mark.parametrize(("which", "other"), [("training", {}), ("images", {"workers": 2})])
def test_neither_environment_nor_workers_decide(which: str, other: dict[str, int], tmp_path: Path) -> None:
    one, three = (made(tmp_path / str(n), which, n, workers=1) for n in (1, 3))
    results = [one, three, *([made(tmp_path / "other", which, 3, **other)] if other else [])]
    assert all(r.files == one.files and r.fingerprint == one.fingerprint for r in results)
    assert {r.threads for r in results} == {1}
    assert three.environment["threads"] == "1" and three.environment["processor"]


def test_threads_of_a_training_are_another_result_with_another_fingerprint(tmp_path: Path) -> None:
    one, three = (made(tmp_path / str(n), "training", 2, threads=n) for n in (1, 3))
    assert one.fingerprint != three.fingerprint and three.threads == 3
    assert one.files["weights.pt"] != three.files["weights.pt"], "this test's sums are too short to differ"


def test_threads_count_where_they_decide_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def identities(stage: Any, device: str) -> list[str]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda")
        settings = (Execution(threads=n) for n in (1, 4))
        return [identify(stage, Config(), {}, 0, None, None, one) for one in settings]

    one, four = identities(TRAINING, "cpu")
    assert one != four
    assert identities(TRAINING, "cuda") == [one, one]
    assert len(set(identities(IMAGES, "cpu"))) == 1


def test_all_libraries_are_limited_and_let_go() -> None:
    before = torch.get_num_threads(), cv2.getNumThreads(), [one["num_threads"] for one in threadpool_info()]
    with arithmetic_threads(2):
        assert torch.get_num_threads() == cv2.getNumThreads() == 2
        blas = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
        assert blas and all(n <= 2 for n in blas)
        with arithmetic_threads(1):
            assert {one["num_threads"] for one in threadpool_info()} == {1}
    assert (torch.get_num_threads(), cv2.getNumThreads()) == before[:2]
    assert [one["num_threads"] for one in threadpool_info()] == before[2]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, str(30_000_000_000)),  # OpenMP's own of that policy
    ],
)
def test_threads_that_wait_leave_the_core_to_others(own: dict[str, str], expected: str) -> None:
    """Asked of OpenMP itself, which says what it goes by when it is loaded."""
    fixed = ("OMP_", "GOMP_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(fixed)}
    said = subprocess.run(
        [sys.executable, "-c", "import wsis.engine.threads"],
        env={**environment, **own, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stderr
    assert set(re.findall(r"GOMP_SPINCOUNT\s*=\s*'(\w+)'", said)) == {expected}, said
