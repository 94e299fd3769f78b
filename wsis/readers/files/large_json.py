"""A large JSON object whose lists of objects stay in the file: two passes over its bytes, a few elements in memory.

The first pass finds the elements by counting brackets outside strings, as the first stage of simdjson does (Langdale
and Lemire, VLDB Journal 2019), and parses the document with each of them left empty. The second parses the elements.
Together they accept what `folder_files.parse_json` accepts; where something is wrong it is that function which says so.
Whole numbers of more than 64 bits inside lists come as floats.
"""

import json
import re
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import orjson
from numpy.typing import NDArray

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import object_of, parse_json, read_bytes, require_file

BLOCK = 1 << 20  # bytes read at a time
_BATCH = 1 << 16  # bytes of elements that are parsed together: more of them take fresh memory each time
_EXACT = 2.0**53  # floats from here on may have been whole numbers of more digits
_NESTED = (dict, list)
_LEVEL = 3  # brackets around what is inside an element: the document, a list, the element
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_QUOTE, _COLON, _OPEN = ord('"'), ord(":"), ord("{")
_STEP = np.zeros(256, np.int8)
_STEP[[ord("{"), ord("[")]], _STEP[[ord("}"), ord("]")]] = 1, -1
_MARKS = bytes(chr(i) in '{}[]:"' for i in range(256))
_DIGITS = bytes(chr(i) in "0123456789" for i in range(256))
_LONG = b"\1" * 19  # orjson rounds whole numbers of so many digits


class LargeJson:
    """A document that is an object.

    Attributes:
        kinds: its keys -> the Python type of each value, as its name.

    Args:
        where: what names the file, for the message where it is missing.
        lists: keys of the lists whose objects are read later; whatever else the document holds is checked now.

    Raises:
        DataError: no such file, malformed JSON (with line and column), a key twice in an object, or no object.
    """

    def __init__(self, path: Path, where: str, lists: Sequence[str]) -> None:
        require_file(path, where)
        self.path, self._where = path, where
        self._starts, self._lengths, self._colons, skeleton = _Outline().read(path)
        try:
            document = json.loads(skeleton.decode("utf-8-sig"), object_pairs_hook=_pairs)
            if not isinstance(document, _Pairs):
                raise DataError(
                    f"{path}: expected an object with {', '.join(lists)}, got {type(document).__name__}"
                )
            members = _once_each(document)
        except (ValueError, RecursionError) as error:  # DataError is one
            self._refuse(error)
        self.kinds = {key: type(v).__name__ for key, v in members.items()}
        self._lists: dict[str, tuple[int, int]] = {}  # key -> the first of its elements, how many
        count = 0
        for key, value in members.items():
            inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
            objects = sum(one is _EMPTY for one in inner)
            if key in lists and isinstance(value, list) and objects == len(value):
                self._lists[key] = count, objects
            else:
                deque(self._read(count, objects), maxlen=0)
            count += objects

    def length(self, key: str) -> int | None:
        """How many elements a list of objects has; None where there is no such list."""
        return self._lists[key][1] if key in self._lists else None

    def objects(self, key: str) -> Iterator[dict[str, Any]]:
        """The elements of a list of objects, one by one.

        Raises:
            DataError: an element is malformed.
        """
        return chain.from_iterable(self.batches(key))

    def batches(self, key: str) -> Iterator[list[dict[str, Any]]]:
        """The elements of a list of objects in their order, some at a time.

        Raises:
            DataError: an element is malformed.
        """
        return self._read(*self._lists[key])

    def _read(self, first: int, count: int) -> Iterator[list[dict[str, Any]]]:
        begin, last = first, first + count
        with self.path.open("rb") as stream:
            while begin < last:
                base = int(self._starts[begin])
                end = begin + int(np.searchsorted(self._starts[begin:last], base + _BATCH))
                stream.seek(base)
                stop = int(self._starts[end - 1]) + int(self._lengths[end - 1])
                yield self._elements(stream.read(stop - base), begin, end)
                begin = end

    def _elements(self, data: bytes, begin: int, end: int) -> list[dict[str, Any]]:
        """Elements that lie together, parsed together; one by one where one of them is not plain."""
        colons = self._colons[begin:end]
        found = _together(data)
        if found is None or len(found) != end - begin:
            found, odd = [{}] * (end - begin), np.arange(end - begin)
        else:
            odd = np.flatnonzero(np.fromiter(map(len, found), np.int64, len(found)) != colons)
        base = self._starts[begin]
        for i in odd.tolist():
            if not found[i] or _keys(found[i]) != colons[i]:
                start = self._starts[begin + i] - base
                found[i] = self._element(data[start : start + self._lengths[begin + i]], int(colons[i]))
        return found

    def object(self, key: str, position: int) -> dict[str, Any]:
        """One element of a list of objects, read again."""
        at = self._lists[key][0] + position
        with self.path.open("rb") as stream:
            stream.seek(int(self._starts[at]))
            piece = stream.read(int(self._lengths[at]))
        return self._element(piece, int(self._colons[at]))

    def _element(self, piece: bytes, colons: int) -> dict[str, Any]:
        """Its value. What orjson refuses, rounds or passes over (NaN, long numbers, a key twice) goes the long way."""
        try:
            value = orjson.loads(piece)
            if _keys(value) == colons:
                return value  # not so where a key is there twice
        except orjson.JSONDecodeError:
            pass  # the json module decides
        try:
            return json.loads(piece, object_pairs_hook=object_of)
        except (ValueError, RecursionError) as error:
            self._refuse(error)

    def _refuse(self, error: Exception) -> NoReturn:
        if isinstance(error, DataError) and str(error).startswith(str(self.path)):
            raise error
        parse_json(read_bytes(self.path, self._where), str(self.path))  # says where, in lines and columns
        raise DataError(f"{self.path}: changed while it was read: {error}") from error


