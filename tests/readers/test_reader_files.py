"""Paths that stay inside, numbers that are finite, problems that are collected."""

import os
from pathlib import Path

import pytest

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import (
    Problems,
    finite_number,
    inside,
    parse_json,
    parse_xml,
    plain_name,
    read_bytes,
    read_text,
)


def test_inside(tmp_path: Path) -> None:
    assert inside(tmp_path, "a/b.txt", "x") == tmp_path.resolve() / "a/b.txt"
    (tmp_path / "real").mkdir()
    os.symlink(tmp_path / "real", tmp_path / "link")  # a link within the root is fine
    assert inside(tmp_path, "link/b", "x") == tmp_path.resolve() / "real/b"


@pytest.mark.parametrize(
    "path", ["", "..", "../x", "a/../../x", "a/../x", "/x", "\\x", "..\\x", "a\\..\\x", "C:\\x"]
)
def test_outside(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match=r"field f: expected a relative path that stays inside the data root"):
        inside(tmp_path, path, "field f")


def test_link_outside(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    os.symlink(tmp_path, tmp_path / "root/up")
    assert inside(tmp_path / "root", "up/secret", "x") == tmp_path.resolve() / "secret"  # the user's own link


def test_link_to_itself(tmp_path: Path) -> None:
    os.symlink(tmp_path / "loop", tmp_path / "loop")
    with pytest.raises(DataError, match=r"x: "):
        read_bytes(inside(tmp_path, "loop", "x"), "x")


def test_plain_name() -> None:
    assert plain_name("2007_000032", "x") == "2007_000032"
    for name in ("", ".", "..", "a/b", "a\\b", "a\0"):
        with pytest.raises(DataError, match="expected a plain name"):
            plain_name(name, "x")


def test_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("\ufeffid\r\n".encode())
    assert read_text(tmp_path / "a", "x") == "id\r\n"
    (tmp_path / "b").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="expected UTF-8 text, got byte 0xe9"):
        read_text(tmp_path / "b", "x")
    with pytest.raises(DataError, match=r"split: the file .* cannot be read: Is a directory"):
        read_bytes(tmp_path, "split")


@pytest.mark.parametrize(("value", "number"), [("3", 3.0), (" 4.5", 4.5), (7, 7.0), (1e3, 1000.0)])
def test_numbers(value: object, number: float) -> None:
    assert finite_number(value, "x") == number


@pytest.mark.parametrize("value", ["", "x", None, True, [1], "inf", "nan", float("inf"), 10**400])
def test_no_numbers(value: object) -> None:
    with pytest.raises(DataError, match=r"field w: expected a (finite )?number, got"):
        finite_number(value, "field w")


def test_xml_of_an_unknown_encoding() -> None:
    with pytest.raises(DataError, match="malformed XML"):
        parse_xml(b'<?xml version="1.0" encoding="klingon"?><a/>', "x")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b'{"a": }', "x: malformed JSON: Expecting value at line 1, column 7"),
        (b'["\xe9"]', "x: expected UTF-8 JSON, got byte 0xe9"),
        (b"[" * 100_000, "x: JSON nested too deeply"),
        (b'{"id": ' + b"1" * 5000 + b"}", "x: malformed JSON: .*limit"),  # Python converts 4,300 digits
    ],
    ids=["malformed", "latin-1", "deep", "digits"],
)
def test_no_json(data: bytes, match: str) -> None:
    with pytest.raises(DataError, match=match):
        parse_json(data, "x")


def test_problems() -> None:
    problems = Problems()
    problems.raise_if_any("data")
    with problems.collect():
        raise DataError("first")
    problems.add("first")
    with pytest.raises(DataError, match=r"^data: first$"):
        problems.raise_if_any("data")
    with pytest.raises(KeyError), problems.collect():  # other errors are not swallowed
        raise KeyError("bug")


def test_problems_of_one_kind_are_one_line_with_a_count_and_the_first_places() -> None:
    problems = Problems()
    for i in range(46):
        problems.add(f"a.json: annotations[{i}]: no mask")
    problems.add("a.json: annotations[3]: field 'bbox': expected 4 numbers, got 3")
    problems.add("b.json: annotations[4]: no mask")
    with pytest.raises(DataError) as raised:
        problems.raise_if_any("masks")
    assert str(raised.value).splitlines() == [
        "masks: 48 problems",
        "  - a.json: annotations[0]: no mask (46 such: [0], [1], [2], ...)",
        "  - a.json: annotations[3]: field 'bbox': expected 4 numbers, got 3",
        "  - b.json: annotations[4]: no mask",
    ]
