"""`benchmarks/conditional.py`: one command prints every part, and refuses results that differ."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def run(*arguments: str) -> str:
    command = [sys.executable, str(BENCHMARKS / "conditional.py"), "--tiny", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_one_command_prints_every_part() -> None:
    printed = run()
    parts = re.findall(r"^## (.*)$", printed, re.MULTILINE)
    assert parts == ["Pooling", "Inference", "Pairwise", "One training step", "Growth", "Figures to reach"]
    differences = [float(d) for d in re.findall(r"\| (\d\.\de[-+]\d\d) \|$", printed, re.MULTILINE)]
    assert len(differences) == 5 and max(differences) < 1e-5
    table = printed[printed.index("## Figures") :]
    assert len(re.findall(r"^\| .* \| [≤≥] \S+ \| .* \| (reached|\*\*missed\*\*) \|$", table, re.M)) == 10


@pytest.mark.slow
def test_regions_of_a_photograph(voc_root: Path) -> None:
    printed = run("--only", "pairwise", "--data", str(voc_root))
    assert ".jpg" in printed and re.search(r"\| pairs of pixel masks \| .* \| \d\.\de[-+]\d\d \|", printed)


def test_a_result_that_differs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    from conditional_works import Timed

    timed = Timed(lambda: torch.tensor([[1.0, 2.0], [3.0, 5.0]]), what="sums")
    assert timed.difference(torch.tensor([[1.0, 2.0]])) == 0.0
    with pytest.raises(SystemExit, match=r"sums: the reference differs from ours by 1\.0"):
        timed.difference(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
