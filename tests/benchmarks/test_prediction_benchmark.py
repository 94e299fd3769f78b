"""`benchmarks/prediction.py`: one command prints every part; what it compares is what it says."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wsis.method.proposals import MCGConfig, generate

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.slow
def test_one_command_prints_every_part() -> None:
    command = [sys.executable, str(BENCHMARKS / "prediction.py"), "--tiny", "--images", "4", "--rounds", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr
    parts = re.findall(r"^## (.*)$", done.stdout, re.MULTILINE)
    assert parts == [
        "Training step",
        "Operators in plain torch",
        "Prediction of one image",
        "Data",
        "Waiting for data",
        "Figures to reach",
    ]
    table = done.stdout[done.stdout.index("## Figures") :]
    assert len(re.findall(r"^\| .* \| ≤ \S+ \| .* \| (reached|\*\*missed\*\*) \|$", table, re.M)) >= 10


def test_ten_sets_that_differ() -> None:
    from prediction_data import SETS, distinct_sets

    image = np.random.default_rng(0).integers(0, 40, (60, 80, 3), dtype=np.uint8)
    image[10:40, 10:50] += 150
    proposals = generate(image, MCGConfig(contour="lab_gradient", num_proposals=40))
    sets = distinct_sets(proposals, np.random.default_rng(0))
    assert len({frozenset(one) for one in sets}) == SETS == len(sets)
    for one in sets:
        assert len({row for row, _ in one}) == len(one) and all(0 <= row < len(proposals) for row, _ in one)


def test_the_loop_is_greedy_nms() -> None:
    from prediction_ops import loop_nms

    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 5], [20, 20, 30, 30]], np.float32)
    assert loop_nms(boxes, np.array([0.5, 0.9, 0.8, 0.1], np.float32), 0.7) == [1, 2, 3]