def _together(data: bytes) -> list[dict[str, Any]] | None:
    """The values of elements with the commas between them; None where orjson refuses one or may have rounded it."""
    if _LONG in data.translate(_DIGITS):
        return None
    try:
        return orjson.loads(b"[%b]" % data)
    except orjson.JSONDecodeError:
        return None


class _Pairs(tuple[tuple[str, Any], ...]):
    """A JSON object as it is written: a key that is there twice is there twice."""


_EMPTY = _Pairs()


def _pairs(pairs: list[tuple[str, Any]]) -> _Pairs:
    return _Pairs(pairs) if pairs else _EMPTY


def _once_each(document: _Pairs) -> dict[str, Any]:
    """A document with its objects as dictionaries, but for the empty ones, which may be elements.

    Raises:
        DataError: a key is there twice.
    """
    return object_of([(key, object_of(list(v)) if isinstance(v, _Pairs) else v) for key, v in document])


def _keys(value: dict[str, Any]) -> int:
    """How many keys an object and the objects inside it have; none where a number may not be the one that is written.

    Lists that begin with a number or text are not looked into: what is in them the count of colons tells.
    """
    count = len(value)
    for one in value.values():
        kind = type(one)
        if kind is float and abs(one) >= _EXACT:
            return 0
        if kind is dict or (kind is list and one and type(one[0]) in _NESTED):
            count += _keys_within(one)
    return count


def _keys_within(value: Any) -> int:
    if type(value) is dict:
        return _keys(value)
    return sum(
        _keys_within(one)
        for one in value
        if type(one) is dict or (type(one) is list and one and type(one[0]) in _NESTED)
    )


@dataclass
class _Outline:
    """The first pass. What a block leaves to the next: how deep it ends, in a string or not, in an element or not."""

    depth: int = 0
    quotes: int = 0
    colons: int = 0
    opener: int = 0  # the bracket that begins what is open at `_LEVEL`
    inside: bool = False  # an object is open there

    def read(
        self, path: Path
    ) -> tuple[NDArray[np.int64], NDArray[np.signedinteger], NDArray[np.int32], bytes]:
        """First byte of each element, its bytes, its colons; and the document with each as `{}`."""
        begins, ends = (
            (array("q"), array("q")),
            (array("q"), array("q")),
        )  # they grow in place: pieces leave holes
        skeleton, base, carried = bytearray(), 0, b""
        with path.open("rb") as stream:
            while block := stream.read(BLOCK):
                block = carried + block
                carried, plain = b"", block
                if b"\\" in block:
                    plain = _ESCAPE.sub(b"  ", block)
                    if plain.endswith(b"\\"):
                        carried, block, plain = b"\\", block[:-1], plain[:-1]
                begin, end, kept = self._block(block, plain)
                for columns, (places, colons) in ((begins, begin), (ends, end)):
                    columns[0].frombytes((places + base).tobytes())
                    columns[1].frombytes(colons.tobytes())
                skeleton += kept
                base += len(block)
        count = len(ends[0])  # an element without its end: the skeleton shows it
        starts, first = (np.asarray(one)[:count] for one in begins)
        last, colons = (np.asarray(one) for one in ends)
        lengths = last - starts + 1
        if lengths.max(initial=0) < 2**31:
            lengths = lengths.astype(np.int32)
        return starts, lengths, (colons - first).astype(np.int32), bytes(skeleton + carried)

    def _block(self, block: bytes, plain: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64], bytes]:
        """Elements that begin and that end here, each [2, N]: place, colons before it; and the bytes outside them."""
        at = np.flatnonzero(np.frombuffer(plain.translate(_MARKS), np.bool_))
        kinds = np.frombuffer(plain, np.uint8)[at]
        quotes = self.quotes + np.cumsum(kinds == _QUOTE)
        self.quotes = int(quotes[-1]) % 2 if len(quotes) else self.quotes
        outside = (quotes % 2 == 0) & (kinds != _QUOTE)
        at, kinds = at[outside], kinds[outside]
        steps = _STEP[kinds]
        depth = self.depth + np.cumsum(steps, dtype=np.int64)
        colons = self.colons + np.cumsum(kinds == _COLON)
        if len(at):
            self.depth, self.colons = int(depth[-1]), int(colons[-1])
        edge = ((steps > 0) & (depth == _LEVEL)) | ((steps < 0) & (depth == _LEVEL - 1))
        at, kinds, colons, opens = at[edge], kinds[edge], colons[edge], steps[edge] > 0
        before = np.concatenate([[self.opener], kinds])
        self.opener = int(before[-1])
        of_object = np.where(opens, kinds, before[:-1]) == _OPEN
        at, colons, opens = at[of_object], colons[of_object], opens[of_object]
        inside, self.inside = self.inside, bool(opens[-1]) if len(opens) else self.inside
        places = np.stack([at, colons]).astype(np.int64)
        return places[:, opens], places[:, ~opens], _outside(block, at[opens] + 1, at[~opens], inside)


def _outside(block: bytes, begins: NDArray[np.int64], ends: NDArray[np.int64], inside: bool) -> bytes:
    """The bytes of a block that are not within `begins` to `ends`, which take turns; `inside`: an end comes first."""
    starts = ends if inside else np.concatenate([[0], ends])
    stops = np.concatenate([begins, [len(block)]])[: len(starts)]
    lengths = stops - starts
    shift = starts - np.cumsum(lengths) + lengths
    return np.frombuffer(block, np.uint8)[np.repeat(shift, lengths) + np.arange(lengths.sum())].tobytes()
