"""SBD's and MCG's .mat files."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

from tests.hard.case import Case, Facts
from wsis.method.proposals.imports.published import import_cob, import_mcg
from wsis.readers.formats.sbd import SbdFolder

INSTANCES = np.zeros((20, 30), np.uint8)
INSTANCES[2:9, 3:12] = 1
INSTANCES[10:18, 15:28] = 2
IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def mat(variables: dict[str, Any], compressed: bool = True) -> bytes:
    stream = io.BytesIO()
    savemat(stream, variables, do_compression=compressed)
    return stream.getvalue()


def cells(*arrays: Any) -> np.ndarray:
    values = np.empty((len(arrays), 1), object)
    for row, array in enumerate(arrays):
        values[row, 0] = array
    return values


def sbd(compressed: bool = True, **fields: Any) -> bytes:
    sound = {"Segmentation": INSTANCES, "Categories": np.uint8([[10], [15]]), "Boundaries": cells(1, 2)}
    return mat({"GTinst": sound | fields}, compressed)


def mcg(compressed: bool = True, **variables: Any) -> bytes:
    superpixels = np.arange(1, 25, dtype=float).reshape(4, 6).repeat(5, 0).repeat(5, 1)
    lists = cells(*(np.arange(1 + i, 6 + i, dtype=float)[None] for i in range(3)))
    scores = np.array([[0.5], [0.4], [0.3]])
    return mat({"superpixels": superpixels, "labels": lists, "scores": scores} | variables, compressed)


def _read_sbd(data: bytes) -> Callable[[Path], Facts]:
    def run(folder: Path) -> Facts:
        (folder / "inst").mkdir()
        (folder / "inst/a.mat").write_bytes(data)
        source = SbdFolder(folder)
        size, objects, _, _ = source.annotation("a")
        return {"size": list(size), "classes": [one.name for one in objects]}

    return run


def _read(importer: Callable[..., Any], data: bytes) -> Callable[[Path], Facts]:
    return lambda folder: {"proposals": len(importer(data, IMAGE, "a.mat"))}


def tags_changed(data: bytes, at: int, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into("<I", changed, at, value)
    return bytes(changed)


def bomb(name: bytes) -> bytes:
    """A variable that says to have 1.5 GiB."""
    size = 3 << 29
    head = struct.pack("<IIIIII", 14, size, 6, 8, 6, 0) + struct.pack("<IIii", 5, 8, 1 << 15, 1 << 15)
    head += struct.pack("<II", 1, len(name)) + name.ljust(-(-len(name) // 8) * 8, b"\0")
    packer = zlib.compressobj(1)
    packed = packer.compress(head) + packer.compress(bytes(1 << 20)) + packer.flush()
    return mat({"x": 1})[:128] + struct.pack("<II", 15, len(packed)) + packed


PLAIN = sbd(compressed=False)
SBD: dict[str, tuple[bytes, tuple[str, ...] | Facts]] = {
    "sound": (sbd(), {"size": [20, 30], "classes": ["cow", "person"]}),
    "not compressed": (PLAIN, {"size": [20, 30], "classes": ["cow", "person"]}),
    "as doubles": (sbd(Segmentation=INSTANCES.astype(float)), {"classes": ["cow", "person"]}),
    "without objects": (
        sbd(Segmentation=np.zeros((20, 30)), Categories=np.zeros((0, 0))),
        {"classes": []},
    ),
    "fractions": (sbd(Segmentation=INSTANCES + 0.5), ("Segmentation", "whole numbers")),
    "NaN": (sbd(Segmentation=np.where(INSTANCES == 0, np.nan, INSTANCES)), ("Segmentation", "NaN")),
    "infinite": (sbd(Segmentation=np.where(INSTANCES > 0, np.inf, 0)), ("Segmentation", "whole numbers")),
    "category fraction": (sbd(Categories=np.array([8.7, 15])), ("Categories", "whole numbers")),
    "category 0": (sbd(Categories=np.uint8([0, 15])), ("Categories", "1..20, got 0")),
    "category 21": (sbd(Categories=np.uint8([10, 21])), ("Categories", "1..20, got 21")),
    "category of int16": (sbd(Categories=np.int16([10, -5])), ("Categories", "got -5")),
    "negative": (sbd(Segmentation=INSTANCES.astype(np.int16) - 1), ("Segmentation", "got -1")),
    "256": (sbd(Segmentation=INSTANCES.astype(np.uint16) * 256), ("Segmentation", "0..2")),
    "three dimensions": (sbd(Segmentation=np.zeros((4, 5, 3))), ("Segmentation", "[H, W]")),
    "empty map": (sbd(Segmentation=np.zeros((0, 5))), ("Segmentation",)),
    "text": (sbd(Segmentation="hello"), ("Segmentation", "char")),
    "complex": (sbd(Segmentation=INSTANCES + 1j), ("Segmentation", "complex")),
    "cells": (sbd(Segmentation=cells(1, 2)), ("Segmentation",)),
    "no field": (mat({"GTinst": {"Segmentation": INSTANCES}}), ("expected the fields", "Categories")),
    "no struct": (mat({"GTinst": INSTANCES}), ("expected one struct",)),
    "no variable": (mat({"GTcls": 1}), ("expected a struct GTinst",)),
    "variable twice": (sbd() + sbd()[128:], ("expected one variable GTinst, got two",)),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(600), ("7.3",)),
    "version 4": (bytes(400), ("version 5 to 7",)),
    "empty": (b"", ("empty",)),
    "header alone": (sbd()[:128], ("expected a struct GTinst",)),
    "cut": (sbd()[:200], ("damaged",)),
    "signal 7": (tags_changed(PLAIN, 0xC8, 52994), ("expected the fields",)),
    "signal 11": (tags_changed(PLAIN, 0x80, 0x7FFF000E), ("damaged",)),
    "bomb": (bomb(b"GTinst"), ("bytes, more than",)),
    "bomb beside": (bomb(b"other") + sbd()[128:], {"classes": ["cow", "person"]}),
}
MCG: dict[str, tuple[bytes, tuple[str, ...] | Facts]] = {
    "sound": (mcg(), {"proposals": 3}),
    "not compressed": (mcg(False), {"proposals": 3}),
    "fractions": (mcg(labels=cells(np.array([[1.5]]))), ("labels of proposal 0", "whole numbers")),
    "NaN": (mcg(superpixels=np.full((20, 30), np.nan)), ("superpixels", "NaN")),
    "id 0": (mcg(superpixels=np.zeros((20, 30))), ("superpixels", "1..")),
    "id of none": (mcg(labels=cells(np.array([[99.0]]), [[1.0]], [[2.0]])), ("labels", "99")),
    "scores NaN": (mcg(scores=np.array([[0.5], [np.nan], [0.1]])), ("scores", "finite")),
    "scores of another number": (mcg(scores=np.array([[0.5]])), ("scores", "expected 3")),
    "another size": (mcg(superpixels=np.ones((5, 5))), ("size",)),
    "no cells": (mcg(labels=np.ones((3, 1))), ("labels", "cell")),
    "huge ids": (mcg(superpixels=np.full((20, 30), 1e12)), ("superpixels",)),
    "bomb": (bomb(b"superpixels"), ("bytes, more than",)),
    "empty": (b"", ("0 bytes",)),
}
COB: dict[str, tuple[bytes, tuple[str, ...] | Facts]] = {
    "sound": (mat({"maskmat": cells(INSTANCES == 1, INSTANCES == 2)}), {"proposals": 2}),
    "one array": (mat({"maskmat": np.stack([INSTANCES == 1, INSTANCES == 2], 2)}), {"proposals": 2}),
    "another size": (mat({"maskmat": cells(np.ones((4, 4)))}), ("maskmat 0", "size")),
    "fractions": (mat({"maskmat": cells(INSTANCES + 0.5)}), ("maskmat 0", "whole numbers")),
    "empty masks": (mat({"maskmat": cells(INSTANCES * 0)}), ("at least one proposal with pixels",)),
}


def _case(name: str, run: Callable[[Path], Facts], expected: tuple[str, ...] | Facts) -> Case:
    return Case(name, run, words=expected) if isinstance(expected, tuple) else Case(name, run, facts=expected)


CASES = [
    *(_case(f"sbd/{name}", _read_sbd(data), expected) for name, (data, expected) in SBD.items()),
    *(_case(f"mcg/{name}", _read(import_mcg, data), expected) for name, (data, expected) in MCG.items()),
    *(_case(f"cob/{name}", _read(import_cob, data), expected) for name, (data, expected) in COB.items()),
]
