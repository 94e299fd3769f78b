"""What image-level labels cannot teach is refused before anything is computed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from data_contracts.errors import DataError
from data_contracts.store import Store
from stages.data import boxes, dataset
from wsis.engine.stage import Execution, execute
from wsis.readers.config import DataConfig
from wsis.readers.learnability import check_learnable, images_of_class, rarely_lacking, spelt_alike


def labelled(*labels: list[int], classes: tuple[str, ...] = ("cat", "dog")) -> Any:
    """A source of train images with these labels."""
    arrays = {f"{i}": np.array(one, np.int32) for i, one in enumerate(labels)}
    return SimpleNamespace(
        classes=classes, image_ids=lambda role: tuple(arrays), labels_of=arrays.__getitem__
    )


@pytest.mark.parametrize(
    ("labels", "always"),
    [
        ([[1], [2]], None),
        ([[1, 2], [1], [2]], None),
        ([[1, 2], []], None),
        ([[1]], "'cat'"),
        ([[1], [1, 2]], "'cat'"),
        ([[1, 2], [1, 2]], "'cat', 'dog'"),
        ([], None),  # nothing is trained
    ],
)
def test_a_class_that_no_image_lacks(labels: list[list[int]], always: str | None) -> None:
    source = labelled(*labels)
    check_learnable(source, "box")
    if always is None:
        check_learnable(source, "image")
        return
    with pytest.raises(
        DataError, match=rf"each of the {len(labels)} shows {always}, .*data\.supervision=box"
    ) as caught:
        check_learnable(source, "image")
    assert "\n" not in str(caught.value)


def test_images_of_each_class() -> None:
    assert images_of_class(labelled([1, 2], [2], [])) == {"cat": 1, "dog": 2}


def test_a_class_that_few_images_lack() -> None:
    assert rarely_lacking(100, {"cat": 50, "dog": 95}) is None
    said = str(rarely_lacking(100, {"cat": 50, "dog": 96}))
    assert "'dog' (all but 4)" in said
    page = said.rpartition(" ")[2]
    assert "image-level labels" in (Path(__file__).resolve().parents[2] / page).read_text()


def test_names_that_a_typing_error_may_have_parted() -> None:
    names = ["horse", "Horse", "cat", "tea_cup", "Tea cup", "tea-cup", "cats"]
    assert [line.split(":")[0] for line in spelt_alike(names)] == [
        "'horse' and 'Horse' are 2 classes",
        "'tea_cup' and 'Tea cup' and 'tea-cup' are 3 classes",
    ]


def test_one_class_goes_on_with_boxes(devkit: Any, tmp_path: Path, objects_xml: Any) -> None:
    for image_id in "abcde":
        devkit.xml(image_id, objects_xml(("cat", (2, 3, 5, 6))))
    store = Store(tmp_path / "store")
    boxed = DataConfig(format="voc", root=devkit.root, supervision="box")
    assert execute(dataset.STAGE, boxed, {}, store).artefact.manifest.counts["classes"] == ["cat"]
    execute(boxes.STAGE, boxed, {}, store)
    by_labels = DataConfig(format="voc", root=devkit.root)
    with pytest.raises(DataError, match=r"each of the 3 shows 'cat'"):  # though the artefact is there
        dataset.check(by_labels, Execution())
    devkit.xml("b", objects_xml())
    counts = execute(dataset.STAGE, by_labels, {}, store).artefact.manifest.counts
    assert (counts["train_negatives"], counts["train_images_of_class"]) == (1, {"cat": 2})
