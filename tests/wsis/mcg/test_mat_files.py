"""The reader of .mat files against SciPy's, on what SciPy writes; big-endian and damaged files by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
import scipy.io

from wsis.errors import InputError
from wsis.mcg.mat_files import load_variables

NUMBERS = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")


def mat(variables, compressed=True):
    stream = io.BytesIO()
    scipy.io.savemat(stream, variables, do_compression=compressed)
    return stream.getvalue()


def cell(*arrays):
    values = np.empty((1, len(arrays)), object)
    for index, array in enumerate(arrays):
        values[0, index] = array
    return values


def assert_equal(one, other):
    assert one.shape == other.shape and one.dtype == other.dtype
    if one.dtype == object:
        for a, b in zip(one.ravel(), other.ravel(), strict=True):
            assert_equal(a, b)
    else:
        np.testing.assert_array_equal(one, other)


def variables(seed=0):
    rng = np.random.default_rng(seed)
    numbers = {
        f"of_{dtype}": rng.integers(0, 100, shape).astype(dtype)
        for dtype, shape in zip(
            NUMBERS,
            [(3, 4), (1, 1), (2, 1), (5, 3, 2), (1, 3), (0, 0), (0, 4), (2, 2), (7, 1), (1, 9)],
            strict=True,
        )
    }
    nested = cell(np.ones((2, 3)), cell(np.arange(3, dtype=np.uint8)), np.zeros((0, 0)), np.float32([[1.5]]))
    return {**numbers, "truth": rng.random((4, 5)) < 0.5, "in_cells": nested, "negative": -np.arange(4.0)}


@pytest.mark.parametrize("compressed", [True, False])
def test_reads_what_scipy_reads(compressed):
    written = variables()
    data = mat({**written, "text": "not asked for", "table": {"a": 1}}, compressed)
    found, expected = load_variables(data, list(written), "x"), scipy.io.loadmat(io.BytesIO(data))
    assert set(found) == set(written)
    for name, value in found.items():
        assert_equal(value, expected[name])


def element(order, kind, data):
    return struct.pack(order + "II", kind, len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")


def matrix(order, name, dimensions, content, kind=6, flag=0):
    head = element(order, 6, struct.pack(order + "II", kind | flag, 0))
    shape = element(order, 5, struct.pack(f"{order}{len(dimensions)}i", *dimensions))
    return element(order, 14, head + shape + element(order, 1, name) + content)


def file_of(order, *elements):
    mark = {"<": b"\x00\x01IM", ">": b"\x01\x00MI"}[order]
    return b"MATLAB 5.0 MAT-file".ljust(124) + mark + b"".join(elements)


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_and_numbers_stored_narrower_than_they_are(order):
    stored = element(order, 4, np.arange(6, dtype=order + "u2").tobytes())
    small = struct.pack(order + "I", 2 << 16 | 2) + bytes([7, 200, 0, 0])  # two uint8 in the tag itself
    if order == ">":
        small = struct.pack(">HH", 2, 2) + bytes([7, 200, 0, 0])
    data = file_of(order, matrix(order, b"a", (2, 3), stored), matrix(order, b"b", (2, 1), small, kind=13))
    found = load_variables(data, ["a", "b"], "x")
    assert_equal(found["a"], np.array([[0.0, 2, 4], [1, 3, 5]]))
    assert_equal(found["b"], np.array([[7], [200]], np.uint32))


def test_optional_variables():
    assert set(load_variables(mat({"a": 1, "b": 2}), ["a"], "x", ["b", "c"])) == {"a", "b"}
    with pytest.raises(InputError, match=r"x: expected the variables \['a', 'c'\], got none named \['c'\]"):
        load_variables(mat({"a": 1, "b": 2}), ["a", "c"], "x")


EIGHT = element("<", 9, np.arange(8.0).tobytes())
GOOD = matrix("<", b"a", (2, 4), EIGHT)
PACKED = zlib.compress(GOOD)
DAMAGED = {
    "no marker": (b"MATLAB 5.0 MAT-file".ljust(128) + GOOD, "got 256 bytes of another kind"),
    "version 4": (b"\0\0\0\0" * 60, "expected a MAT file of version 5 to 7"),
    "tag cut": (file_of("<", GOOD) + b"\x0e\0\0", "cut short at byte 256"),
    "cut": (file_of("<", GOOD)[:-8], "cut short: 120 bytes from byte 128, only 112 are there"),
    "compressed cut": (
        file_of("<", struct.pack("<II", 15, 20), PACKED[:20]),
        "byte 128 is cut short or too large",
    ),
    "compressed flipped": (file_of("<", struct.pack("<II", 15, 20), bytes(20)), "Error -3"),
    "not a matrix": (file_of("<", EIGHT), "expected a whole matrix at byte 128, got an element of type 9"),
    "type beyond": (
        file_of("<", matrix("<", b"a", (2, 4), element("<", 29956, bytes(64)))),
        "expected numbers for f8 at byte .*, got type 29956",
    ),
    "class beyond": (
        file_of("<", matrix("<", b"a", (2, 4), EIGHT, kind=77)),
        "a: expected numbers .*got class 77",
    ),
    "complex": (file_of("<", matrix("<", b"a", (2, 4), EIGHT, flag=0x800)), "got complex"),
    "float for int": (
        file_of("<", matrix("<", b"a", (2, 4), EIGHT, kind=13)),
        "expected numbers for u4 .*type 9",
    ),
    "too few": (
        file_of("<", matrix("<", b"a", (2, 5), EIGHT)),
        r"8 numbers for the dimensions \(2, 5\) of x: a",
    ),
    "huge": (file_of("<", matrix("<", b"a", (2**31 - 1,) * 4, EIGHT)), "8 numbers for the dimensions"),
    "negative": (file_of("<", matrix("<", b"a", (-2, -4), EIGHT)), r"has dimensions \(-2, -4\)"),
    "one dimension": (file_of("<", matrix("<", b"a", (8,), EIGHT)), r"has dimensions \(8,\)"),
    "no head": (
        file_of("<", element("<", 14, EIGHT)),
        "expected an element of type 6 at byte .*, got type 9",
    ),
    "longer than its matrix": (
        file_of("<", matrix("<", b"a", (2, 4), struct.pack("<II", 9, 640) + bytes(64))),
        "has 640 bytes, more than there are",
    ),
    "small too long": (
        file_of("<", matrix("<", b"a", (1, 6), struct.pack("<I", 6 << 16 | 2) + bytes(8))),
        "has 6 bytes, more than there are",
    ),
    "cells missing": (
        file_of("<", matrix("<", b"a", (1, 3), GOOD, kind=1)),
        r"1 cells for the dimensions \(1, 3\)",
    ),
    "numbers in cells": (
        file_of("<", matrix("<", b"a", (1, 1), EIGHT, kind=1)),
        "expected a matrix in the cell",
    ),
}


@pytest.mark.parametrize("case", DAMAGED, ids=str)
def test_damage_is_named(case):
    data, match = DAMAGED[case]
    with pytest.raises(InputError, match=match):
        load_variables(data, ["a"], "x")


def test_cells_do_not_nest_without_end():
    inner = np.ones((1, 1))
    for _ in range(30):
        inner = cell(inner)
    with pytest.raises(InputError, match="a 0 0 0 0 0 0 0 0: expected numbers or a cell vector, got class 1"):
        load_variables(mat({"a": inner}), ["a"], "x")


@pytest.mark.parametrize("compressed", [True, False])
def test_random_damage_never_escapes_as_another_error(compressed):
    """One byte of a type was enough to end the process in SciPy's reader."""
    good, rng = mat(variables(), compressed), np.random.default_rng(0)
    refused = 0
    for _ in range(2000):
        data = bytearray(good)
        for at in rng.integers(0, len(data), 3):
            data[at] = rng.integers(0, 256)
        try:
            load_variables(bytes(data[: rng.integers(100, 2 * len(data))]), list(variables()), "x")
        except InputError:
            refused += 1
    assert refused > 500
