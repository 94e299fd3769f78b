"""COCO results with proposals, entry by entry."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.hard.case import Case, Facts
from wsis.method.masks import rle
from wsis.method.proposals.imports.coco_results import import_coco_results
from wsis.readers.mask_targets import Target
from wsis.readers.proposal_results import index_results

MASK = np.zeros((8, 12), bool)
MASK[2:5, 3:9] = True
IMAGE = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
ENTRY = {
    "image_id": 1,
    "file_name": "a.png",
    "score": 0.5,
    "segmentation": {"size": [8, 12], "counts": rle.encode(MASK).decode()},
}
Expected = tuple[str, ...] | Facts | None


def _read(content: str | bytes | Callable[[Path], Any]) -> Callable[[Path], Facts]:
    def run(folder: Path) -> Facts:
        path = folder / "masks.json"
        if callable(content):
            content(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        found = index_results(path, [Target("a", "a.png", (8, 12))])
        masks = found.masks("a")
        import_coco_results(masks, IMAGE, str(path))
        return {"masks": len(masks), "unknown": sum(found.unknown.values())}

    return run


def entry(**fields: Any) -> str:
    return json.dumps([ENTRY | fields])


def mask(**fields: Any) -> str:
    segmentation: Mapping[str, Any] = ENTRY["segmentation"]  # type: ignore[assignment]
    return entry(segmentation={**segmentation, **fields})


def text(old: str, new: str) -> str:
    return json.dumps([ENTRY]).replace(old, new, 1)


OF: dict[str, tuple[str | bytes | Callable[[Path], Any], Expected]] = {
    "sound": (entry(), {"masks": 1, "unknown": 0}),
    "two": (json.dumps([ENTRY, ENTRY]), {"masks": 2}),
    "of another image too": (json.dumps([ENTRY, ENTRY | {"file_name": "z.png"}]), {"masks": 1, "unknown": 1}),
    "run lengths": (mask(counts=[26, 3, 67]), {"masks": 1}),
    "score twice": (text('"score": 0.5', '"score": 0.5, "score": 0.9'), ("score", "twice")),
    "counts twice": (text('"size"', '"counts": "x", "size"'), ("counts", "twice")),
    "score NaN": (text("0.5", "NaN"), ("score",)),
    "score infinite": (text("0.5", "Infinity"), ("score",)),
    "score text": (entry(score="0.5"), ("score",)),
    "score null": (entry(score=None), ("score",)),
    "score true": (entry(score=True), ("score",)),
    "score of many digits": (text("0.5", "9" * 6000), None),
    "no mask": (entry(segmentation=None), ("segmentation",)),
    "mask of text": (entry(segmentation="x"), ("segmentation",)),
    "another size": (mask(size=[12, 8]), ("size",)),
    "size negative": (mask(size=[-8, -12]), None),
    "size huge": (mask(size=[1 << 40, 1 << 40]), None),
    "size of fractions": (mask(size=[8.5, 12]), None),
    "counts beyond": (mask(counts=[26, 3, 1000]), ("entry 0",)),
    "counts short": (mask(counts=[26, 3]), ("entry 0",)),
    "counts negative": (mask(counts=[99, -3]), ("entry 0",)),
    "counts of text": (mask(counts=["a"]), ("entry 0",)),
    "counts of bytes": (mask(counts="\x00\x01~~"), ("entry 0",)),
    "counts not ASCII": (mask(counts="é"), ("entry 0",)),
    "counts endless": (mask(counts="o" * 100_000), ("entry 0",)),
    "name null": (entry(file_name=None, image_id=None), ("image_id",)),
    "name of a number": (entry(file_name=5), ("file_name",)),
    "name of controls": (entry(file_name="\x1b[31m"), None),
    "id of a list": (entry(file_name=None, image_id=[]), ("image_id",)),
    "entry of text": (json.dumps(["x"]), ("entry 0", "object")),
    "object": ("{}", ("masks.json",)),
    "null": ("null", ("masks.json",)),
    "empty list": ("[]", ("image a",)),
    "empty": (b"", ("masks.json",)),
    "cut": (entry()[:-20], ("masks.json",)),
    "more after it": (entry() + "[]", ("masks.json",)),
    "comma": (entry()[:-1] + ",]", ("masks.json",)),
    "BOM": (b"\xef\xbb\xbf" + entry().encode(), None),
    "UTF-16": (entry().encode("utf-16"), ("masks.json",)),
    "not UTF-8": (entry().replace("a.png", "\xff.png").encode("latin-1"), None),
    "deep": ("[" * 100_000, ("masks.json",)),
    "deep in an entry": ('[{"a": ' + "[" * 50_000 + "]" * 50_000 + "}]", ("masks.json",)),
    "one long text": ('["' + "x" * (4 << 20) + '"]', ("entry 0",)),
    "open text": ('["' + "x" * (4 << 20), ("masks.json",)),
    "pipe": (os.mkfifo, ("masks.json",)),
    "device": (lambda path: path.symlink_to("/dev/zero"), ("masks.json",)),
    "folder": (lambda path: path.mkdir(), ("masks.json",)),
    "missing": (lambda path: None, ("masks.json",)),
}


def _case(name: str, run: Callable[[Path], Facts], expected: Expected) -> Case:
    words = expected if isinstance(expected, tuple) else ()
    return Case(name, run, words=words, facts=expected if isinstance(expected, dict) else {})


CASES = [_case(f"results/{name}", _read(content), expected) for name, (content, expected) in OF.items()]
