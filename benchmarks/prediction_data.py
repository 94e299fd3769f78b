"""Images with K = 10 distinct pseudo-label sets for `benchmarks/prediction.py`: once as records of the store, once as
files with a COCO JSON of one of the sets, which MMDetection's own CocoDataset reads.

Photographs of a VOC devkit, or generated scenes; proposals from the generator, sets out of neighbouring proposals.
"""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from proposal_cases import photographs

from data_contracts.records import RecordReader, RecordWriter
from data_contracts.schemas import DATASET, PROPOSALS, PSEUDO_LABELS, Schema
from stages.prediction.prediction import StoredSource
from wsis.engine.stage import Artefact
from wsis.method.conditional.label_sets import SampleSet
from wsis.method.masks import rle
from wsis.method.masks.superpixels import iou_matrix, superpixel_areas
from wsis.method.proposals import MCGConfig, ProposalSet, generate
from wsis.method.scenes.scenes import SceneConfig, generate_scene
from wsis.readers.files.images import decode_image
from wsis.readers.shared.records import ImageRecord

CLASSES = ("cat", "cow", "dog", "horse", "sheep")
SETS = 10
_SPLIT = "val"  # of photographs: any would do
_SCENE = SceneConfig(height=375, width=500)


class Folder:
    """Records in a folder, and the part of an artefact's manifest that a source reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = SimpleNamespace(counts={"classes": list(CLASSES)}, supervision=["benchmark"])

    def records(self, schema: Schema) -> RecordReader:
        """A reader of them."""
        return RecordReader(self.path, schema)


@dataclass(frozen=True)
class Data:
    """What :func:`make` wrote below `root`; other processes open it by its path."""

    root: Path

    @property
    def inputs(self) -> Mapping[str, Artefact]:
        """Inputs of the stage `prediction`."""
        names = ("dataset", "proposals", "pseudo_labels")
        return {name: cast(Artefact, Folder(self.root / name)) for name in names}

    def source(self, cached_records: int = 256) -> StoredSource:
        """What the stage `prediction` trains on."""
        return StoredSource(self.inputs, cached_records)

    @cached_property
    def ids(self) -> list[str]:
        """Images in the order of the records."""
        return list(self.inputs["dataset"].records(DATASET).ids)

    def coco(self, pipeline: Sequence[Mapping[str, Any]], test: bool = False) -> Any:
        """MMDetection's CocoDataset over the same images, and of each its first set."""
        from mmdet.registry import DATASETS

        settings = {
            "type": "CocoDataset",
            "ann_file": str(self.root / "coco.json"),
            "data_prefix": {"img": str(self.root / "images")},
            "metainfo": {"classes": CLASSES},
            "pipeline": list(pipeline),
            "test_mode": test,
        }
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools tells of its progress
            return DATASETS.build(settings)


def make(root: Path, count: int, devkit: Path | None, tiny: bool) -> Data:
    """Write `count` images, their proposals and sets below `root`."""
    (root / "images").mkdir(parents=True)
    records: dict[str, dict[str, Any]] = {"dataset": {}, "proposals": {}, "pseudo_labels": {}}
    coco: dict[str, list[Any]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES, start=1)],
    }
    settings = MCGConfig(max_side=96, num_proposals=60) if tiny else MCGConfig()
    for number, (name, encoded) in enumerate(_files(count, devkit, tiny)):
        image = decode_image(encoded, name)
        (root / "images" / name).write_bytes(encoded)
        proposals = generate(image, settings)
        sets = distinct_sets(proposals, np.random.default_rng(number))
        image_id = Path(name).stem
        records["dataset"][image_id] = ImageRecord(
            image_id, "train", name, encoded, image.shape[0], image.shape[1]
        ).to_record()
        records["proposals"][image_id] = proposals.to_record()
        records["pseudo_labels"][image_id] = _labels_record(sets)
        _add_to_coco(coco, name, proposals, sets[0])
    for name, schema in (("dataset", DATASET), ("proposals", PROPOSALS), ("pseudo_labels", PSEUDO_LABELS)):
        (root / name).mkdir()
        writer = RecordWriter(root / name, schema, list(records[name]))
        ids = writer.image_ids
        for shard in writer.missing():
            writer.write(shard, [records[name][i] for i in writer.ids_of(shard)])
        if list(RecordReader(root / name, schema).ids) != ids:
            raise SystemExit(f"{root / name}: the records do not read as written")
    (root / "coco.json").write_text(json.dumps(coco))
    return Data(root)


def _files(count: int, devkit: Path | None, tiny: bool) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of JPEG files."""
    if devkit is not None:
        for one in photographs(devkit, _SPLIT, count):
            yield one.path.name, one.path.read_bytes()
        return
    look = SceneConfig(height=72, width=96) if tiny else _SCENE
    for number in range(count):
        image = generate_scene(np.random.default_rng(number), look).image
        _, encoded = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 92))
        yield f"scene{number:03d}.jpg", encoded.tobytes()


LabelSet = list[tuple[int, int]]
"""(row of the proposals, class) of every instance."""


def distinct_sets(proposals: ProposalSet, rng: np.random.Generator) -> list[LabelSet]:
    """Ten sets that differ: the ten proposals most like one of the first ones, and in every third set a second
    instance of another class that overlaps it least."""
    iou = iou_matrix(proposals.membership, proposals.membership, superpixel_areas(proposals.superpixels))
    middling = np.flatnonzero((proposals.areas > 0.05) & (proposals.areas < 0.6))[:20]
    first = int(rng.choice(middling)) if len(middling) else 0
    like = np.argsort(-iou[first], kind="stable")[:SETS].tolist()
    apart = int(np.argsort(iou[first], kind="stable")[0])
    classes = rng.permutation(len(CLASSES))[:2] + 1
    return [
        [(row, int(classes[0]))] + [(apart, int(classes[1]))] * (k % 3 == 0) for k, row in enumerate(like)
    ]


def _labels_record(sets: Sequence[LabelSet]) -> dict[str, NDArray[Any]]:
    rows = [instance for one in sets for instance in one]
    samples = SampleSet(
        multiplicities=np.ones(len(sets), np.int32),
        offsets=np.cumsum([0, *map(len, sets)]).astype(np.int32),
        proposal_ids=np.array([row for row, _ in rows], np.int32),
        classes=np.array([label for _, label in rows], np.int32),
        scores=np.ones(len(rows), np.float32),
    )
    statistics = {"diversity": np.array([0.5], np.float32), "distinct": np.array([len(sets)], np.int32)}
    return samples.to_record() | statistics


def _add_to_coco(coco: dict[str, list[Any]], name: str, proposals: ProposalSet, labels: LabelSet) -> None:
    height, width = proposals.image_size
    image = len(coco["images"]) + 1
    coco["images"].append({"id": image, "file_name": name, "height": height, "width": width})
    masks = proposals.masks(np.array([row for row, _ in labels]))
    for (row, label), mask, counts in zip(labels, masks, rle.encode_many(masks), strict=True):
        x1, y1, x2, y2 = proposals.boxes[row].tolist()
        coco["annotations"].append(
            {
                "id": len(coco["annotations"]) + 1,
                "image_id": image,
                "category_id": label,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": float(mask.sum()),
                "segmentation": {"size": [height, width], "counts": counts.decode()},
                "iscrowd": 0,
            }
        )
