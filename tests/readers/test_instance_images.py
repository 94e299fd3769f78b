"""Masks as image files: numbers in one file, a file an instance, Cityscapes, and what is refused."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_contracts.errors import DataError
from wsis.method.masks import rle
from wsis.readers.config import DataConfig, open_source

Make = Callable[..., Path]
IDS = np.zeros((8, 12), np.uint16)
IDS[1:3, 1:4] = 5
IDS[4:8, 6:12] = 300
IDS[7, 0] = 300  # one instance in two pieces


def opened(root: Path, **values: Any) -> Any:
    return open_source(DataConfig.model_validate({"root": root, **values}))


def save(path: Path, pixels: np.ndarray, kind: str = "PNG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    path.write_bytes(buffer.getvalue())


def table(root: Path, *rows: str, header: str = "image,instance,class") -> None:
    (root / "instances.csv").write_text("\n".join([header, *rows]) + "\n")


def masks_of(source: Any, image_id: str) -> list[np.ndarray]:
    return [rle.decode(one, (8, 12)) for one in source.truth_of(image_id).masks]


def test_masks_of_a_class_are_told(tmp_path: Path, make_photographs: Make) -> None:
    """One number an image, in pieces: the objects may be several."""
    for name, pixels in (("a", IDS == 5), ("b", IDS == 300)):
        make_photographs(tmp_path, f"images/{name}.jpg")
        save(tmp_path / f"masks/{name}.png", 255 * pixels.astype(np.uint8))
    said = "each of 2 masks holds one number, so that each image has one object, in 1 of them in pieces"
    assert [note for note in opened(tmp_path).notes() if note.startswith(said)]
    make_photographs(tmp_path, "images/c.jpg")
    save(tmp_path / "masks/c.png", IDS)
    assert not [note for note in opened(tmp_path).notes() if "in pieces" in note]


@pytest.mark.parametrize(
    "layout",
    [
        "images/{}/{}.jpg masks/{}/{}.png",
        "{}/images/{}.jpg {}/instances/{}.png",
        "{}/images/{}.jpg {}/masks/{}.PNG",
        "images/{}/{}.jpg instance_masks/{}/{}.tif",
        "images/{}/{}.jpg masks/{}/{}_mask.png",
    ],
)
def test_a_file_of_numbers(tmp_path: Path, make_photographs: Make, layout: str) -> None:
    photograph, mask = layout.split()
    for split, name in (("train", "a"), ("train", "b"), ("val", "d")):
        make_photographs(tmp_path, photograph.format(split, name))
        kind = "TIFF" if mask.endswith("tif") else "PNG"
        save(tmp_path / mask.format(split, name), IDS if name != "b" else IDS * 0, kind)
    make_photographs(tmp_path, photograph.format("train", "bare"))
    table(tmp_path, "a.jpg,5,cat", "a.jpg,300,dog", "d,5,cat", "d.jpg,300.0,")
    source = opened(tmp_path)
    assert [note for note in source.notes() if "data.format=instances" in note]
    assert source.classes == ("cat", "dog")
    assert (source.image_ids("train"), source.image_ids("val")) == (("a", "b"), ("d",))
    assert source.image("a").box_labels.tolist() == [1, 2] and source.image("b").labels.tolist() == []
    np.testing.assert_allclose(source.image("a").boxes, [[1, 1, 4, 3], [0, 4, 12, 8]])
    np.testing.assert_array_equal(masks_of(source, "a"), [IDS == 5, IDS == 300])
    assert source.truth_ids("val") == ("d",)
    np.testing.assert_array_equal(masks_of(source, "d"), [IDS == 5])
    np.testing.assert_array_equal(rle.decode(source.truth_of("d").void, (8, 12)), IDS == 300)
    assert any("left out: 1 image without annotation" in note for note in source.notes())
    source.validate()


def test_one_class(tmp_path: Path, make_photographs: Make) -> None:
    for name in "ab":
        make_photographs(tmp_path, f"images/{name}.jpg")
        save(tmp_path / f"masks/{name}.png", IDS)
    source = opened(tmp_path)
    assert source.classes == ("object",) and source.image("a").box_labels.tolist() == [1, 1]
    assert any("there is no table instances.csv; data.classes=[NAME] names it" in n for n in source.notes())
    assert opened(tmp_path, classes=["cell"], val_share=0.5).classes == ("cell",)


@pytest.mark.parametrize(
    "layout", ["{0}/images/{0}.png {0}/masks/{1}.png", "images/{0}.png masks/{0}/{1}.png"]
)
def test_a_file_an_instance(tmp_path: Path, make_photographs: Make, layout: str) -> None:
    """DSB 2018; masks of grey, of black and white, and of three equal channels."""
    photograph, mask = layout.split()
    make_photographs(tmp_path, photograph.format("a1"), photograph.format("b2"))
    first, second = (IDS == 5), (IDS == 300)
    save(tmp_path / mask.format("a1", "m1"), first.astype(np.uint8) * 255)
    save(tmp_path / mask.format("a1", "m2"), np.repeat(second[:, :, None], 3, 2).astype(np.uint8) * 255)
    save(tmp_path / mask.format("b2", "m1"), first)
    source = opened(tmp_path, supervision="box")
    np.testing.assert_array_equal(masks_of(source, "a1"), [first, second])
    np.testing.assert_allclose(source.image("a1").boxes, [[1, 1, 4, 3], [0, 4, 12, 8]])
    table(tmp_path, "a1,m1,cat", "a1,m2,dog", "b2,m1,dog")
    named = opened(tmp_path)
    assert [named.image(i).labels.tolist() for i in ("a1", "b2")] == [[1, 2], [2]]


def test_cityscapes(tmp_path: Path, make_photographs: Make) -> None:
    for split, city in (("train", "ulm"), ("val", "bonn")):
        make_photographs(tmp_path, f"leftImg8bit/{split}/{city}/{city}_0_leftImg8bit.png")
        ids = np.full((8, 12), 7, np.int32)  # road
        ids[1:3, 1:4], ids[4:6, 1:4], ids[6:8, 6:9], ids[0, 0] = 26001, 24000, 26, 29003
        save(tmp_path / f"gtFine/{split}/{city}/{city}_0_gtFine_instanceIds.png", ids.astype(np.uint16))
    source = opened(tmp_path)
    assert source.classes == ("car", "person")
    (train,), (val,) = source.image_ids("train"), source.image_ids("val")
    np.testing.assert_allclose(source.image(train).boxes, [[1, 4, 4, 6], [1, 1, 4, 3]])
    assert source.image(train).box_labels.tolist() == [2, 1]
    void = rle.decode(source.truth_of(val).void, (8, 12))
    assert void.sum() == 7 and void[0, 0] and void[6:8, 6:9].all()  # a group of cars, a caravan


def test_files_beside_other_labels_are_not_taken_for_a_format(tmp_path: Path, make_photographs: Make) -> None:
    """Boxes in files say more than a folder called masks."""
    make_photographs(tmp_path, "images/a.jpg", "images/b.jpg")
    save(tmp_path / "masks/a.png", IDS)
    (tmp_path / "data.yaml").write_text("names: [cat]")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    assert any("data.format=yolo" in note for note in opened(tmp_path).notes())


COLOURS = np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8)


@pytest.mark.parametrize(
    ("pixels", "rows", "message"),
    [
        (IDS, ["a,5,cat"], r"a\.png: instance 300: expected a row in .*instances\.csv, got none \(image images/a"),
        (IDS, ["a,5,cat", "a,5,dog", "a,300,x"], r"line 3: instance 5 of a is a 'cat' above"),
        (IDS, ["a,5"], r"instances\.csv: line 2: expected 3 fields, got 2"),
        (IDS, ["z,5,cat"], r"line 2: the file .*images/z is missing"),
        (IDS, ["../../z.jpg,5,cat"], "stays inside the data root"),
        (IDS, ["a,5,\x1b"], "without control characters"),
        (IDS, ['a,5,"x'], r"instances\.csv: no CSV"),
        (COLOURS, None, r"a\.png: expected a grey or palette image of whole numbers, got colours \(mode RGB\)"),
        (IDS.astype(np.float32), None, "got .* bytes|whole numbers"),
        (IDS[:4], None, r"expected the image's width x height, 12 x 8, got 12 x 4"),
    ],
)  # fmt: skip
def test_refused(
    tmp_path: Path, make_photographs: Make, pixels: np.ndarray, rows: list[str] | None, message: str
) -> None:
    make_photographs(tmp_path, "images/a.jpg")
    save(tmp_path / "masks/a.png", pixels, "TIFF" if pixels.dtype == np.float32 else "PNG")
    if rows is not None:
        table(tmp_path, *rows)
    with pytest.raises(DataError) as caught:
        opened(tmp_path, format="instances").validate()
    assert re.search(message, str(caught.value)), caught.value


def test_no_masks_and_a_table_without_header(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "images/a.jpg")
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match=r"expected masks of 1 photograph, .* got none"):
        opened(tmp_path, format="instances").validate()
    save(tmp_path / "masks/a.png", IDS)
    table(tmp_path, "a,5,cat", header="a,b")
    with pytest.raises(DataError, match=r"instances\.csv: expected a header image,instance,class"):
        opened(tmp_path, format="instances").validate()
