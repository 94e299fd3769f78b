"""Artefacts of a few small images, as the stages that train and predict read them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from data_contracts.records import RecordReader, RecordWriter
from data_contracts.schemas import DATASET, PROPOSALS, PSEUDO_LABELS, Schema
from tests.records import image_record, label_sets_record, proposals_of
from wsis.engine.progress import Listener, Progress
from wsis.engine.stage import Execution, StageContext

SIZE = (64, 96)
CLASSES = ("square", "disc")
IDS = ("a", "b", "c", "d")


class FakeArtefact:
    """Files in a folder and the part of a manifest that the stages read."""

    def __init__(self, path: Path, classes: tuple[str, ...] = CLASSES) -> None:
        self.path = path
        self.manifest = SimpleNamespace(counts={"classes": list(classes)}, supervision=[])

    @classmethod
    def of(cls, path: Path, schema: Schema, records: dict[str, Any]) -> "FakeArtefact":
        path.mkdir()
        RecordWriter(path, schema, list(records)).write(0, list(records.values()))
        return cls(path)

    def records(self, schema: Schema) -> RecordReader:
        return RecordReader(self.path, schema)

    def file(self, name: str) -> Path:
        return self.path / name


def grid() -> np.ndarray:
    """2 x 3 superpixels of 16 x 16 at half the image's size."""
    rows, columns = np.indices((32, 48))
    return (rows // 16 * 3 + columns // 16).astype(np.uint16)


def dataset_record(index: int) -> dict[str, np.ndarray]:
    pixels = np.random.default_rng(index).integers(0, 99, (*SIZE, 3), dtype=np.uint8)
    pixels[:32, :32] += 90
    split = "val" if IDS[index] == "d" else "train"
    return image_record(pixels, f"{IDS[index]}.png", split, (1, 2))


def proposals_record() -> dict[str, np.ndarray]:
    membership = np.array([[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]], bool)
    return proposals_of(grid(), membership, SIZE).to_record()


def labels_record() -> dict[str, np.ndarray]:
    """K = 4: twice {0: square}, once {1: square, 2: disc}, once nothing."""
    return label_sets_record([2, 1, 1], [[(0, 1)], [(2, 2), (1, 1)], []])


def make_inputs(folder: Path) -> dict[str, Any]:
    """Inputs of the stage `prediction` below a folder: d is of split val."""
    return {
        "dataset": FakeArtefact.of(
            folder / "dataset", DATASET, {i: dataset_record(n) for n, i in enumerate(IDS)}
        ),
        "proposals": FakeArtefact.of(
            folder / "proposals", PROPOSALS, {i: proposals_record() for i in IDS[:3]}
        ),
        "pseudo_labels": FakeArtefact.of(
            folder / "labels", PSEUDO_LABELS, {i: labels_record() for i in IDS[:3]}
        ),
    }


def opened(folder: Path) -> dict[str, Any]:
    """What `make_inputs` wrote."""
    names = {"dataset": "dataset", "proposals": "proposals", "pseudo_labels": "labels"}
    return {name: FakeArtefact(folder / path) for name, path in names.items()}


def context(
    path: Path, iteration: int, stage: str = "prediction", listener: Listener | None = None
) -> StageContext:
    """A work folder with a checkpoint after every step."""
    path.mkdir(exist_ok=True)
    execution = Execution(device="cpu", checkpoint_seconds=1e-3, threads=1)
    progress = Progress([] if listener is None else [listener], quiet=True)
    return StageContext(path, 7, iteration, execution, progress, stage)
