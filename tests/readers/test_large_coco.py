"""A large COCO file is read once in a process, its masks stay in it, and it takes a fraction of plain JSON's memory."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from coco_reading import measure, write_coco

from data_contracts.errors import DataError
from wsis.readers.config import DataConfig, open_source

OPENED: list[str] = []
WATCHED: list[str] = []


def _hook(event: str, arguments: tuple) -> None:
    if event == "open" and WATCHED and str(arguments[0]) in WATCHED:
        OPENED.append(str(arguments[0]))


sys.addaudithook(_hook)  # one cannot be taken away again


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Path]:
    path = write_coco(tmp_path, 20, 150)
    os.utime(path, (1e9, 1e9))
    OPENED.clear()
    WATCHED[:] = [str(path)]
    yield path
    WATCHED.clear()


def source(root: Path):
    return open_source(DataConfig(root=root, val_split=None))


def test_once_a_process(watched: Path) -> None:
    first = source(watched.parents[1])
    ids, labels = first.image_ids("train"), [first.labels_of(i).tolist() for i in first.image_ids("train")]
    assert OPENED
    OPENED.clear()
    again = source(watched.parents[1])
    assert again.image_ids("train") == ids
    assert [again.labels_of(i).tolist() for i in ids] == labels
    assert len(again.truth_ids("train")) == len(ids)
    assert not OPENED
    again.truth_of(ids[0])
    assert OPENED  # masks are read when they are asked for


def test_a_file_that_changed_is_read_again(watched: Path) -> None:
    assert source(watched.parents[1]).classes
    tree = json.loads(watched.read_text())
    tree["annotations"][0]["category_id"] = 999
    watched.write_text(json.dumps(tree))
    for _ in range(2):
        with pytest.raises(DataError, match=r"annotations\[0\]: field 'category_id': unknown class"):
            source(watched.parents[1]).image_ids("train")


def test_memory(tmp_path: Path) -> None:
    write_coco(tmp_path, 2000, 15_000)
    (_, plain, imports), (_, ours, ours_imports) = (
        measure("json.loads", tmp_path),
        measure("labels", tmp_path),
    )
    assert ours - ours_imports < 0.5 * (plain - imports)
