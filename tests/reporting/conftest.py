"""A small finished run in a store, made from given photographs and masks as stand-ins for every stage."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_contracts.fingerprint import SCHEMA_VERSION, fingerprint
from data_contracts.manifest import Manifest, Parent
from data_contracts.records import RecordWriter
from data_contracts.runs import RunEntry, RunRecord, save_run
from data_contracts.schemas import SCHEMAS
from data_contracts.store import Store
from tests.records import image_record, label_sets_record, proposals_of
from wsis.views.run import Run

CLASSES = ["cat", "cow"]
SHARES = {"0.25": 1.0, "0.50": 0.7, "0.70": 0.5, "0.75": 0.4}


class RunBuilder:
    """Commits artefacts to a store and lists them in a run record."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.record = RunRecord(
            name="demo", config_name="demo", config={"seed": 0}, created="2026-01-01", status="completed"
        )

    @property
    def run(self) -> Run:
        return Run(self.store, self.record)

    def commit(
        self, key: str, stage: str, contract: str, records=None, files=None, counts=None, parents=()
    ) -> None:
        """parents: keys of the record."""
        name, _, t = key.partition("@")
        iteration = int(t) if t else None
        identity = fingerprint(name, 1, {}, {}, 0, iteration)
        with self.store.writing(stage, identity) as work:
            if records is not None:
                RecordWriter(work, SCHEMAS[contract], list(records)).write(0, list(records.values()))
            for file, value in (files or {}).items():
                (work / file).write_text(json.dumps(value))
            manifest = Manifest(
                schema_version=SCHEMA_VERSION,
                stage=stage,
                algorithm_version=1,
                fingerprint=identity,
                contract=contract,
                outer_iteration=iteration,
                seed=0,
                config={},
                parents={
                    name: Parent(stage=entry.stage, fingerprint=entry.fingerprint)
                    for name, entry in self.record.entries.items()
                    if name in parents
                },
                supervision=["image-level labels"],
                counts={"classes": CLASSES, **(counts or {})},
                files={},
                wall_seconds=12.5,
                cpu_seconds=20.0,
                peak_memory_bytes=300_000_000,
                created="2026-01-01",
                code_version="0",
                environment={},
            )
            self.store.commit(stage, identity, work, manifest)
        self.record.entries[key] = RunEntry(
            stage=stage,
            outer_iteration=iteration,
            fingerprint=identity,
            reused=False,
            finished="2026-01-01",
            wall_seconds=12.5,
        )

    def build(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> "RunBuilder":
        ids = [f"photo{i}" for i in range(len(images))]
        pairs = list(zip(ids, images, masks, strict=True))
        self.commit("dataset", "dataset", "dataset", {i: image_record(x) for i, x, _ in pairs})
        self.commit("prm_seeds", "prm_seeds", "seeds", {i: seeds_record(m) for i, _, m in pairs})
        self.commit("proposals", "proposals", "proposals", {i: proposals_record(m) for i, _, m in pairs})
        for t in (1, 2):
            self.commit(f"conditional@{t}", "conditional", "weights", counts=trained(t))
            self.commit(
                f"pseudo_labels@{t}",
                "pseudo_labels",
                "pseudo_labels",
                {i: pseudo_labels_record(m) for i, _, m in pairs},
            )
            self.commit(f"prediction@{t}", "prediction", "weights", files={"curve.json": curve()})
            self.commit(
                f"predictions.val@{t}",
                "predictions",
                "detections",
                {i: detections_record(m) for i, _, m in pairs},
            )
            self.commit(
                f"evaluation.pseudo_labels@{t}",
                "evaluation",
                "metrics",
                files={"metrics.json": row("pseudo_labels", t, 0.4), "instance_quality.json": quality()},
            )
            self.commit(
                f"evaluation.prediction@{t}",
                "evaluation",
                "metrics",
                files={"metrics.json": row("prediction", t, 0.3 + 0.1 * t)},
            )
        save_run(self.store, self.record)
        return self


def row(kind: str, t: int, value: float) -> dict:
    aps = {threshold: value * s for threshold, s in SHARES.items()}
    return {
        "kind": kind,
        "outer_iteration": t,
        "split": "val" if kind == "prediction" else "train",
        "supervision": "image-level labels",
        "images": 3,
        "mAP": aps,
        "per_class": {"cat": aps, "cow": dict.fromkeys(aps)},
    }


def trained(t: int) -> dict:
    """The first network's images were too few to hold some back."""
    last = {"last": {"div_pc": 1.875, "reach": 0.4}, "steps": 90}
    return last if t == 1 else {**last, "best_step": 70, "best_held_back": 1.5, "stopped_early": True}


def quality() -> dict:
    names = ("images", "instances", "best_iou_sum", "found", "merged", "split", "missed", "predicted")
    return {**dict.fromkeys(names, 3.0), "spurious": 0.5, "mean_best_iou": 0.61}


def curve() -> list[dict]:
    return [{"step": 10 * (i + 1), "loss": 2.0 / (i + 1), "task_loss": 1.0 / (i + 1)} for i in range(80)]


def seeds_record(masks: np.ndarray) -> dict:
    peaks, maps = [], []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        peaks.append((1, int(np.median(rows)), int(np.median(columns))))
        soft = cv2.resize(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 15) ** 2, (40, 30))
        maps.append((255 * soft / soft.max()).astype(np.uint8))
    return {
        "peaks": np.array(peaks, np.int32),
        "scores": np.linspace(3.1, 1.2, len(masks)).astype(np.float32),
        "boxes": np.zeros((0, 4), np.float32),
        "peak_response_maps": np.stack(maps),
        "class_response_maps": maps[0][None],
        "response_classes": np.array([1], np.int32),
    }


