"""SBD merged into VOC: a hand-made `dataset` folder with .mat files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from data_contracts.errors import DataError
from wsis.method.masks import rle
from wsis.readers.formats.voc import VocSource
from wsis.readers.shared.folder import FolderOptions

SPLITS = {"train": "trainaug", "val": "val"}


class Sbd:
    """train: a, s1; val: d (held out), s2. Each with a cow (10) and a person (15)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("img", "inst", "cls"):
            (root / folder).mkdir(parents=True)
        (root / "train.txt").write_text("a\ns1\n")
        (root / "val.txt").write_text("d\ns2\n")
        self.instances = np.zeros((8, 12), np.uint8)
        self.instances[1:4, 2:6] = 1
        self.instances[4:7, 8:12] = 2
        for image_id in ("a", "d", "s1", "s2"):
            self.mat(image_id, self.instances, [10, 15])

    def mat(self, image_id: str, instances: np.ndarray, categories: Any) -> None:
        boundaries = np.empty((len(categories), 1), dtype=object)
        for i in range(len(categories)):
            boundaries[i, 0] = np.zeros((8, 12), np.uint8)
        struct = {
            "Segmentation": instances,
            "Categories": (categories if isinstance(categories, np.ndarray) else np.uint8(categories))[
                :, None
            ],
            "Boundaries": boundaries,
        }
        savemat(self.root / f"inst/{image_id}.mat", {"GTinst": struct}, do_compression=True)


@pytest.fixture
def sbd(tmp_path: Path) -> Sbd:
    return Sbd(tmp_path / "sbd")


@pytest.fixture
def voc_with_sbd(devkit: Any, sbd: Sbd) -> VocSource:
    for i, image_id in enumerate(("s1", "s2")):
        devkit.image(image_id, 50 + i)
    return VocSource(devkit.root, FolderOptions(SPLITS), sbd.root)


def test_trainaug_is_train_plus_sbd_without_val(voc_with_sbd: VocSource) -> None:
    assert voc_with_sbd.image_ids("train") == ("a", "b", "c", "s1", "s2")
    assert voc_with_sbd.image_ids("val") == ("d", "e")
    assert voc_with_sbd.classes == ("cat", "cow", "dog", "person")
    voc_with_sbd.validate()


def test_annotations_of_images_without_xml(voc_with_sbd: VocSource) -> None:
    record = voc_with_sbd.image("s1")
    assert record.labels.tolist() == [2, 4]
    np.testing.assert_array_equal(record.boxes, [[2, 1, 6, 4], [8, 4, 12, 7]])
    assert record.box_labels.tolist() == [2, 4]
    assert voc_with_sbd.image("a").labels.tolist() == [1]  # its XML comes first


def test_truth_of_images_without_voc_masks(voc_with_sbd: VocSource, sbd: Sbd) -> None:
    truth = voc_with_sbd.truth_of("s2")
    assert truth.labels.tolist() == [2, 4]
    np.testing.assert_array_equal(rle.decode_many(truth.masks, (8, 12)), sbd.instances == [[[1]], [[2]]])
    assert rle.area(truth.void, (8, 12)) == 0
    assert voc_with_sbd.truth_of("a").labels.tolist() == [3]  # VOC's own mask comes first
    assert voc_with_sbd.truth_ids("train") == ("a", "b", "c", "s1", "s2")


def test_images_may_lie_in_sbd(devkit: Any, sbd: Sbd, encoded: Callable[..., bytes]) -> None:
    for image_id in ("s1", "s2"):
        (sbd.root / f"img/{image_id}.jpg").write_bytes(encoded(np.zeros((8, 12, 3), np.uint8), "JPEG"))
    voc = VocSource(devkit.root, FolderOptions(SPLITS), sbd.root)
    voc.validate()
    assert voc.image("s1").file_name == "img/s1.jpg"


def test_trainaug_without_sbd(devkit: Any) -> None:
    with pytest.raises(
        DataError, match=r"trainaug\.txt does not exist; expected that file or data\.sbd_root"
    ):
        VocSource(devkit.root, FolderOptions(SPLITS)).validate()


def test_wrong_folder(devkit: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.sbd_root: expected SBD's folder `dataset`"):
        VocSource(devkit.root, FolderOptions(SPLITS), tmp_path)


def test_digest_covers_the_mat_files(devkit: Any, voc_with_sbd: VocSource, sbd: Sbd) -> None:
    before = voc_with_sbd.digest()
    sbd.mat("s1", sbd.instances, [10, 12])
    assert VocSource(devkit.root, FolderOptions(SPLITS), sbd.root).digest() != before


def bad(devkit: Any, voc_with_sbd: VocSource, sbd: Sbd, match: str) -> None:
    with pytest.raises(DataError, match=match):
        voc_with_sbd.validate()


def test_damaged_mat(devkit: Any, voc_with_sbd: VocSource, sbd: Sbd) -> None:
    path = sbd.root / "inst/s1.mat"
    path.write_bytes(path.read_bytes()[:150])
    bad(devkit, voc_with_sbd, sbd, r"s1\.mat: the MAT file is damaged: cut short")


def test_mat_of_another_kind(devkit: Any, voc_with_sbd: VocSource, sbd: Sbd) -> None:
    savemat(sbd.root / "inst/s1.mat", {"GTinst": np.zeros(3)})
    bad(devkit, voc_with_sbd, sbd, r"s1\.mat: GTinst: expected one struct, got numbers")


def test_mat_with_too_many_instances(devkit: Any, voc_with_sbd: VocSource, sbd: Sbd) -> None:
    sbd.mat("s1", sbd.instances, [10])
    bad(devkit, voc_with_sbd, sbd, r"s1\.mat: field 'Segmentation': expected instances 0\.\.1 .* got 0\.\.2")


def test_mat_with_an_unknown_category(devkit: Any, voc_with_sbd: VocSource, sbd: Sbd) -> None:
    sbd.mat("s1", sbd.instances, [10, 77])
    bad(devkit, voc_with_sbd, sbd, r"s1\.mat: field 'Categories': expected 1\.\.20, got 77")


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
@pytest.mark.parametrize("field", ["Segmentation", "Categories"])
def test_mat_with_numbers_that_are_not_whole(
    devkit: Any, voc_with_sbd: VocSource, sbd: Sbd, field: str, value: float
) -> None:
    """As whole numbers they would give background a class, or an instance another one."""
    instances, categories = sbd.instances.astype(np.float64), np.array([10.0, 15.0])
    (instances if field == "Segmentation" else categories).flat[0] = value
    sbd.mat("s1", instances, categories)
    bad(devkit, voc_with_sbd, sbd, rf"s1\.mat: field '{field}': expected whole numbers, got fractions")


def test_mat_of_another_size_than_the_image(devkit: Any, voc_with_sbd: VocSource, sbd: Sbd) -> None:
    sbd.mat("s1", sbd.instances[:, :-1], [10, 15])
    bad(
        devkit,
        voc_with_sbd,
        sbd,
        r"s1\.mat: field 'size': expected the image's width x height, 12 x 8, got 11 x 8",
    )
