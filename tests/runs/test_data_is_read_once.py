"""A COCO file is read by the process of the run alone: stages in processes of their own are sent what it says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.other_data import write_coco
from tests.runs.tiny_run import TINY

_WATCH = """
import os, sys
def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith("instances_train.json"):
        with open(os.environ["READERS"], "a") as out:
            out.write(f"{os.getpid()}\\n")
sys.addaudithook(hook)
"""


_RUN = """
import os, sys
from data_contracts.store import Store
from wsis.runs.config import load_config
from wsis.runs.runner import Runner
if __name__ == "__main__":
    Runner(Store(sys.argv[1]), "a", load_config(sys.argv[2], sys.argv[3:])).run(until="dataset")
    print(os.getpid())
"""


def test_stages_beside_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, readers = tmp_path / "coco", tmp_path / "readers"
    for split, count in (("train", 6), ("val", 4)):
        write_coco(root, split, ["cup", "fish", "kite"], count)
        labels = root / "annotations" / f"instances_{split}.json"
        tree = json.loads(labels.read_text())
        for annotation in tree["annotations"]:
            del annotation["segmentation"]  # masks stay in the file until they are asked for
        labels.write_text(json.dumps(tree))
        os.utime(labels, (1e9, 1e9))
    (tmp_path / "sitecustomize.py").write_text(_WATCH)
    (tmp_path / "begin.py").write_text(_RUN)
    paths = [str(tmp_path), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("READERS", str(readers))
    changes = [f"data.root={root}", "data.format=coco", "execution.cores=2"]
    command = [sys.executable, str(tmp_path / "begin.py"), str(tmp_path / "store"), str(TINY), *changes]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    assert "dataset: committed" in ended.stderr
    assert set(readers.read_text().split()) == {ended.stdout.strip()}
