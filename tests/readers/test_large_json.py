"""A large JSON in two passes gives what the plain reader gives, and says what it says."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from data_contracts.errors import DataError
from wsis.readers.files import large_json
from wsis.readers.files.folder_files import parse_json
from wsis.readers.files.large_json import LargeJson

LISTS = ("images", "annotations", "categories")
LEAVES = [0, 1, 2.5, -3, None, True, "", "a", "x\\", 'q"{', "[}:", "é", '\\\\"', 1e300, 2**53 + 1, math.nan]
DAMAGE = b'{}[]",:\\ 0a\xff'


def value(rng: random.Random, depth: int) -> Any:
    kind = rng.random()
    if depth == 0 or kind < 0.4:
        return rng.choice(LEAVES)
    if kind < 0.7:
        return [value(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    return {rng.choice(["a", "b", "id:", 'k"', "é"]): value(rng, depth - 1) for _ in range(rng.randint(0, 3))}


def document(rng: random.Random) -> dict[str, Any]:
    def objects() -> list[Any]:
        fields = [
            [rng.choice(["id", "b", "seg"]) for _ in range(rng.randint(0, 4))]
            for _ in range(rng.randint(0, 6))
        ]
        stray = [value(rng, 2)] if rng.random() < 0.1 else []
        return [{key: value(rng, 3) for key in keys} for keys in fields] + stray

    keys = rng.sample([*LISTS, "info"], rng.randint(0, 4))
    return {key: objects() if rng.random() < 0.8 else value(rng, 4) for key in keys}


def written(rng: random.Random) -> bytes:
    """A document, half of the time with a byte or two changed."""
    text = " " + json.dumps(document(rng), ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1]))
    data = bytearray(text.encode())
    for _ in range(rng.choice([0, 0, 1, 2])):
        at = rng.randrange(len(data))
        data[at : at + rng.randint(0, 1)] = rng.choice([b"", bytes([rng.choice(DAMAGE)])])
    return (b"\xef\xbb\xbf" if rng.random() < 0.1 else b"") + bytes(data)


def outcome(read: Any) -> str:
    try:
        return repr(read())
    except DataError as error:
        return str(error)


def lists_of(path: Path) -> Any:
    found = LargeJson(path, "test", LISTS)
    lists = {key: list(found.objects(key)) for key in LISTS if found.length(key) is not None}
    assert all(
        one == [found.object(key, i) for i in range(len(one))] or "nan" in repr(one)
        for key, one in lists.items()
    )
    return found.kinds, lists


def plainly(path: Path) -> Any:
    tree = parse_json(path.read_bytes(), str(path))
    if not isinstance(tree, dict):
        raise DataError(f"{path}: expected an object with {', '.join(LISTS)}, got {type(tree).__name__}")
    lists = {key: tree[key] for key in LISTS if key in tree and isinstance(tree[key], list)}
    pure = {key: one for key, one in lists.items() if all(isinstance(item, dict) for item in one)}
    return {key: type(one).__name__ for key, one in tree.items()}, pure


@pytest.mark.parametrize("block", [1, 3, 50, 1 << 20])
def test_as_the_plain_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(large_json, "BLOCK", block)
    monkeypatch.setattr(large_json, "_BATCH", 40)
    rng, path = random.Random(block), tmp_path / "a.json"
    refused = 0
    for _ in range(150):
        path.write_bytes(written(rng))
        expected = outcome(lambda: plainly(path))
        refused += expected.startswith(str(tmp_path))
        assert outcome(lambda: lists_of(path)) == expected, path.read_bytes()
    assert 20 < refused < 120  # both kinds were there


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [{"id": 1, "id": 2}]}', "expected each key of an object once, got 'id' twice"),
        ('{"images": [{"a": {"b": 1, "b": 2}}]}', "got 'b' twice"),
        ('{"info": [{"b": 1, "b": 2}]}', "got 'b' twice"),
        ('{"images": [], "images": []}', "got 'images' twice"),
        ('{"images": [\n {"id": 1},\n {"id": }]}', "malformed JSON: Expecting value at line 3, column 9"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        lists_of(path)


def test_numbers_are_those_that_are_written(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"images": [{"id": 123456789012345678901234567890, "x": 1e400, "y": -0.0}]}')
    assert list(LargeJson(path, "test", LISTS).objects("images")) == [
        {"id": 123456789012345678901234567890, "x": math.inf, "y": -0.0}
    ]
