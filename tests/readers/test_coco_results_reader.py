"""The file of COCO results: scanned in pieces, matched to images, everything wrong named."""

import json
import os

import numpy as np
import pytest

from data_contracts.errors import DataError
from wsis.method.masks import rle
from wsis.readers.files import json_array
from wsis.readers.files.json_array import scan_array
from wsis.readers.mask_targets import Target
from wsis.readers.proposal_results import index_results

SIZE = (6, 8)
MASK = np.zeros(SIZE, bool)
MASK[1:3, 2:5] = True


def entry(score=0.5, size=SIZE, **named):
    counts = rle.encode(np.resize(MASK, size)).decode()
    return {**named, "segmentation": {"size": list(size), "counts": counts}, "score": score}


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), "utf-8")
    return path


TARGETS = [Target("train_1", "train/1.jpg", SIZE, 1), Target("train_2", "train/2.jpg", SIZE, 2)]
TARGETS += [Target("val_1", "val/1.jpg", SIZE, 1), Target("é", "ä/é.jpg", SIZE)]


def test_elements_and_their_places(tmp_path, monkeypatch):
    values = [{"a": 1, "b": "x]},{"}, 'té"xt\\', [1, [2, {}]], {"ü": "\u2028 \U0001f600"}, -1.5e3, None, {}]
    for text in (
        json.dumps(values, ensure_ascii=False),
        "\ufeff \n" + json.dumps(values, indent=2) + "\n\n",
        json.dumps(values, separators=(",\t", ":\r\n")),
    ):
        path = write(tmp_path / "x.json", text)
        for block in (1, 2, 3, 7, 64, 1 << 20):
            monkeypatch.setattr(json_array, "BLOCK", block)
            found = list(scan_array(path))
            assert [value for _, _, value in found] == values
            data = path.read_bytes()
            assert [json.loads(data[start:stop]) for start, stop, _ in found] == values


def test_objects_are_found_whatever_the_block(tmp_path, monkeypatch):
    values = [entry(image_id="é" * k, note={"deep": [k, None, True, "\\u12", 1e-7]}) for k in range(5)]
    path = write(tmp_path / "x.json", values)
    for block in (1, 2, 5, 31, 100):
        monkeypatch.setattr(json_array, "BLOCK", block)
        assert [value for _, _, value in scan_array(path)] == values
    assert list(scan_array(write(tmp_path / "none.json", " [ ] "))) == []


MALFORMED = {
    "": r"entry 0 \(byte 0\): expected a list of entries: '\[', got the end of the file",
    "{}": r"entry 0 \(byte 0\): expected a list of entries: '\[', got '{'",
    "[": r"entry 0 \(byte 1\): malformed JSON: Expecting value",
    "[{}": r"entry 1 \(byte 3\): expected a list of entries: ',' or '\]', got the end of the file",
    "[{},]": r"entry 1 \(byte 4\): malformed JSON: Expecting value",
    "[{} {}]": r"entry 1 \(byte 4\): expected a list of entries: ',' or '\]', got '{'",
    '[{}, {"a": }, {"b": "' + "x" * 100 + '"}]': r"entry 1 \(byte 5\): malformed JSON: Expecting value",
    '[{"a": "b}]': r"entry 0 \(byte 1\): malformed JSON: Unterminated string",
    "[{}] x": r"entry 1 \(byte 5\): expected the end of the file after the list, got 'x'",
    "[" * 100_000: r"entry 0 \(byte 1\): malformed JSON: .*recursion",
    "[{'a': 1}]": r"entry 0 \(byte 1\): malformed JSON: Expecting property name",
    "[" + "1" * 5000 + "]": r"entry 0 \(byte 1\): malformed JSON: .*limit",
}


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: text[:12])
def test_malformed_files_are_named(tmp_path, text):
    path = write(tmp_path / "x.json", text)
    with pytest.raises(DataError, match=rf"x\.json: {MALFORMED[text]}"):
        list(scan_array(path))


