"""What a later stage would stumble over is refused before the first one starts."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
import pytest

from data_contracts.errors import ConfigError, ContractError
from data_contracts.store import Store
from tests.runs.other_data import write_coco
from tests.runs.tiny_run import TINY, wsis
from wsis.engine import machine
from wsis.engine.progress import Progress
from wsis.readers.config import open_source
from wsis.runs import plan_checks
from wsis.runs.config import load_config
from wsis.runs.runner import Runner

CLASSES = ["cup", "fish", "kite"]
IMAGES = {"train": 6, "val": 3}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, count in IMAGES.items():
        write_coco(tmp_path / "coco", split, CLASSES, count)
    return tmp_path / "coco"


def entries(names: dict[str, int] = IMAGES, **changes: Any) -> list[dict[str, Any]]:
    """Two masks of each image, as COCO results; a field that is changed to None is left out."""
    found = []
    for split, count in names.items():
        for number in range(1, count + 1):
            for top in (0, 30):
                mask = np.zeros((64, 80), np.uint8, order="F")
                mask[top : top + 20, 10:40] = 1
                counts = coco_mask.encode(mask)["counts"].decode()
                entry = {
                    "file_name": f"{split}/{number:06d}.jpg",
                    "segmentation": {"size": [64, 80], "counts": counts},
                    "score": 0.5,
                    **changes,
                }
                found.append({key: value for key, value in entry.items() if value is not None})
    return found


def started(root: Path, tmp_path: Path, *changes: str) -> tuple[list[str], list[str]]:
    """Begin a run that stops at its first stage: the stages that were reached, and what was said."""
    reached: list[str] = []
    said: list[str] = []

    def stop(node, work):
        reached.append(node.key)
        raise KeyboardInterrupt

    config = load_config(str(TINY), ["data.format=coco", f"data.root={root}", *changes])
    progress = Progress(quiet=True)
    progress.log = said.append  # type: ignore[method-assign]
    runner = Runner(Store(tmp_path / "store"), "mine", config, progress=progress)
    with pytest.raises(KeyboardInterrupt):
        runner.run(stop)
    return reached, said


def refused(root: Path, tmp_path: Path, *changes: str) -> str:
    """The error of a run; nothing was computed."""
    config = load_config(str(TINY), ["data.format=coco", f"data.root={root}", *changes])
    with pytest.raises(ContractError) as raised:
        Runner(Store(tmp_path / "store"), "mine", config, progress=Progress(quiet=True)).run()
    assert not list((tmp_path / "store").rglob("manifest.json"))
    return str(raised.value)


def proposals(path: Path) -> tuple[str, str]:
    return "proposals.source=coco_results", f"proposals.file={path}"


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def test_a_file_of_proposals_that_fits_starts(root: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "masks.json", entries())
    assert started(root, tmp_path, *proposals(file))[0] == ["dataset"]


def test_what_segment_anything_writes_is_named(root: Path, tmp_path: Path) -> None:
    """A folder of a file an image, one such file, and a merged list without scores."""
    one = {"image": {"image_id": 1, "width": 80, "height": 64}, "annotations": entries({"train": 1})}
    folder = write(tmp_path / "amg" / "000001.json", one).parent
    cases = {
        folder: r"one JSON list .* got the folder .*amg with 1 JSON files \(as Segment Anything writes",
        folder / "000001.json": r"one JSON list .* with one JSON object \(as Segment Anything writes",
        write(tmp_path / "merged.json", entries(score=None, predicted_iou=0.9)): "predicted_iou is there",
    }  # fmt: skip
    for path, pattern in cases.items():
        message = refused(root, tmp_path, *proposals(path))
        assert re.search(pattern, message), message


def test_a_folder_of_segment_anything_starts(root: Path, tmp_path: Path) -> None:
    """A file an image, named by it; missing and broken ones are named before anything is computed."""
    folder = tmp_path / "amg"
    asked = ("proposals.source=sam", f"proposals.folder={folder}")
    source = load_config(str(TINY), ["data.format=coco", f"data.root={root}"]).data
    (one, *_) = entries({"train": 1})
    masks = [{"segmentation": one["segmentation"], "predicted_iou": 0.9}]
    folder.mkdir()
    files = [write(folder / f"{image.image_id}.json", masks) for image in open_source(source).outlines()]
    assert started(root, tmp_path, *asked)[0] == ["dataset"]
    write(files[0], [{"segmentation": one["segmentation"]}])
    assert "mask 0: predicted_iou: expected a finite number" in refused(root, tmp_path, *asked)
    files[1].unlink()
    assert f"the file {files[1]} is missing" in refused(root, tmp_path, *asked)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (entries({"train": 6}), "image val/000001 .*: expected entries, got none"),
        (entries({"other": 6}), "expected entries, got none"),
        (entries(segmentation={"size": [80, 64], "counts": "abc"}), "expected the image's size"),
        (entries(segmentation=[[1, 2, 3, 4]]), "expected run lengths .* got polygons"),
    ],
)
def test_a_file_of_proposals_that_does_not_fit_is_refused(
    value: Any, message: str, root: Path, tmp_path: Path
) -> None:
    text = refused(root, tmp_path, *proposals(write(tmp_path / "masks.json", value)))
    assert re.search(message, text), text


def test_mat_files_that_are_missing_or_none_are_named(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mcg"
    folder.mkdir()
    asked = ("proposals.source=mcg_mat", f"proposals.folder={folder}")
    assert "9 problems" in refused(root, tmp_path, *asked)
    source = load_config(str(TINY), ["data.format=coco", f"data.root={root}"]).data
    for one in open_source(source).outlines():
        path = folder / f"{one.image_id}.mat"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no MAT file")
    assert re.search(r"proposals of image .*MAT", refused(root, tmp_path, *asked))


def test_all_problems_stand_in_one_error(root: Path, tmp_path: Path) -> None:
    changes = ["--set", "data.format=coco", "--set", f"data.root={root}", "--set", "execution.device=cpu"]
    changes += ["--set", "proposals.source=coco_results", "--set", "proposals.file=nowhere.json"]
    changes += ["--set", "prm_classifier.pretrained=nowhere.pth", "--set", "prediction.model=nowhere.py"]
    result = wsis("run", TINY, "--name", "mine", *changes, "--store", tmp_path / "store")
    assert result.code == 2 and result.err.startswith("error: the run cannot start: 3 problems")
    lines = result.err.splitlines()[1:]
    assert len(lines) == 3 and all(line.startswith("  - ") and "nowhere" in line for line in lines)


def test_each_check_is_made_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Iterations share a configuration: building the network for each of them would take seconds."""
    seen: Counter[str] = Counter()
    distinct = plan_checks._distinct

    def counted(nodes):
        found = distinct(nodes)
        seen.update(node.stage.name for node in found if node.stage.check is not None)
        return found

    monkeypatch.setattr(plan_checks, "_distinct", counted)
    started(root, tmp_path, "outer_iterations=3")
    assert seen["prediction"] == seen["proposals"] == 1


