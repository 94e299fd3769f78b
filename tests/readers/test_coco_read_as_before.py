"""What is read from a large COCO file is what was read an entry at a time: ids, labels, boxes, digests, messages."""

import hashlib
import json
import math
import os
import random
from pathlib import Path
from typing import Any

import pytest
from coco_reading import write_coco

from wsis.readers.config import DataConfig, open_source
from wsis.readers.files import large_json
from wsis.readers.formats import coco_columns

FILES = 60
# of the reader that looked at an entry at a time:
AS_BEFORE = "87148931a32bec271346c5a148f7dc698e80532f4cba7f70ff89759e30afb5e5"


def odd(tree: dict[str, Any], rng: random.Random) -> None:
    """Write a few entries as tools do, or wrongly."""
    values: dict[str, list[Any]] = {
        "id": [None, 7, 7.0, "7", "seven", 2**70, True, [1]],
        "image_id": [3, 3.0, "3", "three", None, 10**25, -1],
        "category_id": [5, "5", 5.0, 999, None],
        "iscrowd": [1, True, "false", 2, None, 0.0],
        "bbox": [
            None, [], [1, 2, 3], [1, 2, 3, "4"], [1, 2, 3, True], [-0.0, 0, 5, 5], [-0.5, -3, 9, 9], [9, 9, 0, 1],
            [10**400, 1, 1, 1], [1e308, 1, 1e308, 1], [5, 5, math.nan, 2], [2**60 + 1, 0, 1, 1], [0, 0, 640, 480],
        ],
        "segmentation": [None, [], [[]], {}, [[], [1, 1, 5, 1, 5, 5]], "x"],
    }  # fmt: skip
    for item in rng.sample(tree["annotations"], rng.choice([0, 1, 4])):
        key = rng.choice(list(values))
        item[key] = rng.choice(values[key])
    for item in rng.sample(tree["images"], rng.choice([0, 0, 1])):
        item.update(rng.choice([{"id": "x"}, {"id": 3}, {"height": 0}, {"height": -1}, {"id": None}]))


def reading(root: Path) -> str:
    """All that the reader says: what is wrong, what is dropped, ids, labels, boxes, digests."""
    found = open_source(DataConfig(root=root, val_split=None))
    told: list[Any] = list(found.tolerate())
    for image_id in found.image_ids("train"):
        entry = found._entry_of(image_id)
        arrays = [
            (one.dtype.str, one.shape, one.tobytes()) for one in (entry.labels, entry.boxes, entry.box_labels)
        ]
        objects = list(entry.declared.objects)
        digest = (
            None if any(one.fault for one in objects) else entry.declared.digest
        )  # a fault names the file
        told.append((image_id, entry.size, digest, objects, arrays))
    told += [found.classes, found.source_ids(), found.box_changes("train"), found.truth_digest(("train",))]
    return "\n".join(map(repr, told)).replace(str(root), "ROOT")


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    roots = []
    for seed in range(FILES):
        root, rng = tmp_path_factory.mktemp("coco"), random.Random(seed)
        path = write_coco(root, 12, 90, seed=seed % 4)
        tree = json.loads(path.read_text())
        odd(tree, rng)
        path.write_text(json.dumps(tree))
        os.utime(path, (1e9 + seed, 1e9))
        roots.append(root)
    return roots


def test_as_an_entry_at_a_time(roots: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    together = [reading(root) for root in roots]
    monkeypatch.setattr(large_json, "_together", lambda data: None)
    monkeypatch.setattr(coco_columns.AnnotationColumns, "_add_plain", lambda self, items: False)
    for root in roots:
        os.utime(root / "annotations/instances_train.json", (2e8, 2e8))  # else what was read is there still
    assert [reading(root) for root in roots] == together
    assert sum("duplicate id" in one for one in together) > 2
    assert sum("annotations[" not in one.partition("('0")[0] for one in together) > 10  # nothing wrong


def test_as_before(roots: list[Path]) -> None:
    whole = hashlib.sha256("\n".join(reading(root) for root in roots).encode(errors="backslashreplace"))
    assert whole.hexdigest() == AS_BEFORE
