"""What stages read of the artefacts before them."""

from types import SimpleNamespace

import numpy as np
import pytest

from data_contracts.errors import DataError
from data_contracts.records import RecordReader, RecordWriter
from data_contracts.schemas import DATASET
from tests.records import image_record
from wsis.views.dataset import class_names, image_ids, read_image, splits


def artefact(counts):
    return SimpleNamespace(path="store/dataset/1", manifest=SimpleNamespace(counts=counts))


def test_class_names_in_order():
    assert class_names(artefact({"classes": ["cow", "cat"], "images": 2})) == ("cow", "cat")


@pytest.mark.parametrize("counts", [{}, {"classes": []}, {"classes": "cow"}, {"classes": 3}])
def test_absent_class_names_are_named(counts):
    with pytest.raises(DataError, match="store/dataset/1: expected class names in the manifest's counts"):
        class_names(artefact(counts))


def test_images_of_a_split_in_the_order_of_the_records(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    roles = {"d": "val", "b": "train", "c": "val", "a": "train"}
    records = [image_record(pixels, f"{name}.png", role) for name, role in roles.items()]
    records[3]["encoded"] = np.frombuffer(b"nothing", np.uint8)
    RecordWriter(tmp_path, DATASET, list(roles)).write(0, records)
    reader = RecordReader(tmp_path, DATASET)
    assert list(splits(reader).items()) == list(roles.items())
    assert image_ids(reader, "val") == ["d", "c"] and image_ids(reader, "train") == ["b", "a"]
    assert image_ids(reader, "test") == []
    np.testing.assert_array_equal(read_image(reader, "c"), pixels)
    with pytest.raises(DataError, match="a"):
        read_image(reader, "a")
