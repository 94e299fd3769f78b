"""The reader of .mat files against SciPy's, on what SciPy writes; big-endian and damaged files by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
import scipy.io

from wsis.errors import InputError
from wsis.method.proposals.imports.mat_files import load_struct, load_variables, whole_numbers

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


def packed(data):
    content = zlib.compress(data)
    return struct.pack("<II", 15, len(content)) + content  # not padded


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
        "more than there are",
    ),
    "compressed without its checksum": (
        file_of("<", struct.pack("<II", 15, len(PACKED) - 4), PACKED[:-4]),
        "byte 128 is cut short or too large",
    ),
    "compressed bomb": (
        file_of("<", packed(struct.pack("<II", 14, 1 << 31) + GOOD[8:])),
        "the variable at byte 128 has 2147483648 bytes, more than 1073741824",
    ),
    "twice": (file_of("<", GOOD, GOOD), "expected one variable a, got two"),
    "compressed flipped": (file_of("<", struct.pack("<II", 15, 20), bytes(20)), "Error -3"),
    "not a matrix": (file_of("<", EIGHT), "expected a matrix at byte 128, got an element of type 9"),
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
        file_of("<", matrix("<", b"a", (1, 6), struct.pack("<I", 6 << 16 | 2) + bytes(12))),
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


@pytest.mark.parametrize("compressed", [True, False])
def test_fields_of_a_struct(compressed):
    """As SBD has them, between fields that are not numbers."""
    table = {
        "text": "x",
        "map": np.arange(12, dtype=np.uint8).reshape(3, 4),
        "cells": cell(np.ones(2)),
        "one": 7.0,
    }
    data = mat({"other": 1, "table": table}, compressed)
    found = load_struct(data, "table", ("one", "map"), "x")
    assert_equal(found["map"], table["map"])
    assert_equal(found["one"], np.array([[7.0]]))


NAMES = element("<", 1, b"a".ljust(32, b"\0") * 2)
LENGTH = element("<", 5, struct.pack("<i", 32))
BAD_STRUCTS = {
    "absent": (mat({"other": {"a": 1}}), "expected a struct s, got no variable of this name"),
    "numbers": (mat({"s": np.ones((2, 3))}), r"x: s: expected one struct, got numbers \[2, 3\]"),
    "cells": (mat({"s": cell(np.ones(2))}), "x: s: expected one struct, got class 1"),
    "several": (mat({"s": np.zeros(2, [("a", "f8")])}), r"expected one struct, got struct \[1, 2\]"),
    "another field": (mat({"s": {"b": 1}}), r"x: s: expected the fields a, got \['b'\]"),
    "a field twice": (
        file_of("<", matrix("<", b"s", (1, 1), LENGTH + NAMES + GOOD + GOOD, kind=2)),
        r"expected the fields a, got \['a', 'a'\]",
    ),
    "text": (mat({"s": {"a": "text"}}), "x: s.a: expected numbers or a cell vector, got char"),
    "names of no length": (
        file_of("<", matrix("<", b"s", (1, 1), element("<", 5, bytes(4)) + NAMES, kind=2)),
        "field names of 64 bytes, each of 0",
    ),
    "no names": (file_of("<", matrix("<", b"s", (1, 1), EIGHT, kind=2)), "does not say how long"),
    "no value": (
        file_of("<", matrix("<", b"s", (1, 1), LENGTH + element("<", 1, b"a".ljust(32, b"\0")), kind=2)),
        "cut short",
    ),
}


@pytest.mark.parametrize("case", BAD_STRUCTS, ids=str)
def test_bad_structs_are_named(case):
    data, match = BAD_STRUCTS[case]
    with pytest.raises(InputError, match=match):
        load_struct(data, "s", ("a",), "x")


def test_a_variable_that_is_not_asked_for_is_not_unpacked():
    big = matrix("<", b"big", (1 << 23, 1), element("<", 2, bytes(1 << 23)))
    data = file_of("<", packed(big), GOOD)
    assert set(load_variables(data, ["a"], "x", largest=1 << 20)) == {"a"}
    with pytest.raises(InputError, match="more than 1048576"):
        load_variables(data, ["big"], "x", largest=1 << 20)


def test_whole_numbers():
    assert_equal(whole_numbers(np.array([[2.0, 3.0]]), "x"), np.array([[2, 3]]))
    for bad in (8.7, np.nan, np.inf, -np.inf):
        with pytest.raises(InputError, match="x: expected whole numbers, got fractions, NaN or infinity"):
            whole_numbers(np.array([1.0, bad]), "x")
    with pytest.raises(InputError, match="expected 32-bit numbers"):
        whole_numbers(np.array([1e12]), "x")