def test_a_class_that_nearly_every_image_shows_is_said_but_not_with_boxes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "warning: nearly all of the 6 train images show 'cup'"
    assert not any(line.startswith(said) for line in started(root, tmp_path)[1])
    shown = {"cup": 6, "fish": 2, "kite": 3}
    monkeypatch.setattr(plan_checks, "images_of_class", lambda source: shown)
    assert any(line.startswith(said) for line in started(root, tmp_path)[1])
    assert not any(line.startswith(said) for line in started(root, tmp_path, "data.supervision=box")[1])


@pytest.mark.parametrize(("free", "said"), [(8e9, False), (1e9, True)])
def test_little_memory_is_said(free: float, said: bool, root: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(plan_checks, "available_memory", lambda: int(free))
    lines = started(root, tmp_path)[1]
    assert any(line.startswith("warning: memory: 1.0 GB are free") for line in lines) == said


def test_no_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_checks, "available_memory", lambda: int(1e8))
    with pytest.raises(ConfigError, match=r"memory: expected 0.4 GB free, .* got 0.10 GB"):
        plan_checks._check_memory(lambda line: None)


def test_a_full_disk_is_said(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 10_000})
    monkeypatch.setattr(plan_checks.shutil, "disk_usage", lambda path: usage)
    assert any(line.startswith("warning: store ") for line in started(root, tmp_path)[1])


def test_available_memory_is_told_here() -> None:
    free = machine.available_memory()
    assert 1e6 < free < 1e13
