"""Which format a data root has, by what lies in it (`data.format: auto`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_contracts.errors import DataError
from wsis.readers.formats.csv_labels import find_tables
from wsis.readers.formats.yolo import find_names_file
from wsis.readers.shared.layout import annotation_file, common_file, split_names
from wsis.readers.shared.names import images_below
from wsis.readers.shared.records import ROLES, Role
from wsis.readers.shared.splits import known_splits

FORMATS = ("voc", "coco", "yolo", "csv", "folders")
_PLAIN_FOLDERS = {
    "images",
    "image",
    "img",
    "imgs",
    "jpegimages",
    "photos",
    "photographs",
    "pictures",
    "data",
    "labels",
}


@dataclass(frozen=True)
class Given:
    """What the user says of the data root beside it.

    Attributes:
        names: name of the split that plays each part.
        annotations: the COCO files that the user names.
        table: whether the user names a table of labels.
    """

    names: Mapping[Role, str]
    annotations: Mapping[Role, str]
    table: bool = False


@dataclass(frozen=True)
class Found:
    """A format, and what lies in the root that says it."""

    format: str
    what: str


def find_format(root: Path, given: Given) -> Found:
    """The format of a data root.

    Raises:
        DataError: no format fits, or several do; says what lies there and which keys decide.
    """
    if given.table:
        return Found("csv", "data.labels_file")
    if "train" in given.annotations:
        return Found("coco", ", ".join(given.annotations.values()))
    found = {name: what for name, look in _LOOKS.items() if (what := look(root, given)) is not None}
    if not found.keys() & {"voc", "yolo"} and not ("coco" in found and _train_file(root, given)):
        classes = class_folders(root, given.names)
        found |= {"folders": f"{', '.join(classes[:5])}"} if classes else {}
        if "val" in given.annotations:  # a file that lies about is that of val's masks
            found.pop("coco", None)
    of_val = "coco" in found and _train_file(root, given) is None
    if len(found) > 1:
        shown = ", ".join(f"{name} ({what})" for name, what in found.items())
        masks = (
            f"; where it is masks of val: --set data.val_annotations={found.get('coco')}" if of_val else ""
        )
        raise DataError(
            f"{root}: expected one kind of labels, got {shown}; --set data.format={'|'.join(found)} decides{masks}"
        )
    if found:
        return Found(*next(iter(found.items())))
    images = images_below(root)
    raise DataError(
        f"{root}: expected labels of a known kind, got {len(images)} images and none of: a VOC devkit (ImageSets/, "
        "Annotations/), COCO (annotations/instances_train.json, train/_annotations.coco.json, result.json), YOLO "
        "(data.yaml, labels/), a table (labels.csv), a folder a class (train/cat/a.jpg, cat/a.jpg); data.format and "
        "data.train_annotations or data.labels_file name yours"
    )


def devkit(root: Path) -> Path:
    """The devkit at or below a root: itself, or the only one among VOC*/ and VOCdevkit/VOC*/; else the root."""
    if (root / "ImageSets").is_dir():
        return root
    years = sorted(path for pattern in ("VOC*", "VOCdevkit/VOC*") for path in root.glob(pattern))
    below = [path for path in years if (path / "ImageSets").is_dir()]
    return below[0] if len(below) == 1 else root


def _voc(root: Path, given: Given) -> str | None:
    found = devkit(root)
    if not (found / "ImageSets").is_dir() or not (found / "Annotations").is_dir():
        names = [name for split in given.names.values() for name in split_names(split)]
        there = [name for name in (*names, "Annotations", ".") if any((root / name).glob("*.xml"))]
        return f"{there[0]}/*.xml" if there else None
    return "ImageSets/, Annotations/" if found == root else str(found.relative_to(root))


def _coco(root: Path, given: Given) -> str | None:
    files = [annotation_file(root, role, given.names[role]) for role in ROLES if role in given.names]
    if any(files):
        return ", ".join(name for name in files if name is not None)
    found = common_file(root)
    return found if found is not None and _is_coco(root / found) else None


def _train_file(root: Path, given: Given) -> str | None:
    """The COCO file that has labels of train, if its place says so."""
    return annotation_file(root, "train", given.names["train"]) if "train" in given.names else None


def _is_coco(path: Path) -> bool:
    """Whether a JSON has COCO's lists: read as bytes, it may be large."""
    data = path.read_bytes()
    return all(f'"{key}"'.encode() in data for key in ("images", "annotations", "categories"))


def _yolo(root: Path, given: Given) -> str | None:
    found = find_names_file(root)
    return None if found is None else found.name


def _csv(root: Path, given: Given) -> str | None:
    found = find_tables(root, given.names)
    return ", ".join(found.values()) or None


_LOOKS = {"voc": _voc, "coco": _coco, "yolo": _yolo, "csv": _csv}


def class_folders(root: Path, names: Mapping[Role, str]) -> list[str]:
    """Names of folders that look like classes: below those of the splits, else at the root."""
    parts = [PurePosixPath(path).parts[:-1] for path in images_below(root)]
    known = known_splits(names)
    in_splits = {p[1] for p in parts if len(p) > 1 and p[0].casefold() in known}
    at_root = {p[0] for p in parts if p and p[0].casefold() not in known}
    found = sorted(in_splits or at_root)
    plain = [name for name in found if name.casefold() in _PLAIN_FOLDERS or name.casefold() in known]
    return [] if len(plain) == len(found) else found
