"""Ids of images: their files' names, as short as they tell the images apart."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath


def unique_ids(names: Sequence[Sequence[str]]) -> list[str]:
    """One id an image, the first of its possible names that no other image takes.

    No two differ by case alone, which some file systems cannot tell, and no id with an ending is a folder of another
    (`x` beside `x.png/y`): files are written by the name of an image.

    Args:
        names: possible names of each image, with "/", the wanted one first; the last stands where all are taken.
    """
    level = [0] * len(names)
    while True:
        ids = [own[step] for own, step in zip(names, level, strict=True)]
        counts = Counter(one.casefold() for one in ids)
        folders = {
            str(folder.with_suffix("")).casefold()
            for one in ids
            if "/" in one
            for folder in PurePosixPath(one).parents
            if folder.suffix
        }
        taken = [
            i
            for i, one in enumerate(ids)
            if level[i] + 1 < len(names[i]) and (counts[one.casefold()] > 1 or one.casefold() in folders)
        ]
        if not taken:
            return ids
        for i in taken:
            level[i] += 1
