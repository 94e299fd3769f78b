"""Every format that `data.format` knows, a new one too: each file of its smallest data set damaged in every way.

Nothing of this may end in anything but data that are accepted or a refusal in a line, within the limits.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.hard.case import Case, Facts
from tests.hard.datasets import BUILDERS, FORMATS, facts_of

Damage = Callable[[Path], object]


def _bytes(change: Callable[[bytes], bytes]) -> Damage:
    return lambda path: path.write_bytes(change(path.read_bytes()))


def _flipped(seed: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        rng, changed = np.random.default_rng(seed), bytearray(data)
        for at in rng.integers(0, max(1, len(data)), 3 if data else 0):
            changed[at] = int(rng.integers(0, 256))
        return bytes(changed)

    return change


def _replaced(make: Damage) -> Damage:
    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


DAMAGES: dict[str, Damage] = {
    "empty": _bytes(lambda data: b""),
    "half": _bytes(lambda data: data[: len(data) // 2]),
    "cut by one": _bytes(lambda data: data[:-1]),
    "twice": _bytes(lambda data: data + data),
    "BOM": _bytes(lambda data: b"\xef\xbb\xbf" + data),
    "CRLF": _bytes(lambda data: data.replace(b"\n", b"\r\n")),
    "NUL": _bytes(lambda data: data[: len(data) // 2] + b"\0" + data[len(data) // 2 :]),
    "0xff": _bytes(lambda data: data[: len(data) // 2] + b"\xff" + data[len(data) // 2 :]),
    "UTF-16": _bytes(lambda data: data.decode("latin-1").encode("utf-16")),
    "zeros": _bytes(lambda data: bytes(len(data))),
    "huge": _bytes(lambda data: data + b" " * (8 << 20)),
    "reversed": _bytes(lambda data: data[::-1]),
    **{f"flipped {seed}": _bytes(_flipped(seed)) for seed in range(2)},
    "missing": lambda path: path.unlink(),
    "folder": _replaced(lambda path: path.mkdir()),
    "pipe": _replaced(os.mkfifo),
    "endless": _replaced(lambda path: path.symlink_to("/dev/zero")),
    "dangling": _replaced(lambda path: path.symlink_to("nowhere")),
    "loop": _replaced(lambda path: path.symlink_to(path.name)),
}


def _files(format_: str) -> list[str]:
    """One file of each kind (by folder and ending) of the smallest data set."""
    with tempfile.TemporaryDirectory() as folder:
        BUILDERS[format_](Path(folder))
        found = sorted(p.relative_to(folder) for p in Path(folder).rglob("*") if p.is_file())
    first = {(p.suffix, p.suffix in (".png", ".jpg") or str(p.parent)): str(p) for p in reversed(found)}
    return sorted(first.values())


def _damaged(format_: str, name: str, damage: Damage) -> Callable[[Path], Facts]:
    def run(folder: Path) -> Facts:
        BUILDERS[format_](folder)
        damage(folder / name)
        return facts_of(format_, folder)

    return run


CASES = [
    Case(f"damaged {format_}/{name}: {kind}", _damaged(format_, name, damage))
    for format_ in FORMATS
    for name in (_files(format_) if format_ in BUILDERS else ())
    for kind, damage in DAMAGES.items()
]
