"""Tables as people write them: separators, headers, several labels, splits, and what is refused."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_contracts.errors import DataError
from wsis.readers.config import DataConfig, open_source
from wsis.readers.formats.table_labels import label_divider

Make = Callable[..., Path]
BOTH = {"a": ["cat", "dog"], "b": ["dog"], "c": []}


def opened(root: Path, **values: Any) -> Any:
    return open_source(DataConfig.model_validate({"format": "csv", "root": root, **values}))


def labels(source: Any, role: str = "train") -> dict[str, list[str]]:
    return {i: [source.classes[n - 1] for n in source.labels_of(i)] for i in source.image_ids(role)}


@pytest.mark.parametrize(
    "text",
    [
        "a.jpg,cat;dog\nb.jpg,dog\nc.jpg,\n",
        "file,labels\na.jpg,cat|dog\nb.jpg,dog\nc.jpg,\n",
        '\ufefffile_name,label\r\na.jpg,"cat,dog"\r\nb.jpg,"dog"\r\nc.jpg,""\r\n',
        "image;classes\na.jpg;cat,dog\nb.jpg;dog\nc.jpg;\n",
        "a.jpg;cat;dog\nb.jpg;dog\nc.jpg;\n",
        "a.jpg,cat,dog\nb.jpg,dog\nc.jpg,\n",
        "Image Id\tTags\na\tcat dog\nb\tdog\nc\t\nd\tcat\n",
        "a,cat\na,dog\nb,dog\nb,dog\nc,\n",
        "filename,cat,dog\na.jpg,1,1\nb.jpg,0,1\nc.jpg,0,0\n",
        "cat,dog,path\n1.0,True,images/a.jpg\n,1.0,./images/b.jpg\n0,0,IMAGES\\C.JPG\n",
        "filename,width,height,class,xmin\na.jpg,12,8,cat,1\na.jpg,12,8,dog,2\nb.jpg,12,8,dog,3\nc.jpg,12,8,none,0\n",
        "id,label\na,cat; dog\nb,dog\n\nc,negative\n",
        "a.jpg cat dog\nimages/b.jpg  dog\n\nc.jpg\nd.jpg cat\n",
        "a cat,dog\nb dog\nc\n",
    ],
)
def test_read(tmp_path: Path, make_photographs: Make, text: str) -> None:
    make_photographs(tmp_path, "images/a.jpg", "images/b.jpg", "images/c.jpg", "images/d.jpg")
    (tmp_path / "labels.csv").write_bytes(text.encode())
    source = opened(tmp_path)
    found = labels(source)
    assert {i: found[i] for i in "abc"} == BOTH
    assert ("left out: 1 image that no table names: images/d.jpg" in source.notes()) == ("d" not in found)
    source.validate()


def test_columns_that_are_not_read_are_said(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "labels.csv").write_text(",file,label,fold,is_train\n0,a.jpg,cat,1,1\n1,b.jpg,dog,2,0\n")
    source = opened(tmp_path)
    assert labels(source) == {"a": ["cat"], "b": ["dog"]}
    assert "labels.csv: not read: 2 columns beside image and labels: fold, is_train" in source.notes()


def test_a_missing_value_is_a_class_where_it_is_meant(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "labels.csv").write_text("file,label\na.jpg,nan\nb.jpg,roti\n")
    with pytest.raises(DataError, match="line 2: field 'labels': expected classes or none, got 'nan'"):
        opened(tmp_path).notes()
    assert labels(opened(tmp_path, classes=["nan", "roti"])) == {"a": ["nan"], "b": ["roti"]}


@pytest.mark.parametrize(
    ("fields", "classes", "several", "expected"),
    [
        (["cat", "dog", "cat dog"], None, False, [["cat"], ["dog"], ["cat", "dog"]]),
        (["polar bear", "fire truck"], None, False, [["polar bear"], ["fire truck"]]),
        (["polar bear;cat", "cat"], None, False, [["polar bear", "cat"], ["cat"]]),
        (["polar bear", "bear"], None, True, [["polar bear"], ["bear"]]),
        (["polar bear", "cat bear"], ["polar bear", "cat", "bear"], False, [["polar bear"], ["cat", "bear"]]),
        (["dog, small|cat"], None, False, [["dog", "small", "cat"]]),
        (["dog, small"], ["dog, small"], False, [["dog, small"]]),
        (["", "cat;;cat"], None, False, [[], ["cat"]]),
    ],
)
def test_what_divides_labels(
    fields: list[str], classes: list[str] | None, several: bool, expected: list[list[str]]
) -> None:
    divide = label_divider(fields, classes, several)
    assert [divide(field) for field in fields] == expected


@pytest.mark.parametrize("fields", [["polar bear", "bear"], ["cat dog", "dog owl"], ["cat dog", "cat"]])
def test_a_space_that_may_divide(fields: list[str]) -> None:
    with pytest.raises(DataError, match=r"one class whose name has spaces, or several\? .* data\.classes"):
        label_divider(fields, None, False)


def test_splits(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, *(f"{name}.jpg" for name in "abcd"))
    table = tmp_path / "my labels.csv"
    table.write_text("file,label,split\na,cat,train\nb,dog,TRAIN\nc,cat,valid\nd,dog,test\n")
    source = opened(tmp_path)
    assert labels(source) == {"a": ["cat"], "b": ["dog"]}
    assert labels(source, "val") == {"c": ["cat"]}
    table.unlink()
    (tmp_path / "train.csv").write_text("a,cat\nb,dog\n")
    (tmp_path / "val.csv").write_text("c,cat\n")
    (tmp_path / "meta.csv").write_text("x,y\n")
    source = opened(tmp_path)
    assert (labels(source), labels(source, "val")) == ({"a": ["cat"], "b": ["dog"]}, {"c": ["cat"]})
    (tmp_path / "test.csv").write_text("d,cat\nb,dog\na,\n")
    shared = opened(tmp_path, labels_file="test.csv", val_share=0.34)
    assert {**labels(shared), **labels(shared, "val")} == {"a": [], "b": ["dog"], "d": ["cat"]}
    assert len(shared.image_ids("val")) == 1


def test_names_in_folders_of_the_splits(tmp_path: Path, make_photographs: Make) -> None:
    """Roboflow's table of classes: beside the images, whose names the other split may have too."""
    make_photographs(tmp_path, "train/1.jpg", "train/2.jpg", "valid/1.jpg")
    (tmp_path / "train/_classes.csv").write_text("filename, cat, dog\n1.jpg, 1, 0\n2.jpg, 0, 1\n")
    (tmp_path / "valid/_classes.csv").write_text("filename, cat, dog\n1.jpg, 0, 1\n")
    source = opened(tmp_path)
    assert labels(source) == {"train/1": ["cat"], "2": ["dog"]}
    assert labels(source, "val") == {"valid/1": ["dog"]}


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        ("", {}, r"labels\.csv is empty"),
        ("file,labels\n", {}, "expected rows of an image and its labels, got a header alone"),
        ("a.jpg\nb.jpg\n", {}, r"line 1: expected an image and its labels, got one field: 'a\.jpg'"),
        ("a.jpg,cat\nfox.jpg,dog\n", {}, r"line 2: the file .*fox\.jpg is missing$"),
        ("a.jpg,cat\nB.png,dog\n", {}, r"line 2: the file .*B\.png is missing; did you mean '.*b\.jpg'\?"),
        (
            "file,labels\na.jpg,cat\n,dog\n",
            {},
            r"line 3: field 'file': expected the name of an image, got nothing",
        ),
        ("file,labels,x\na.jpg,cat\n", {}, r"line 2: expected 3 fields \(file, labels, x\), got 2"),
        (
            "file,width,height\na.jpg,12,8\n",
            {},
            "line 1: expected a column 'labels', or one column a class of 0 and 1",
        ),
        ('a.jpg,"cat\nb.jpg,dog\n', {}, "no CSV: unexpected end of data"),
        ("a.jpg,cat\na.jpg,\nb.jpg,dog\n", {}, r"line 1: field 'labels': expected classes or none, got both"),
        ("a.jpg,cat;none\n", {}, "got both for image 'images/a.jpg': cat, none and a negative"),
        ("file,labels,split\na,cat,train\na,dog,val\n", {}, "image 'images/a.jpg' is in split 'val', but at"),
        ("../x.jpg,cat\nb.jpg,dog\n", {}, "expected a relative path that stays inside the data root"),
        ("x,cat\ny,dog\n", {}, "expected a column of image names, got no image that is there: 'x'$"),
        (
            "my a.jpg cat\nb.jpg dog\n",
            {},
            "'my a.jpg cat'; where names hold spaces, a comma or tab stands behind",
        ),
        ("a.jpg,cat\nb.jpg,owl\n", {"classes": ["cat"]}, r"line 2: field 'labels' .*unknown class 'owl'"),
        ("a.jpg,cat\n", {"labels_file": "none.csv"}, r"data\.labels_file: expected a table of labels"),
        ("a.jpg,cat\n", {"train_images": "none"}, r"data\.train_images: expected a folder of images"),
        ("a.jpg,c\u0007t\n", {}, "expected text without control characters"),
    ],
)
def test_refused(
    tmp_path: Path, make_photographs: Make, text: str, values: dict[str, Any], message: str
) -> None:
    make_photographs(tmp_path, "images/a.jpg", "images/b.jpg")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        opened(tmp_path, **values).validate()
    assert re.search(message, str(caught.value)), caught.value
    assert not str(caught.value).count("\n") > 1


def test_which_table(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "a.jpg", "b.jpg")
    with pytest.raises(
        DataError, match=r"expected one table of labels .*, got none; data\.labels_file names yours"
    ):
        opened(tmp_path).validate()
    for name in ("one.csv", "two.tsv"):
        (tmp_path / name).write_text("a,cat\nb,dog\n".replace(",", "\t" if name.endswith("tsv") else ","))
    with pytest.raises(DataError, match=r"got one\.csv, two\.tsv; data\.labels_file names yours"):
        opened(tmp_path).validate()
    assert labels(opened(tmp_path, labels_file=tmp_path / "two.tsv")) == {"a": ["cat"], "b": ["dog"]}