def proposals_record(masks: np.ndarray) -> dict:
    """Superpixel i + 1 is instance i, superpixel 0 the ground; proposal i is instance i, the last one all."""
    count = len(masks)
    labels = np.zeros(masks.shape[1:], np.int32)
    for index, mask in enumerate(masks):
        labels[mask] = index + 1
    membership = np.concatenate([np.eye(count + 1, dtype=bool)[1:], np.ones((1, count + 1), bool)])
    return proposals_of(labels, membership, labels.shape).to_record()


def pseudo_labels_record(masks: np.ndarray) -> dict:
    """The first instance, all of them, and the whole image, 3, 6 and 1 times of ten."""
    sets = [[(0, 1)], [(i, 1) for i in range(len(masks))], [(len(masks), 1)]]
    return label_sets_record([3, 6, 1], sets)


def detections_record(masks: np.ndarray) -> dict:
    boxes, small = [], []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
        part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
        small.append((255 * cv2.resize(part, (28, 28), interpolation=cv2.INTER_AREA)).astype(np.uint8))
    count = len(masks)
    scores = np.linspace(0.97, 0.2, count).astype(np.float32)
    return {
        "class_probabilities": np.stack([1 - scores, scores, 0 * scores], axis=1),
        "boxes": np.array(boxes, np.float32),
        "masks": np.stack(small),
        "labels": np.ones(count, np.int32),
        "scores": scores,
        "size": np.array(masks.shape[1:], np.int32),
    }


@pytest.fixture(scope="session")
def built_run(tmp_path_factory: pytest.TempPathFactory) -> RunBuilder:
    """Three images of two squares each, through two outer iterations."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(3)]
    masks = np.zeros((2, 60, 80), bool)
    masks[0, 10:30, 10:30] = masks[1, 25:55, 40:70] = True
    return RunBuilder(tmp_path_factory.mktemp("run") / "store").build(images, [masks] * 3)


@pytest.fixture
def demo_run(built_run: RunBuilder) -> RunBuilder:
    """The finished run with a record of one's own; its store is shared and must not be changed."""
    mine = RunBuilder(built_run.store.root)
    mine.record = built_run.record.model_copy(deep=True)
    return mine
