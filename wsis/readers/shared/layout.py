"""Where the files of a COCO data set lie: the layouts of the usual tools, found by what is there.

    annotations/instances_<split>.json    COCO, CVAT; also with the year, and *_default.json of CVAT for all images
    <split>/_annotations.coco.json        Roboflow, beside the images
    result.json, images/                  Label Studio: one file for all images
    <split>.json, annotations/<split>.json, ...

A split goes by several names: `val` is `valid` and `validation` too.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import inside, plain_name, stays_inside
from wsis.readers.shared.records import Role

_SYNONYMS = (("train", "training"), ("val", "valid", "validation"), ("test", "testing"))
_YEARS = ("", "2017", "2014")
_OF_A_SPLIT = (
    "annotations/instances_{}.json",
    "{}/_annotations.coco.json",
    "annotations/{}.json",
    "instances_{}.json",
    "{}.json",
    "{}/annotations.json",
    "{}/result.json",
    "{}/instances_default.json",
    "{}/annotations/instances_default.json",
    "{}_annotations.json",
    "{}/{}.json",
    "labels/{}.json",
    "{}/labels.json",
)
_OF_ALL = (
    "annotations/instances_default.json",
    "result.json",
    "_annotations.coco.json",
    "annotations/instances.json",
    "instances_default.json",
    "instances.json",
    "annotations.json",
    "annotations/annotations.json",
    "labels.json",
    "dataset.json",
)
_FOLDERS = ("{}", "images/{}", "{}/images", "{}/images/default", "JPEGImages/{}", "data/{}")
_FOLDERS_OF_ALL = ("images", "images/default", "JPEGImages", "img", "imgs", "data")
_LOOKED_AT = 50  # images by which a folder is chosen, or files that may be the one of all images


def split_names(split: str) -> tuple[str, ...]:
    """The name itself, then others for the same split."""
    for names in _SYNONYMS:
        if split in names:
            return (split, *(name for name in names if name != split))
    return (split,)


def annotation_file(root: Path, role: Role, split: str) -> str | None:
    """The file of one split below the root; None where no usual place has one.

    Raises:
        DataError: several places have one.
    """
    usual = f"annotations/instances_{plain_name(split, 'option data split')}.json"
    if inside(root, usual, "annotations").is_file():
        return usual
    names = [name + year for name in split_names(split) for year in _YEARS]
    return _only(root, (place.format(name, name) for name in names for place in _OF_A_SPLIT), role)


def common_file(root: Path) -> str | None:
    """The file of all images below the root; None where no usual place, nor any single JSON file, is one.

    Raises:
        DataError: several places have one.
    """
    found = _only(root, _OF_ALL, "train")
    return _only(root, _any_json(root), "train") if found is None else found


def hint_of_val(root: Path) -> str | None:
    """What says, beside a file of train, that there is a val: a file or a folder with files called so, below the root;
    None: nothing does."""
    names = [name + year for name in split_names("val") for year in _YEARS]
    for name in dict.fromkeys(place.format(one) for one in names for place in _FOLDERS):
        folder = inside(root, name, "image folder")
        if folder.is_dir() and next(folder.iterdir(), None) is not None:
            return f"{name}/"
    return next((name for name in _any_json(root) if "val" in Path(name).stem.casefold()), None)


def some_files(root: Path) -> list[str]:
    """Files that may be that of all images, below the root: the usual ones, and the first of others."""
    usual = [place for place in _OF_ALL if inside(root, place, "annotations").is_file()]
    return [*usual, *_any_json(root)[:_LOOKED_AT]]


def _any_json(root: Path) -> list[str]:
    paths = (path for folder in (root, root / "annotations") for path in sorted(folder.glob("*")))
    return [path.relative_to(root).as_posix() for path in paths if path.suffix.lower() == ".json"]


def as_written(root: Path, places: Iterable[str]) -> list[str]:
    """Those of some places where a file is, below the root; where there is none, those written in another case."""
    some = list(dict.fromkeys(places))
    if there := [place for place in some if os.path.isfile(inside(root, place, "annotations"))]:
        return there
    listed: dict[str, dict[str, str]] = {}
    found = (_in_any_case(root, place, listed) for place in some)
    return list(dict.fromkeys(place for place in found if place and os.path.isfile(root / place)))


def _in_any_case(root: Path, place: str, listed: dict[str, dict[str, str]]) -> str | None:
    """A place as it is called below the root; `listed` keeps the names in folders by their small letters."""
    at = ""
    for part in place.split("/"):
        if at not in listed:
            names = sorted(os.listdir(root / at)) if os.path.isdir(root / at) else []
            listed[at] = {name.casefold(): name for name in names}
        name = listed[at].get(part.casefold())
        if name is None:
            return None
        at = f"{at}/{name}" if at else name
    return at


def _only(root: Path, places: Iterable[str], role: Role) -> str | None:
    found = as_written(root, places)
    if len(found) > 1:
        raise DataError(
            f"{root}: expected one file of {role} annotations, got {', '.join(found[:5])}; name yours with "
            "data.train_annotations and data.val_annotations"
        )
    return found[0] if found else None


def image_folder(root: Path, split: str, beside: str, names: Sequence[str]) -> str:
    """The folder, below the root, that has most of the images as they are named: "." for the root itself.

    Args:
        beside: the folder of the annotation file.
        names: the images' names in the annotations.
    """
    splits = [name + year for name in split_names(split) for year in _YEARS]
    usual = [*(place.format(name) for name in splits for place in _FOLDERS), *_FOLDERS_OF_ALL, "."]
    candidates = list(dict.fromkeys([*usual[: len(splits) * len(_FOLDERS)], beside, *usual]))
    there = [name for name in candidates if inside(root, name, f"image folder of split {split!r}").is_dir()]
    step = max(1, len(names) // _LOOKED_AT)
    some = [name for name in (n.replace("\\", "/") for n in names[::step]) if stays_inside(name)]
    hits = [sum(os.path.exists(root / folder / name) for name in some) for folder in there]
    if any(hits):
        return there[hits.index(max(hits))]
    return next(name for name in usual if name in there)
