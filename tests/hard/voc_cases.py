"""VOC's XML and split lists."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hard.case import Case, Facts
from tests.hard.datasets import facts_of, picture, voc, voc_xml, write

SOUND = {"labels": {"a.jpg": ["cat"], "b.jpg": ["dog"]}}
Expected = tuple[str, ...] | Facts | None


def _read(change: Callable[[Path], Any], **settings: Any) -> Callable[[Path], Facts]:
    def run(folder: Path) -> Facts:
        voc(folder)
        change(folder)
        return facts_of("voc", folder, **settings)

    return run


def xml(content: str | bytes) -> Callable[[Path], None]:
    return lambda folder: write(folder / "Annotations/a.xml", content)


def split(content: str | bytes) -> Callable[[Path], None]:
    return lambda folder: write(folder / "ImageSets/Segmentation/train.txt", content)


def node(place: str, make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / place).unlink()
        make(folder / place)

    return change


def renamed(place: str, name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / place).rename((folder / place).with_name(name))


def listed(place: str, train: str, val: str = "d\n") -> Callable[[Path], None]:
    """Lists of the splits elsewhere."""

    def change(folder: Path) -> None:
        for name, content in (("train", train), ("val", val)):
            (folder / f"ImageSets/Segmentation/{name}.txt").unlink()
            write(folder / place.format(name), content)

    return change


def called(name: str) -> Callable[[Path], None]:
    """Image a has another name."""

    def change(folder: Path) -> None:
        for place in ("JPEGImages/a.jpg", "Annotations/a.xml"):
            path = folder / place
            path.rename(path.with_name(name + path.suffix))
        write(folder / "ImageSets/Segmentation/train.txt", f"{name}\nb\n")

    return change


def two_of_one_id(xml: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        picture(folder / "JPEGImages/a.png", 7)
        write(folder / "Annotations/a.xml", xml)

    return change


def sized(size: str) -> Callable[[Path], None]:
    return xml(voc_xml("cat", size=size))


BOMB = '<!DOCTYPE a [<!ENTITY x "xx">]>' + voc_xml("&x;")
LAUGHS = (
    '<!DOCTYPE a [<!ENTITY a "xxxxxxxxxx">'
    + "".join(f'<!ENTITY {chr(98 + i)} "{("&" + chr(97 + i) + ";") * 10}">' for i in range(12))
    + "]>"
    + voc_xml("&m;")
)
CASES_OF: dict[str, tuple[Callable[[Path], Any], Expected]] = {
    "sound": (lambda folder: None, SOUND | {"boxes": 2, "val": 1}),
    "no size": (sized(""), SOUND),
    "size 0": (sized("<size><width>0</width><height>0</height></size>"), None),
    "size '12.0'": (sized("<size><width>12.0</width><height>8.0</height></size>"), SOUND),
    "size text": (sized("<size><width>x</width><height>8</height></size>"), ("a.xml", "width")),
    "size NaN": (sized("<size><width>nan</width><height>8</height></size>"), ("a.xml", "width")),
    "size wrong": (sized("<size><width>13</width><height>8</height></size>"), ("13",)),
    "size of many digits": (sized(f"<size><width>{'9' * 6000}</width><height>8</height></size>"), ("a.xml",)),
    "fractions": (xml(voc_xml("cat", (2.5, 3.25, 5.5, 6.0))), SOUND),
    "commas": (xml(voc_xml("cat", ("2,5", 3, 5, 6))), None),
    "box outside": (xml(voc_xml("cat", (2, 3, 500, 6))), SOUND),
    "box turned": (xml(voc_xml("cat", (5, 6, 2, 3))), None),
    "box NaN": (xml(voc_xml("cat", ("nan", 3, 5, 6))), None),
    "box infinite": (xml(voc_xml("cat", (2, 3, "inf", 6))), None),
    "name empty": (xml(voc_xml("")), ("a.xml", "name")),
    "name of spaces": (xml(voc_xml("  ")), ("a.xml", "name")),
    "name padded": (xml(voc_xml(" cat ")), SOUND),
    "entity": (xml(BOMB), ("DOCTYPE",)),
    "laughs": (xml(LAUGHS), ("DOCTYPE",)),
    "outer entity": (xml('<!DOCTYPE a SYSTEM "file:///etc/passwd">' + voc_xml("cat")), ("DOCTYPE",)),
    "unknown entity": (xml(voc_xml("&nbsp;")), ("malformed XML",)),
    "empty": (xml(b""), ("a.xml", "empty")),
    "text": (xml("hello"), ("malformed XML",)),
    "cut": (xml(voc_xml("cat")[:60]), ("malformed XML",)),
    "two roots": (xml(voc_xml("cat") * 2), ("malformed XML",)),
    "another root": (xml("<html/>"), ("a.xml", "<html>")),
    "wrapped": (xml(f"<annotations>{voc_xml('cat')}</annotations>"), ("<annotations>",)),
    "namespace": (xml(voc_xml("cat").replace("<annotation>", '<annotation xmlns="http://x">')), SOUND),
    "large letters": (xml(voc_xml("cat").replace("object", "Object")), SOUND),
    "XML of large letters": (renamed("Annotations/a.xml", "a.XML"), SOUND),
    **{
        f"image {ending}": (
            renamed("JPEGImages/a.jpg", f"a{ending}"),
            {"labels": {f"a{ending}": ["cat"], "b.jpg": ["dog"]}},
        )
        for ending in (".JPG", ".Jpg", ".JFIF", ".Png", ".TIF", ".WebP")
    },
    "no objects": (
        xml("<annotation><size><width>12</width><height>8</height></size></annotation>"),
        {"labels": {"a.jpg": [], "b.jpg": ["dog"]}},
    ),
    "deep": (xml("<annotation>" + "<a>" * 200_000 + "</a>" * 200_000 + "</annotation>"), None),
    "latin-1": (
        xml(b'<?xml version="1.0" encoding="ISO-8859-1"?>' + voc_xml("cat").encode()),
        SOUND,
    ),
    "unknown encoding": (xml('<?xml version="1.0" encoding="klingon"?>' + voc_xml("cat")), ("a.xml",)),
    "bytes of latin-1": (xml(voc_xml("chaté").encode("latin-1")), ("malformed XML",)),
    "UTF-16": (xml(voc_xml("cat").encode("utf-16")), SOUND),
    "BOM": (xml(b"\xef\xbb\xbf" + voc_xml("cat").encode()), SOUND),
    "NUL": (xml(voc_xml("ca\0t")), ("malformed XML",)),
    "controls": (xml(voc_xml("&#x1b;[31m")), ("malformed XML",)),
    "XML missing": (lambda folder: (folder / "Annotations/a.xml").unlink(), ("a.xml",)),
    "XML a folder": (node("Annotations/a.xml", Path.mkdir), ("a.xml",)),
    "XML a pipe": (node("Annotations/a.xml", os.mkfifo), ("a.xml",)),
    "XML a device": (
        node("Annotations/a.xml", lambda path: path.symlink_to("/dev/zero")),
        ("image a", "/dev/zero"),
    ),
    "image a pipe": (node("JPEGImages/a.jpg", os.mkfifo), ("a.jpg",)),
    "image a folder": (node("JPEGImages/a.jpg", Path.mkdir), ("a.jpg",)),
    "image a link loop": (node("JPEGImages/a.jpg", lambda path: path.symlink_to("a.jpg")), ("a.jpg",)),
    "image missing": (lambda folder: (folder / "JPEGImages/a.jpg").unlink(), ("a.jpg",)),
    "image cut": (
        lambda folder: write(folder / "JPEGImages/a.jpg", (folder / "JPEGImages/a.jpg").read_bytes()[:200]),
        ("a.jpg",),
    ),
    "list CRLF": (split("a\r\nb\r\n"), SOUND),
    "list without end": (split("a\nb"), SOUND),
    "list of spaces": (split("a  \n\n b\n"), SOUND),
    "list of large letters": (renamed("ImageSets/Segmentation/train.txt", "Train.TXT"), SOUND),
    "list with endings": (split("a.jpg\nb.JPG\n"), SOUND),
    "list of XML files": (split("a.xml\nb.xml\n"), SOUND),
    "list of one class": (split("a  1\nb -1\n"), ("'a  1'", "list of one class")),
    "list in ImageSets": (listed("ImageSets/{}.txt", "a\nb\n"), SOUND | {"val": 1}),
    "list in the root": (listed("{}.txt", "a\nb\n"), SOUND | {"val": 1}),
    "list of pairs": (
        listed(
            "{}.txt",
            "JPEGImages/a.jpg Annotations/a.xml\n./JPEGImages/b.jpg\t./Annotations/b.xml\n",
            "JPEGImages/d.jpg Annotations/d.xml\n",
        ),
        SOUND | {"val": 1},
    ),
    "list of paths": (split("JPEGImages/a.jpg\nAnnotations\\b.xml\n"), SOUND),
    "list of other pairs": (split("JPEGImages/a.jpg Annotations/b.xml\n"), ("path separators",)),
    "list of deeper paths": (split("JPEGImages/x/a.jpg\n"), ("path separators",)),
    "list called otherwise": (listed("ImageSets/Main/{}val.txt", "a\n"), ("trainval", "data.train_split")),
    "space in a name": (called("IMG (1)"), {"labels": {"IMG (1).jpg": ["cat"], "b.jpg": ["dog"]}}),
    "two images of one id": (two_of_one_id(voc_xml("cat")), SOUND),
    "two images of one id, one named": (
        two_of_one_id(voc_xml("cat").replace("<size>", "<filename>a.png</filename><size>")),
        {"labels": {"a.png": ["cat"], "b.jpg": ["dog"]}},
    ),
    "boxes of shares": (
        lambda folder: [
            write(folder / f"Annotations/{n}.xml", voc_xml(name, (0.1, 0.2, 0.7, 0.8)))
            for n, name in (("a", "cat"), ("b", "dog"), ("d", "dog"))
        ],
        SOUND,
    ),
    "list BOM": (split(b"\xef\xbb\xbfa\nb\n"), SOUND),
    "list twice": (split("a\nb\na\n"), ("a",)),
    "list of none": (split("a\nb\nzz\n"), ("zz",)),
    "list empty": (split(""), ("train.txt",)),
    "list of blanks": (split("\n\n\n"), ("train",)),
    "list leaves": (split("../../etc/passwd\n"), ("..",)),
    "list absolute": (split("/etc/passwd\n"), ("/etc/passwd",)),
    "list NUL": (split("a\0\n"), ("train.txt",)),
    "list UTF-16": (split("a\nb\n".encode("utf-16")), ("UTF-8",)),
    "list latin-1": (split(b"a\n\xe9\n"), ("UTF-8",)),
    "list a pipe": (node("ImageSets/Segmentation/train.txt", os.mkfifo), ("train.txt",)),
    "list a device": (
        node("ImageSets/Segmentation/train.txt", lambda path: path.symlink_to("/dev/zero")),
        ("split 'train'", "/dev/zero"),
    ),
    "list of a long name": (split("x" * 5000 + "\n"), ("x" * 20,)),
    "val is train": (lambda folder: write(folder / "ImageSets/Segmentation/val.txt", "a\n"), ("a",)),
    "no devkit": (lambda folder: (folder / "ImageSets/Segmentation/train.txt").unlink(), ("train.txt",)),
    "mask a pipe": (lambda folder: _masks(folder, os.mkfifo), {"masks": 0}),
    "mask is no image": (lambda folder: _masks(folder, lambda path: write(path, b"x")), ("d.png",)),
    "mask of another size": (lambda folder: _masks(folder, lambda path: picture(path)), ("d.png",)),
    "mask of colours": (lambda folder: _masks(folder, picture), ("d.png",)),
}


def _masks(folder: Path, make: Callable[[Path], Any]) -> None:
    for name in ("SegmentationObject", "SegmentationClass"):
        (folder / name).mkdir()
        make(folder / name / "d.png")


def _case(name: str, run: Callable[[Path], Facts], expected: Expected) -> Case:
    words = expected if isinstance(expected, tuple) else ()
    return Case(name, run, words=words, facts=expected if isinstance(expected, dict) else {})


CASES = [_case(f"voc/{name}", _read(change), expected) for name, (change, expected) in CASES_OF.items()]
