"""`benchmarks/conditional.py`: one command prints every part, and refuses results that differ."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from wsis.method.conditional.graph import build_graph

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
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from conditional_works import Timed

    timed = Timed(lambda: torch.tensor([[1.0, 2.0], [3.0, 5.0]]), what="sums")
    assert timed.difference(torch.tensor([[1.0, 2.0]])) == 0.0
    with pytest.raises(SystemExit, match=r"sums: the reference differs from ours by 1\.0"):
        timed.difference(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))


def test_pairwise_evidence_finds_the_outer_one_of_two_nested_proposals(monkeypatch, capsys) -> None:
    """A head in a body without a contour between them, a body in a yard with one: the body is right."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from pairwise_evidence import GRAPHS, Evidence

    superpixels = np.repeat(np.arange(4, dtype=np.int32)[None], 5, axis=0)
    edges, lengths = np.array([[0, 1], [1, 2], [2, 3]], np.int32), np.full(3, 5.0, np.float32)
    contours = np.array([0.1, 0.9, 0.5], np.float32) * lengths
    membership = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]], bool)
    graphs = {n: build_graph(superpixels, membership, edges, contours, lengths, g) for n, g in GRAPHS.items()}
    evidence = Evidence()
    evidence.add_graphs(graphs, np.array([0.5, 1.0, 0.67]))
    nested = {round(float(row[0]), 2): row[1:3].round(2).tolist() for row in np.concatenate(evidence.nested)}
    assert nested == {0.5: [0.1, 0.5], 0.33: [0.1, 0.17], 0.67: [0.9, -0.33]}
    evidence.changed = {name: [True, False] for name in GRAPHS}
    evidence.print()
    printed = capsys.readouterr().out
    assert re.search(r"\| sum \| 0\.0111 \|.*\| 50\.0 % \|", printed)
    assert "| 0.2 to 0.4 | 2 | +nan | 1 | +nan |" in printed