def test_other_encodings_and_unreadable_files_are_named(tmp_path):
    (tmp_path / "x.json").write_bytes('["é"]'.encode("latin-1"))
    with pytest.raises(DataError, match=r"x\.json: entry 0 \(byte 1\): expected UTF-8, got byte 0xe9"):
        list(scan_array(tmp_path / "x.json"))
    (tmp_path / "x.json").write_bytes("[]".encode("utf-16"))
    with pytest.raises(DataError, match="expected a list of entries"):
        list(scan_array(tmp_path / "x.json"))
    with pytest.raises(DataError, match=r"none\.json: cannot be read: No such file"):
        list(scan_array(tmp_path / "none.json"))
    with pytest.raises(DataError, match="cannot be read"):
        list(scan_array(tmp_path))


def test_a_malformed_entry_is_not_searched_for_its_end_in_the_whole_file(tmp_path, monkeypatch):
    monkeypatch.setattr(json_array, "BLOCK", 64)
    path = write(tmp_path / "x.json", '[{"a": nonsense, "b": "' + "x" * 10_000 + '"}]')
    read = []
    real = json_array._Scanner._more
    monkeypatch.setattr(json_array._Scanner, "_more", lambda self: (read.append(1), real(self))[1])
    with pytest.raises(DataError, match=r"entry 0 \(byte 1\): malformed JSON: Expecting value"):
        list(scan_array(path))
    assert len(read) == 1
    monkeypatch.setattr(json_array, "LONGEST", 200)
    path = write(tmp_path / "x.json", '[{"a": "' + "x" * 10_000 + '"}]')
    with pytest.raises(DataError, match="Unterminated string"):
        list(scan_array(path))
    assert len(read) < 10


def scores(index, image_id):
    return [mask.score for mask in index.masks(image_id)]


def test_entries_by_path_by_its_tail_and_by_id(tmp_path):
    entries = [
        entry(1, file_name="train/1.jpg", image_id=99),
        entry(2, file_name="/data/coco/val/1.jpg"),
        entry(3, file_name="2.jpg"),
        entry(4, file_name="é.jpg"),
        entry(5, image_id="é"),
        entry(6, file_name="test/2.jpg", image_id="train_2"),  # the path decides
        entry(7, image_id="val_1", file_name=None),
        entry(8, file_name=r"val\1.jpg"),
        entry(9, image_id=2),
        entry(10, image_id="2"),
        entry(11, image_id=12),
        entry(12, file_name="."),
    ]
    path = write(tmp_path / "x.json", entries)
    found = index_results(path, TARGETS)
    assert {t.image_id: scores(found, t.image_id) for t in TARGETS} == {
        "train_1": [1],
        "train_2": [3, 9],
        "val_1": [2, 7, 8],
        "é": [4, 5],
    }
    assert found.unknown == {"test/2.jpg": 1, "2": 1, "12": 1, ".": 1}
    plain = index_results(path, [Target(t.image_id, t.file_name, t.size) for t in TARGETS])
    assert scores(plain, "train_2") == [3] and plain.unknown["2"] == 2  # elsewhere a number is not an image
    mask = found.masks("val_1")[1]
    assert mask.where == "entry 6" and mask.size == SIZE and mask.counts == rle.encode(MASK)


def test_ids_of_the_data_sets_own_annotations_come_first(tmp_path):
    targets = [
        Target("7", "7.jpg", SIZE, 8),
        Target("b", "b.jpg", SIZE, 7),
        Target("c", "c.jpg", SIZE, "0007"),
    ]
    path = write(
        tmp_path / "x.json",
        [entry(1, image_id=7), entry(2, image_id="b"), entry(3, image_id=8), entry(4, image_id="0007")],
    )
    found = index_results(path, targets)
    assert [scores(found, t.image_id) for t in targets] == [[3], [1, 2], [4]]


def test_what_is_wrong_with_one_image_is_its_fault_where_that_is_tolerated(tmp_path):
    entries = [
        entry(1, file_name="train/1.jpg"),
        entry(2, file_name="train/2.jpg"),
        entry(float("nan"), file_name="train/2.jpg"),
        entry(3, size=(6, 9), file_name="val/1.jpg"),
    ]
    path = write(tmp_path / "x.json", entries)
    found = index_results(path, TARGETS, tolerate=True)
    assert scores(found, "train_1") == [1] and set(found.faults) == {"train_2", "val_1", "é"}
    for image_id, match in (
        ("train_2", "entry 2: score: expected a finite number, got nan"),
        ("val_1", r"image val_1: entry 3: segmentation\.size"),
        ("é", r"image é \(ä/é\.jpg\): expected entries, got none"),
    ):
        with pytest.raises(DataError, match=rf"x\.json: {match}"):
            found.masks(image_id)
    assert index_results(write(tmp_path / "y.json", []), TARGETS, tolerate=True).faults.keys() == {
        target.image_id for target in TARGETS
    }


