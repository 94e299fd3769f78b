"""Folders of classes, tables and YOLO's files. Cases of a format that `data.format` does not know are left out."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hard.case import Case, Facts
from tests.hard.datasets import BUILDERS, FORMATS, facts_of, picture, write

Expected = tuple[str, ...] | Facts | None
SOUND = {"labels": {"a.png": ["cat"], "b.png": ["dog"]}}


def _read(format_: str, change: Callable[[Path], Any], **settings: Any) -> Callable[[Path], Facts]:
    def run(folder: Path) -> Facts:
        BUILDERS[format_](folder)
        change(folder)
        return facts_of(format_, folder, **settings)

    return run


def put(name: str, content: str | bytes) -> Callable[[Path], None]:
    return lambda folder: write(folder / name, content)


def node(name: str, make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return change


def moved(yaml: str, below: str = ".") -> Callable[[Path], None]:
    """The folders of train and val are called otherwise, and the YAML says how."""

    def change(folder: Path) -> None:
        for kind in ("images", "labels"):
            (folder / below / kind).mkdir(parents=True, exist_ok=True)
            for old, new in (("train", "one"), ("val", "two")):
                (folder / kind / old).rename(folder / below / kind / new)
        write(folder / "data.yaml", yaml)

    return change


def _upper(path: Path) -> None:
    path.with_suffix(".txt").rename(path)


LONG = "x" * 251
FOLDERS: dict[str, tuple[Callable[[Path], Any], Expected]] = {
    "sound": (lambda folder: None, SOUND | {"val": 1}),
    "hidden files": (put("train/cat/.DS_Store", b"\0" * 40), SOUND),
    "Thumbs.db": (put("train/cat/Thumbs.db", b"\0" * 40), SOUND),
    "empty class": (lambda folder: (folder / "train/cow").mkdir(), None),
    "a file that is no image": (put("train/cat/x.png", "text"), ("x.png",)),
    "an empty file": (put("train/cat/x.png", b""), ("x.png", "empty")),
    "pipe": (node("train/cat/x.png", os.mkfifo), ("x.png",)),
    "device": (node("train/cat/x.png", lambda path: path.symlink_to("/dev/zero")), ("/dev/zero",)),
    "dangling link": (node("train/cat/x.png", lambda path: path.symlink_to("nowhere.png")), None),
    "link loop": (node("train/cat/x.png", lambda path: path.symlink_to("x.png")), ("x.png",)),
    "folder named .png": (lambda folder: (folder / "train/cat/x.png").mkdir(), None),
    "long name": (lambda folder: picture(folder / f"train/cat/{LONG}.png", 9), None),
    "not UTF-8": (
        lambda folder: picture(Path(os.fsdecode(os.fsencode(folder) + b"/train/cat/\xff.png")), 9),
        None,
    ),
    "controls": (lambda folder: picture(folder / "train/cat/\x1b[31m.png", 9), None),
    "class of controls": (lambda folder: picture(folder / "train/\x1b[31m/c.png", 9), None),
    "in two folders": (
        lambda folder: write(folder / "train/dog/a.png", (folder / "train/cat/a.png").read_bytes()),
        {"labels": {"a.png": ["cat", "dog"], "b.png": ["dog"]}},
    ),
    "stray in train": (lambda folder: picture(folder / "train/s.png", 9), SOUND | {"val": 1}),
    "class in two forms": (
        lambda folder: (picture(folder / "train/é/e.png", 7), picture(folder / "val/e\u0301/f.png", 8)),
        {"labels": {"a.png": ["cat"], "b.png": ["dog"], "e.png": ["é"]}, "val": 2},
    ),
    "another image of the same name": (lambda folder: picture(folder / "train/dog/a.png", 9), None),
    "no train": (lambda folder: (folder / "train").rename(folder / "x"), ("split 'train'", "x")),
}
TABLES: dict[str, tuple[Callable[[Path], Any], Expected]] = {
    "sound": (lambda folder: None, SOUND | {"val": 1}),
    "BOM": (put("train.csv", b"\xef\xbb\xbffile,labels\na.png,cat\nb.png,dog\n"), SOUND),
    "CRLF": (put("train.csv", "file,labels\r\na.png,cat\r\nb.png,dog\r\n"), SOUND),
    "CR": (put("train.csv", "file,labels\ra.png,cat\rb.png,dog\r"), None),
    "no header": (put("train.csv", "a.png,cat\nb.png,dog\n"), SOUND),
    "semicolons": (put("train.csv", "file;labels\na.png;cat\nb.png;dog\n"), SOUND),
    "tabs": (put("train.csv", "file\tlabels\na.png\tcat\nb.png\tdog\n"), SOUND),
    "quotes": (put("train.csv", 'file,labels\n"a.png","cat"\nb.png,dog\n'), SOUND),
    "Excel's separator": (put("train.csv", "sep=;\nfile;labels\na.png;cat\nb.png;dog\n"), SOUND),
    "lists of labels": (
        put("train.csv", "file,labels\na.png,\"['cat', 'dog']\"\nb.png,['dog']\n"),
        {"labels": {"a.png": ["cat", "dog"], "b.png": ["dog"]}},
    ),
    "corners without header": (put("train.csv", "a.png,1,1,3,3,cat\nb.png,1,1,3,3,dog\n"), ("header",)),
    "ending of large letters": (
        lambda folder: [(folder / f"{n}.csv").rename(folder / f"{n}.CSV") for n in ("train", "val")],
        SOUND,
    ),
    "several labels": (
        put("train.csv", 'file,labels\na.png,"cat dog"\nb.png,dog\n'),
        ("data.classes",),
    ),
    "labels with semicolons": (
        put("train.csv", "file,labels\na.png,cat;dog\nb.png,dog\n"),
        {"labels": {"a.png": ["cat", "dog"], "b.png": ["dog"]}},
    ),
    "a row a pair": (
        put("train.csv", "file,labels\na.png,cat\na.png,dog\nb.png,dog\n"),
        {"labels": {"a.png": ["cat", "dog"], "b.png": ["dog"]}},
    ),
    "negative": (
        put("train.csv", "file,labels\na.png,\nb.png,dog\n"),
        {"labels": {"a.png": [], "b.png": ["dog"]}},
    ),
    "quote open": (put("train.csv", 'file,labels\n"a.png,cat\nb.png,dog\n'), None),
    "NUL": (put("train.csv", "file,labels\na.png,c\0at\nb.png,dog\n"), ("train.csv",)),
    "not UTF-8": (put("train.csv", b"file,labels\na.png,\xff\n"), ("train.csv", "UTF-8")),
    "UTF-16": (put("train.csv", "file,labels\na.png,cat\n".encode("utf-16")), None),
    "empty": (put("train.csv", b""), ("train.csv",)),
    "confidence 0": (
        put("train.csv", "ImageID,Source,LabelName,Confidence\na,v,cat,1\na,v,dog,0\nb,v,dog,1\nb,v,cat,0\n"),
        SOUND,
    ),
    "confidence 0 alone": (
        put("train.csv", "file,label,confidence\na.png,dog,0\nb.png,dog,0.7\n"),
        {"labels": {"a.png": [], "b.png": ["dog"]}},
    ),
    "confidence of text": (put("train.csv", "file,label,confidence\na.png,cat,high\n"), ("line 2", "'high'")),
    "missing values": (put("train.csv", "file,label\na.png,cat\nb.png,NaN\n"), ("line 3", "'NaN'")),
    "space of no width": (put("train.csv", "file,label\na.png,\u200bcat\nb.png,dog\ufeff\n"), SOUND),
    "comments": (put("train.csv", "# made by hand\n#\nfile,label\na.png,cat\nb.png,dog\n"), SOUND),
    "header behind a number sign": (put("train.csv", "#file,label\na.png,cat\nb.png,dog\n"), SOUND),
    "Hugging Face": (
        lambda folder: [
            (folder / f"{split}.csv").rename(folder / split / "metadata.csv") for split in ("train", "val")
        ],
        SOUND | {"val": 1},
    ),
    "header alone": (put("train.csv", "file,labels\n"), None),
    "missing image": (put("train.csv", "file,labels\nzz.png,cat\n"), ("zz.png",)),
    "leaves": (put("train.csv", "file,labels\n../../etc/passwd,cat\n"), ("..",)),
    "absolute": (put("train.csv", "file,labels\n/etc/passwd,cat\n"), ("/etc/passwd",)),
    "long field": (put("train.csv", "file,labels\na.png," + "x" * 300_000 + "\n"), None),
    "long name": (put("train.csv", f"file,labels\n{'x' * 5000}.png,cat\n"), ("x" * 20,)),
    "many columns": (put("train.csv", "file," + ",".join("abcdefgh") * 1000 + "\na.png,cat\n"), None),
    "pipe": (node("train.csv", os.mkfifo), ("train.csv",)),
    "device": (node("train.csv", lambda path: path.symlink_to("/dev/zero")), None),
    "folder": (node("train.csv", Path.mkdir), None),
}
YOLO: dict[str, tuple[Callable[[Path], Any], Expected]] = {
    "sound": (lambda folder: None, SOUND | {"val": 1, "boxes": 2}),
    "names by number": (
        put("data.yaml", "train: images/train\nval: images/val\nnames: {0: cat, 1: dog}\n"),
        SOUND,
    ),
    "LabelImg's names": (
        lambda folder: (
            (folder / "data.yaml").unlink(),
            [write(folder / f"labels/{split}/classes.txt", "cat\ndog\n") for split in ("train", "val")],
        ),
        SOUND | {"val": 1},
    ),
    "LabelImg's names differ": (
        lambda folder: (
            (folder / "data.yaml").unlink(),
            write(folder / "labels/train/classes.txt", "cat\ndog\n"),
            write(folder / "labels/val/classes.txt", "dog\ncat\n"),
        ),
        ("labels/train/classes.txt", "labels/val/classes.txt", "same classes"),
    ),
    "names twice": (put("data.yaml", "names: [cat, dog]\nnames: [dog, cat]\n"), ("data.yaml", "twice")),
    "number twice": (put("data.yaml", "names: {0: cat, 0: dog}\n"), ("data.yaml", "twice")),
    "cycle": (put("data.yaml", "names: &a [*a]\n"), ("data.yaml", "contains itself")),
    "laughs": (
        put(
            "data.yaml",
            "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\n" * 1 + "names: [*b, *b]\n",
        ),
        ("data.yaml",),
    ),
    "deep": (put("data.yaml", "names: " + "[" * 9000), ("data.yaml", "nested deeper")),
    "not UTF-8": (put("data.yaml", b"names: [\xff]\n"), ("data.yaml", "UTF-8")),
    "no names": (put("data.yaml", "train: images/train\n"), ("names",)),
    "names of numbers": (put("data.yaml", "names: [1, 2]\n"), None),
    "names of truth values": (put("data.yaml", "names: [cat, true]\n"), ("names", "True", "quotes")),
    "long place": (put("data.yaml", f"train: {'x' * 5000}\nnames: [cat, dog]\n"), SOUND | {"val": 1}),
    "places in a list": (
        moved("train: [images/one]\nval: [images/two]\nnames: [cat, dog]\n"),
        SOUND | {"val": 1},
    ),
    "places below a path": (
        moved("path: sub\ntrain: images/one\nval: images/two\nnames: [cat, dog]\n", "sub"),
        SOUND | {"val": 1},
    ),
    "text of large letters": (node("labels/train/a.TXT", _upper), SOUND),
    "folders of large letters": (
        lambda folder: [(folder / n).rename(folder / n.title()) for n in ("images", "labels")],
        SOUND,
    ),
    "names of nothing": (put("data.yaml", "names: []\n"), ("names",)),
    "class beyond": (put("labels/train/a.txt", "7 0.5 0.5 0.5 0.5\n"), ("a.txt", "7")),
    "class -1": (put("labels/train/a.txt", "-1 0.5 0.5 0.5 0.5\n"), ("a.txt", "-1")),
    "class 0.5": (put("labels/train/a.txt", "0.5 0.5 0.5 0.5 0.5\n"), ("a.txt", "0.5")),
    "class NaN": (put("labels/train/a.txt", "nan 0.5 0.5 0.5 0.5\n"), ("a.txt", "nan")),
    "text": (put("labels/train/a.txt", "cat 0.5 0.5 0.5 0.5\n"), ("a.txt",)),
    "NaN": (put("labels/train/a.txt", "0 nan 0.5 0.5 0.5\n"), ("a.txt",)),
    "pixels": (put("labels/train/a.txt", "0 50 50 50 50\n"), ("a.txt",)),
    "three numbers": (put("labels/train/a.txt", "0 0.5 0.5\n"), ("a.txt",)),
    "polygon": (put("labels/train/a.txt", "0 0.1 0.1 0.9 0.1 0.9 0.9\n"), SOUND),
    "empty": (put("labels/train/a.txt", b""), {"labels": {"a.png": [], "b.png": ["dog"]}}),
    "UTF-16": (put("labels/train/a.txt", "0 0.5 0.5 0.5 0.5\n".encode("utf-16")), ("a.txt",)),
    "pipe": (node("labels/train/a.txt", os.mkfifo), ("a.txt",)),
    "device": (node("labels/train/a.txt", lambda path: path.symlink_to("/dev/zero")), None),
    "long line": (put("labels/train/a.txt", "0" + " 0.5" * 200_001 + "\n"), None),
    "data.yaml a pipe": (node("data.yaml", os.mkfifo), None),
}


def _case(name: str, run: Callable[[Path], Facts], expected: Expected) -> Case:
    words = expected if isinstance(expected, tuple) else ()
    return Case(name, run, words=words, facts=expected if isinstance(expected, dict) else {})


CASES = [
    _case(f"{format_}/{name}", _read(format_, change), expected)
    for format_, table in (("folders", FOLDERS), ("csv", TABLES), ("yolo", YOLO))
    if format_ in FORMATS
    for name, (change, expected) in table.items()
]
