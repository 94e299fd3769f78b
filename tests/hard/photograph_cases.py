"""Folders of photographs without labels, as `wsis predict`, `proposals` and `contours` read them."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_contracts.records import RecordReader
from data_contracts.schemas import DATASET
from data_contracts.store import Store
from stages.data import photographs
from tests.hard.case import Case, Facts
from tests.hard.datasets import picture
from wsis.apps.output_paths import output_names
from wsis.engine.per_image import read_failures
from wsis.engine.progress import Progress
from wsis.engine.stage import execute
from wsis.readers.files.photographs import list_photographs

Expected = tuple[str, ...] | Facts | None


def _read(change: Callable[[Path], Any]) -> Callable[[Path], Facts]:
    """The stage `photographs` on a folder of one good photograph and what `change` adds."""

    def run(folder: Path) -> Facts:
        images = folder / "images"
        picture(images / "good.png")
        change(images)
        root = photographs.Config(root=images)
        made = execute(photographs.STAGE, root, {}, Store(folder / "store"), progress=Progress(quiet=True))
        ids = RecordReader(made.artefact.path, DATASET).ids
        names = [one.file_name for one in list_photographs(images)[0]]
        failed = read_failures(made.artefact.path)
        return {
            "ids": len(ids),
            "failed": sorted(failed),
            "unique": len(set(names)) == len({n.casefold() for n in output_names(ids).values()}) == len(ids),
            "why": " ".join(failed.values()),
        }

    return run


def _bytes(name: bytes) -> Callable[[Path], Any]:
    return lambda images: picture(Path(os.fsdecode(os.fsencode(images) + b"/" + name)))


def _socket(images: Path) -> None:
    before = os.getcwd()
    os.chdir(images)  # a socket's path has room for 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("s.jpg")
    finally:
        os.chdir(before)


def _many(*names: str) -> Callable[[Path], Any]:
    def change(images: Path) -> None:
        for name in names:
            picture(images / name)

    return change


def _link(target: str) -> Callable[[Path], Any]:
    return lambda images: (images / "x.jpg").symlink_to(target)


FINE = {"ids": 2, "failed": [], "unique": True}
OF: dict[str, tuple[Callable[[Path], Any], Expected]] = {
    "sound": (lambda images: None, {"ids": 1, "failed": [], "unique": True}),
    "long name": (_many("x" * 251 + ".jpg"), FINE),
    "long name in bytes": (_many("é" * 125 + ".jpg"), FINE),
    "two long names": (_many("x" * 251 + ".jpg", "x" * 251 + ".png"), {"ids": 3, "unique": True}),
    "folder named like a picture": (_many("x.jpg", "x.png/y.jpg"), {"ids": 3, "failed": [], "unique": True}),
    "folder named like a photograph": (_many("x.jpg/x.jpg"), FINE),
    "two endings": (_many("x.jpg", "x.png", "x.tif"), {"ids": 4, "failed": [], "unique": True}),
    "endings of endings": (_many("x.jpg", "x.png", "x.jpg.png"), {"ids": 4, "unique": True}),
    "case": (_many("a.JPG", "A.png"), {"ids": 3, "unique": True}),
    "NFC and NFD": (_many("é.png", "e\u0301.png"), {"ids": 3, "unique": True}),
    "not UTF-8": (_bytes(b"\xff\xfe.png"), FINE),
    "as it is shown": (
        lambda images: (_bytes(b"\xff.png")(images), picture(images / "\\xff.png")),
        {"ids": 3, "unique": True},
    ),
    "controls": (_many("\x1b[31mred.png"), FINE),
    "line feed": (_many("a\nb.png"), FINE),
    "dots": (_many("...png.png"), None),
    "spaces": (_many(" .png"), FINE),
    "pipe": (lambda images: os.mkfifo(images / "x.jpg"), {"ids": 2, "failed": ["x"]}),
    "socket": (_socket, {"ids": 2, "failed": ["s"]}),
    "device": (_link("/dev/zero"), {"ids": 2, "failed": ["x"]}),
    "terminal": (_link("/dev/tty"), {"ids": 2, "failed": ["x"]}),
    "dangling link": (_link("nowhere.jpg"), {"ids": 2, "failed": ["x"]}),
    "link loop": (_link("x.jpg"), {"ids": 2, "failed": ["x"]}),
    "link to a folder": (lambda images: (images / "x.jpg").symlink_to(images), {"ids": 1}),
    "folder": (lambda images: (images / "x.jpg").mkdir(), {"ids": 1}),
    "link loop of folders": (lambda images: (images / "sub").symlink_to(images), {"ids": 1}),
    "empty file": (lambda images: (images / "x.jpg").touch(), {"ids": 2, "failed": ["x"]}),
    "text": (lambda images: (images / "x.jpg").write_text("x"), {"ids": 2, "failed": ["x"]}),
    "other files": (lambda images: (images / "notes.txt").write_text("x"), {"ids": 1}),
    "deep": (_many("/".join(["d"] * 60) + "/x.png"), FINE),
    "only others": (
        lambda images: (images / "good.png").rename(images / "a.txt"),
        ("photographs: expected files",),
    ),
    "no folder": (lambda images: (images / "good.png").unlink() or images.rmdir(), ("expected a folder",)),
    "a pipe for a folder": (
        lambda images: (images / "good.png").unlink() or images.rmdir() or os.mkfifo(images),
        ("expected a folder or an image file",),
    ),
}


def _case(name: str, run: Callable[[Path], Facts], expected: Expected) -> Case:
    words = expected if isinstance(expected, tuple) else ()
    return Case(name, run, words=words, facts=expected if isinstance(expected, dict) else {})


CASES = [_case(f"photographs/{name}", _read(change), expected) for name, (change, expected) in OF.items()]