@pytest.mark.parametrize("case", ["not objects", "no name", "two tails", "mask of an unknown image"])
def test_what_is_no_images_fault_is_an_error_all_the_same(tmp_path, case):
    path = write(tmp_path / "x.json", BAD[case][0])
    with pytest.raises(DataError, match=r"x\.json(.|\n)*entry 0: "):
        index_results(path, TARGETS, tolerate=True)


ALL = [entry(file_name=target.file_name) for target in TARGETS]
BAD = {
    "not objects": (
        [[], "x"],
        r"6 problems\n  - entry 0: expected an object, got list\n  - entry 1: .*got str",
    ),
    "no name": ([entry()], "entry 0: image_id: expected a whole number or text, got None"),
    "fraction": ([entry(image_id=1.0)], "image_id: expected a whole number or text, got 1.0"),
    "true": ([entry(image_id=True)], "image_id: .*got True"),
    "list": ([entry(image_id=[1])], r"image_id: .*got \[1\]"),
    "number as path": ([entry(file_name=5)], "entry 0: file_name: expected text, got 5"),
    "two tails": (
        [entry(file_name="1.jpg")],
        "entry 0: file_name '1.jpg': expected one image, got train_1, val_1",
    ),
    "two numbers": (
        [entry(image_id=1)],
        "entry 0: image_id 1: expected one image, got train_1, val_1; give file_name",
    ),
    "mask": ([{"image_id": 2}], "entry 0: segmentation: expected run lengths"),
    "score": ([entry(float("nan"), image_id=2)], "entry 0: score: expected a finite number, got nan"),
    "mask of an unknown image": ([{"image_id": 555}], "entry 0: segmentation: expected run lengths"),
    "size": (
        [entry(size=(6, 9), image_id=2), entry(size=(6, 9), image_id=2), *ALL],
        r": image train_2: entry 0: segmentation.size: expected the image's size \[6, 8\] .*got \[6, 9\]$",
    ),
    "turned": ([entry(size=(8, 6), image_id=2)], "image train_2: .*the mask lies on its side"),
    "absent": (
        ALL[:2],
        r"2 problems\n  - image val_1 \(val/1.jpg\): expected entries, got none\n  - image é",
    ),
    "masks without pixels": (
        [ALL[0] | {"segmentation": {"size": [6, 8], "counts": counts}} for counts in ("`1", [48], [48, 0])]
        + ALL[1:],
        r": image train_1 \(train/1.jpg\): expected a mask with pixels, got none$",
    ),
    "the same in many": (
        [{"image_id": 2}] * 5,
        r"entry 0: segmentation: expected run lengths.*\(5 such: entry 0, entry 1, entry 2, \.\.\.\)",
    ),
    "none": ([], "4 problems"),
    "of another data set": (
        [entry(file_name=f"{k}.png") for k in range(30)],
        r"\(it has 30 entries of images that the data set lacks, e.g. '0.png'\): 4 problems",
    ),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_what_is_wrong_is_named_before_anything_is_computed(tmp_path, case):
    entries, match = BAD[case]
    path = write(tmp_path / "x.json", entries)
    with pytest.raises(DataError, match=rf"x\.json(.|\n)*{match}"):
        index_results(path, TARGETS)


def test_very_many_problems_end_the_search(tmp_path):
    path = write(tmp_path / "x.json", [{}] * 5000)
    with pytest.raises(DataError, match=r"1000 problems\n.*\(1000 such: entry 0, entry 1, entry 2, \.\.\.\)"):
        index_results(path, TARGETS)


def test_a_file_that_changes_is_named(tmp_path):
    path = write(tmp_path / "x.json", ALL)
    found = index_results(path, TARGETS)
    for text in (json.dumps(ALL)[7:], json.dumps([1] * 500), "[]"):
        write(path, text)
        with pytest.raises(DataError, match=r"x\.json: changed while it was in use"):
            found.masks("train_2")
    os.unlink(path)
    with pytest.raises(DataError, match=r"x\.json: cannot be read: No such file"):
        found.masks("train_2")
