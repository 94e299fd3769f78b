"""Numbers, cells and structs of untrusted MATLAB ``.mat`` files (versions 5 to 7), from bytes alone.

Not by SciPy: its reader takes type numbers on trust, and one flipped byte can end the process without a word.
Version 4 has no cells and no third dimension, hence no proposals. "MAT-File Format", MathWorks: an element is a
tag (type, bytes) and its data, padded to 8 bytes; up to 4 bytes of data may stand in the tag itself; a matrix
is a sequence of elements (flags, dimensions, name, content); a compressed element holds one matrix.
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from struct import Struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError

_HDF5 = b"\x89HDF\r\n\x1a\n"
_VERSION_7_3 = b"MATLAB 7.3 MAT-"
_HEADER = 128  # bytes of text, version and byte order
_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}  # version 1.0 and byte order
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMBERS = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_CELL, _STRUCT = 1, 2
_OTHERS = {2: "struct", 3: "object", 4: "char", 5: "sparse", 16: "function", 17: "opaque", 18: "object"}
_COMPLEX = 0x0800
_DEEPEST = 8  # cells in cells; proposals need one
_LARGEST = 1 << 30  # bytes of a decompressed variable: 2,000 masks of a photograph of VOC are 375 MB
_HEAD = 1 << 12  # bytes in which the head of a variable ends
_WHOLE = 1 << 31  # whole numbers beyond are no ids, classes or labels


class _Damaged(ValueError):
    """The bytes are no MAT file. Turned into an InputError that says whose they are."""


class _Matrix(NamedTuple):
    """The head of a matrix, and where its content stands."""

    kind: int
    is_complex: bool
    shape: tuple[int, ...]
    name: str
    content: slice


def load_variables(
    data: bytes, names: Sequence[str], where: str, optional: Sequence[str] = (), largest: int = _LARGEST
) -> dict[str, NDArray]:
    """The named variables of a file's bytes: arrays of numbers, or of objects (arrays again) for cells.

    Args:
        optional: names that may be absent.
        where: what the file belongs to, for messages.
        largest: most bytes of a decompressed variable.
    Raises:
        InputError: version 7.3 (HDF5), no MAT file, a damaged one, a variable that is missing, there twice, too
            large, or holds anything but numbers and cells.
    """
    with _damage_named(where):
        found = {
            name: reader.array(variable, head, f"{where}: {name}")
            for name, (reader, variable, head) in _find(data, (*names, *optional), where, largest).items()
        }
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(f"{where}: expected the variables {list(names)}, got none named {missing}")
    return found


def load_struct(
    data: bytes, name: str, fields: Sequence[str], where: str, largest: int = _LARGEST
) -> dict[str, NDArray]:
    """Fields of a variable that is one struct; its other fields may hold anything and are not looked into.

    Arguments and errors as :func:`load_variables`; InputError too if it is no struct, an array of several, or lacks a
    field.
    """
    with _damage_named(where):
        found = _find(data, (name,), where, largest)
        if name not in found:
            raise InputError(f"{where}: expected a struct {name}, got no variable of this name")
        reader, variable, head = found[name]
        return reader.struct_fields(variable, head, fields, f"{where}: {name}")


def whole_numbers(values: np.ndarray, where: str) -> NDArray[np.int64]:
    """Whole numbers of 32 bits, of any numeric MATLAB type, as int64 of the same shape; there may be none.

    Raises:
        InputError: no numbers, fractions, NaN, infinite or larger.
    """
    if values.dtype.kind not in "biuf":
        raise InputError(f"{where}: expected numbers, got {values.dtype} {values.shape}")
    if values.size == 0:
        return values.astype(np.int64)
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.round(values))).all():
        raise InputError(f"{where}: expected whole numbers, got fractions, NaN or infinity")
    if values.min() < -_WHOLE or values.max() > _WHOLE:
        raise InputError(f"{where}: expected 32-bit numbers, got {values.min()}..{values.max()}")
    return values.astype(np.int64)


@contextmanager
def _damage_named(where: str) -> Iterator[None]:
    try:
        yield
    except (_Damaged, zlib.error) as error:
        raise InputError(f"{where}: the MAT file is damaged: {error}") from error


def _find(
    data: bytes, names: Sequence[str], where: str, largest: int
) -> dict[str, "tuple[_Reader, bytes, _Matrix]"]:
    """The variables of these names that are there: their reader, bytes and head."""
    if data.startswith((_HDF5, _VERSION_7_3)) or data[512:520] == _HDF5:
        raise InputError(
            f"{where}: expected a MAT file of version 5 to 7, got version 7.3 (HDF5); write it again in MATLAB: "
            "s = load('old.mat'); save('new.mat', '-struct', 's', '-v7')"
        )
    order = _ORDERS.get(data[124:128])
    if order is None:
        raise InputError(
            f"{where}: expected a MAT file of version 5 to 7, got {len(data)} bytes of another kind"
        )
    reader = _Reader(order, largest)
    found: dict[str, tuple[_Reader, bytes, _Matrix]] = {}
    for head, variable in reader.variables(data, names):
        if head.name in found:
            raise InputError(f"{where}: expected one variable {head.name}, got two")
        found[head.name] = (reader, variable, head)
    return found


class _Reader:
    """Reads matrices of one byte order. Methods raise _Damaged."""

    def __init__(self, order: str, largest: int) -> None:
        self.order, self.largest = order, largest
        self.tag, self.flags = Struct(order + "II"), Struct(order + "I")

    def variables(self, data: bytes, names: Sequence[str]) -> Iterator[tuple[_Matrix, bytes]]:
        """Head and content of the matrix of each variable with one of the names, decompressed."""
        start = _HEADER
        while start < len(data):
            kind, size = self._tag(data, start, len(data))
            first, last = start + 8, start + 8 + size
            if last > len(data):
                raise _Damaged(
                    f"cut short: {size} bytes from byte {start}, only {len(data) - first} are there"
                )
            if kind == _MATRIX:
                head = self.head(data, slice(first, last))
                if head.name in names:
                    content = data[first:last]
                    yield self.head(content, slice(0, len(content))), content
            elif kind == _COMPRESSED:
                yield from self._decompressed(data[first:last], names, start)
            else:
                raise _Damaged(f"expected a matrix at byte {start}, got an element of type {kind}")
            start = last

    def _decompressed(
        self, packed: bytes, names: Sequence[str], start: int
    ) -> Iterator[tuple[_Matrix, bytes]]:
        """Of a compressed element no more is unpacked than its name unless the name is wanted."""
        stream = zlib.decompressobj()
        begin = stream.decompress(packed, _HEAD)
        kind, size = self._tag(begin, 0, len(begin))
        if kind != _MATRIX:
            raise _Damaged(f"expected a matrix in the compressed element at byte {start}, got type {kind}")
        if self.head(begin[8:], slice(0, min(size, len(begin) - 8))).name not in names:
            return
        if size > self.largest:
            raise _Damaged(f"the variable at byte {start} has {size} bytes, more than {self.largest}")
        missing = 8 + size - len(begin)  # and at most its padding, so that zlib's checksum is read
        whole = begin + stream.decompress(stream.unconsumed_tail, max(0, missing) + 8)
        if not stream.eof or len(whole) < 8 + size:
            raise _Damaged(f"the compressed variable at byte {start} is cut short or too large")
        content = whole[8 : 8 + size]
        yield self.head(content, slice(0, size)), content

    def head(self, data: bytes, within: slice) -> _Matrix:
        """Flags, dimensions and name of the matrix in a part of a variable. One of no bytes is empty numbers."""
        if within.start == within.stop:
            return _Matrix(6, False, (0, 0), "", within)
        parts = []
        start = within.start
        for wanted in (_UINT32, _INT32, _INT8):
            kind, part, start = self._element(data, start, within.stop)
            if kind != wanted:
                raise _Damaged(f"expected an element of type {wanted} at byte {part.start}, got type {kind}")
            parts.append(part)
        flags, dimensions, name = parts
        if flags.stop - flags.start != 8 or (dimensions.stop - dimensions.start) % 4:
            raise _Damaged(f"the matrix at byte {within.start} has no flags and dimensions")
        (flag,) = self.flags.unpack_from(data, flags.start)
        shape = tuple(np.frombuffer(data[dimensions], self.order + "i4").tolist())
        if len(shape) < 2 or min(shape) < 0:
            raise _Damaged(f"the matrix at byte {within.start} has dimensions {shape}")
        text = data[name].decode("latin-1")
        return _Matrix(flag & 0xFF, bool(flag & _COMPLEX), shape, text, slice(start, within.stop))

    def array(self, data: bytes, head: _Matrix, place: str, depth: int = 0) -> NDArray:
        """The matrix as an array; InputError if it is of another class or complex."""
        if head.kind == _CELL and depth < _DEEPEST:
            return self._cells(data, head, place, depth)
        if head.kind not in _NUMBERS or head.is_complex:
            got = "complex" if head.kind in _NUMBERS else _OTHERS.get(head.kind, f"class {head.kind}")
            raise InputError(f"{place}: expected numbers or a cell vector, got {got}")
        values: NDArray = np.zeros(0, _NUMBERS[head.kind])
        if head.content.start < head.content.stop:
            kind, part, _ = self._element(data, head.content.start, head.content.stop)
            stored, meant = _TYPES.get(kind, ""), _NUMBERS[head.kind]
            fraction_of_integer = stored[:1] == "f" and meant[0] != "f"
            if not stored or fraction_of_integer or (part.stop - part.start) % int(stored[1]):
                raise _Damaged(f"expected numbers for {meant} at byte {part.start}, got type {kind}")
            values = np.frombuffer(memoryview(data)[part], self.order + stored)
        if len(values) != math.prod(head.shape):
            raise _Damaged(f"{len(values)} numbers for the dimensions {head.shape} of {place}")
        return values.astype(_NUMBERS[head.kind], copy=False).reshape(head.shape, order="F")

    def struct_fields(
        self, data: bytes, head: _Matrix, fields: Sequence[str], place: str
    ) -> dict[str, NDArray]:
        """Some fields of one struct; InputError if the matrix is none."""
        if head.kind != _STRUCT or math.prod(head.shape) != 1:
            got = _OTHERS.get(head.kind, "numbers" if head.kind in _NUMBERS else f"class {head.kind}")
            raise InputError(f"{place}: expected one struct, got {got} {list(head.shape)}")
        kind, part, start = self._element(data, head.content.start, head.content.stop)
        if kind != _INT32 or part.stop - part.start != 4:
            raise _Damaged(f"the struct {place} does not say how long its field names are")
        (length,) = self.flags.unpack_from(data, part.start)
        kind, part, start = self._element(data, start, head.content.stop)
        text = data[part]
        if kind != _INT8 or not 0 < length <= _HEAD or len(text) % length:
            raise _Damaged(f"the struct {place} has field names of {len(text)} bytes, each of {length}")
        names = [
            text[i : i + length].partition(b"\0")[0].decode("latin-1") for i in range(0, len(text), length)
        ]
        if any(names.count(field) != 1 for field in fields):
            raise InputError(f"{place}: expected the fields {', '.join(fields)}, got {names}")
        found = {}
        for name in names:
            kind, part, start = self._element(data, start, head.content.stop)
            if kind != _MATRIX:
                raise _Damaged(f"expected a matrix in field {name!r} at byte {part.start}, got type {kind}")
            if name in fields:
                found[name] = self.array(data, self.head(data, part), f"{place}.{name}")
        return found

    def _cells(self, data: bytes, head: _Matrix, place: str, depth: int) -> NDArray:
        arrays: list[NDArray] = []
        start = head.content.start
        while start < head.content.stop:
            kind, part, start = self._element(data, start, head.content.stop)
            if kind != _MATRIX:
                raise _Damaged(f"expected a matrix in the cell at byte {part.start}, got type {kind}")
            arrays.append(self.array(data, self.head(data, part), f"{place} {len(arrays)}", depth + 1))
        if len(arrays) != math.prod(head.shape):
            raise _Damaged(f"{len(arrays)} cells for the dimensions {head.shape} of {place}")
        cells = np.empty(len(arrays), object)
        for row, array in enumerate(arrays):
            cells[row] = array
        return cells.reshape(head.shape, order="F")

    def _element(self, data: bytes, start: int, stop: int) -> tuple[int, slice, int]:
        """Type of the element at a place, where its data stand, and where the next begins."""
        kind, size = self._tag(data, start, stop)
        first, following = start + 8, start + 8 + -(-size // 8) * 8
        if kind >> 16:  # a small element
            kind, size, first, following = kind & 0xFFFF, kind >> 16, start + 4, start + 8
        if first + size > min(stop, following):
            raise _Damaged(f"the element at byte {start} has {size} bytes, more than there are")
        return kind, slice(first, first + size), following

    def _tag(self, data: bytes, start: int, stop: int) -> tuple[int, int]:
        if start + 8 > stop:
            raise _Damaged(f"cut short at byte {start}")
        kind, size = self.tag.unpack_from(data, start)
        return kind, size
