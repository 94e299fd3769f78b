"""Which part an image plays where no annotation file says it: by folders, by lists, or by a share held out."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data_contracts.errors import DataError
from data_contracts.printable import counted, first_few
from wsis.readers.files.folder_files import Problems, read_text
from wsis.readers.shared.layout import split_names
from wsis.readers.shared.names import NameIndex
from wsis.readers.shared.records import ROLES, Role


@dataclass(frozen=True)
class Apart:
    """What val's own annotations take out of the other images.

    Attributes:
        files: gives the image files of val.
        folder: of val's images, below the root; None: none is known.
    """

    files: Callable[[], frozenset[Path]]
    folder: str | None = None


NOTHING_APART = Apart(frozenset)


@dataclass(frozen=True)
class HoldOut:
    """A share of the train images to hold out as val, and the seed of their choice."""

    share: float
    seed: int = 0


@dataclass(frozen=True)
class SplitChoice:
    """What the user says of the parts.

    Attributes:
        names: name of the split that plays each part; a part that is absent is not read.
        lists: text files of the images of a part, one name a line. Of two parts with one list the other is the rest.
        share: of all images that would be train, held out as val; None: none.
        seed: of the choice of those.
        apart: images that are val by other annotations, and none of these.
        limit: `data.limit`, which takes images of the parts after they are divided; here it is only said.
    """

    names: Mapping[Role, str]
    lists: Mapping[Role, Path] = field(default_factory=dict)
    share: float | None = None
    seed: int = 0
    apart: Apart = NOTHING_APART
    limit: int | None = None


def known_splits(names: Mapping[Role, str]) -> set[str]:
    """Every name, in small letters, that a folder of some split may have."""
    wanted = (*names.values(), "train", "val", "test")
    return {name.casefold() for split in wanted for name in split_names(split)}


def find_split(split: str, there: Collection[str]) -> str | None:
    """That of the names in `there` which is the split: its own name if it is there, else another one for it."""
    for name in split_names(split):
        for one in sorted(there):
            if one == name or one.casefold() == name.casefold():
                return one
    return None


def held_out(labels: Mapping[str, Collection[str]], share: float, seed: int) -> set[str]:
    """Images to hold out: of each combination of classes the same share, every class still in the rest.

    A function of names, labels and seed, not of the order they come in.

    Args:
        labels: name of each image -> its classes.
        share: of all images, 0..1; one image at least.
    """
    order = sorted(labels, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in order:
        groups.setdefault(tuple(sorted(labels[name])), []).append(name)
    total = min(len(order) - 1, max(1, round(share * len(order))))
    counts = {key: math.floor(share * len(group)) for key, group in groups.items()}
    by_remainder = sorted(groups, key=lambda key: (counts[key] - share * len(groups[key]), key))
    for key in by_remainder[: max(0, total - sum(counts.values()))]:
        counts[key] += 1
    chosen = {name for key, group in groups.items() for name in group[: counts[key]]}
    for one in sorted({one for some in labels.values() for one in some}):
        holders = [name for name in order if one in labels[name]]
        if chosen.issuperset(holders):
            chosen.discard(holders[-1])
    return chosen


def read_list(path: Path, index: NameIndex, problems: Problems) -> list[str]:
    """Images of a list, one name a line, as `index` finds them; blank lines and `#` lines are passed over.

    Raises:
        DataError: no such file, not UTF-8, or no name in it.
    """
    found: dict[str, None] = {}
    lines = read_text(path, "list of images").splitlines()
    for number, line in enumerate(lines, start=1):
        if (name := line.strip()) and not name.startswith("#"):
            with problems.collect():
                found[index.find(name, f"{path}: line {number}")] = None
    if not found and not problems.messages:
        raise DataError(f"{path}: expected names of images, one a line, got none")
    return list(found)


def by_lists(
    choice: SplitChoice, names: Sequence[str], index: NameIndex, problems: Problems
) -> dict[Role, list[str]]:
    """Names of each part by the lists. Problems: an image in both."""
    listed = {role: read_list(path, index, problems) for role, path in choice.lists.items()}
    both = sorted(set.intersection(*map(set, listed.values()))) if len(listed) == len(ROLES) else []
    if both:
        problems.add(
            f"{' and '.join(str(path) for path in choice.lists.values())}: expected each image in one list, got "
            f"{len(both)} in both: {', '.join(both[:3])}"
        )
        listed["val"] = [name for name in listed["val"] if name not in both]
    taken = {name for some in listed.values() for name in some}
    rest = [name for name in names if name not in taken]
    return {
        role: listed.get(role, rest if len(listed) == 1 else []) for role in ROLES if role in choice.names
    }


class Placed(NamedTuple):
    """What divides an image from others: its classes, and the split that the data say (None: nothing)."""

    classes: frozenset[str]
    split: str | None


def divide(
    images: Mapping[str, Placed],
    choice: SplitChoice,
    index: Callable[[], NameIndex],
    root: Path,
    note: Callable[[str], None],
    problems: Problems,
) -> dict[Role, list[str]]:
    """Names of the images of each part, sorted: by lists, else as the data say, then a share held out.

    Args:
        images: name of each -> what divides it.
        index: makes the index by which lists name them.
        note: is told what the user must know.

    Raises:
        DataError: no such split, or a share of data that have a val part; what is wrong with lists goes to `problems`.
    """
    if choice.lists:
        parts = by_lists(choice, sorted(images), index(), problems)
        for role, path in choice.lists.items():
            bare = [name for name in parts.get(role, ()) if name not in images]
            if bare:
                problems.add(
                    f"{path}: expected images with labels, got {len(bare)} without: {first_few(bare)}"
                )
                parts[role] = [name for name in parts[role] if name in images]
    else:
        parts = _as_they_lie(images, choice, root, note)
    if choice.share is not None and "val" in choice.names:
        parts = _without_share(parts, images, choice, root)
    if "val" in choice.names and "train" in choice.names and not parts.get("val"):
        trained = len(parts.get("train", ()))
        note(
            f"{no_val_line(trained, choice.limit, trained == len(images))}; "
            "data.val_share=0.1 holds a tenth of them out"
        )
    return {role: sorted(some) for role, some in parts.items() if role in choice.names}


def no_val_line(images: int, limit: int | None, every: bool = True) -> str:
    """`no val part: all of 30 images train`, or that `data.limit` takes 24 of them; no end of the line.

    Args:
        images: of train. every: whether they are all that there are.
    """
    count = counted(images, "image")
    if limit is not None and limit < images:
        return f"no val part: data.limit={limit} of {count} train"
    return f"no val part: {'all of ' if every else ''}{count} train"


def _as_they_lie(
    images: Mapping[str, Placed], choice: SplitChoice, root: Path, note: Callable[[str], None]
) -> dict[Role, list[str]]:
    there = Counter(one.split for one in images.values() if one.split is not None)
    if not there:
        return {"train": sorted(images)}
    named = {role: find_split(split, there) for role, split in choice.names.items()}
    if "train" in named and named["train"] is None:
        raise DataError(
            f"{root}: expected a split {choice.names['train']!r}, got {', '.join(sorted(there))}; "
            "data.train_split names yours"
        )
    others = {split: n for split, n in there.items() if split not in named.values()}
    if others:
        note(
            "left out: "
            + ", ".join(f"split {s!r} ({counted(n, 'image')})" for s, n in sorted(others.items()))
        )
    if nowhere := sorted(name for name, one in images.items() if one.split is None):
        note(f"left out: {counted(len(nowhere), 'image')} of no split: {first_few(nowhere)}")
    return {
        role: [name for name, one in images.items() if found is not None and one.split == found]
        for role, found in named.items()
    }


def _without_share(
    parts: Mapping[Role, list[str]], images: Mapping[str, Placed], choice: SplitChoice, root: Path
) -> dict[Role, list[str]]:
    if parts.get("val"):
        raise DataError(
            f"data.val_share: expected data without a val part, got {len(parts['val'])} val images in {root}; leave "
            "data.val_share out, or name the part to be divided by data.train_split and another val by data.val_split"
        )
    labels = {name: images[name].classes for name in parts["train"]}
    if len(labels) < 2:
        raise DataError(f"data.val_share: expected two images or more to divide, got {len(labels)}")
    chosen = held_out(labels, choice.share or 0.0, choice.seed)
    return {
        "train": [name for name in labels if name not in chosen],
        "val": [name for name in labels if name in chosen],
    }


def split_folder(image: str, known: Collection[str]) -> str | None:
    """The folder above an image that is named like a split of `known`; None if there is none."""
    return next((part for part in PurePosixPath(image).parts[:-1] if part.casefold() in known), None)
