"""The import contracts of pyproject.toml: each of them fails when it is broken."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("wsis", "data_contracts", "stages", "flows")
CONTRACTS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

# contract -> (module, line that breaks it)
BREAKS = {
    "the floors of the house: arrows point down": [
        ("wsis/method/masks/boxes.py", "import data_contracts.errors"),
        ("data_contracts/errors.py", "import wsis.method.masks.boxes"),
        ("wsis/engine/stage.py", "import wsis.reporting.tables.results"),
        ("wsis/reporting/tables/results.py", "import stages.data.dataset"),
        ("wsis/method/masks/boxes.py", "import wsis.engine.training"),
    ],
    "groups of stages never import one another": [("stages/prm/prm_seeds.py", "import stages.data.dataset")],
    "only flows imports prefect": [("wsis/engine/progress.py", "import prefect")],
    "only the engine's cluster imports distributed": [("wsis/runs/runner.py", "import distributed")],
    "only data_contracts imports zarr": [("wsis/reporting/tables/results.py", "import zarr")],
    "torchvision only in the prediction network's operators": [
        ("wsis/method/masks/boxes.py", "from torchvision.ops import nms")
    ],
    "mmdet only in the prediction network": [("wsis/method/evaluation/matching.py", "import mmengine")],
}


def copy_packages(root: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", root)


def lint(root: Path) -> tuple[int, dict[str, str]]:
    """Exit status of import-linter and what it says of each contract."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [str(program), "--no-cache"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    states = re.findall(r"^(.+?) (KEPT|BROKEN)\b", done.stdout, re.MULTILINE)
    return done.returncode, {name.strip(): state for name, state in states}


def test_every_contract_has_a_way_to_be_broken():
    assert {c["name"] for c in CONTRACTS} == set(BREAKS)


def test_contracts_are_kept(tmp_path):
    copy_packages(tmp_path)
    status, states = lint(tmp_path)
    assert states == dict.fromkeys(BREAKS, "KEPT")
    assert status == 0


@pytest.mark.parametrize("which", range(max(map(len, BREAKS.values()))))
def test_contracts_are_broken_by_what_they_forbid(which, tmp_path):
    """One break of each contract at a time; the layers, which have many, in several runs."""
    copy_packages(tmp_path)
    broken = {name: breaks[which] for name, breaks in BREAKS.items() if which < len(breaks)}
    for module, line in broken.values():
        with (tmp_path / module).open("a") as stream:
            stream.write(f"\n{line}\n")
    status, states = lint(tmp_path)
    assert status != 0
    assert states == {name: "BROKEN" if name in broken else "KEPT" for name in BREAKS}
