"""The image that a user's list or table means by a name: with or without ending, folder, or the right case."""

import posixpath
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from data_contracts.errors import DataError
from wsis.readers.files.image_files import ImageFiles, files_below
from wsis.readers.files.photographs import SUFFIXES, UNREADABLE

_IGNORED = {"__macosx", "thumbs.db", "desktop.ini"}


def is_image(name: str) -> bool:
    """Whether a file's name ends like a photograph's."""
    return _suffix(name) in SUFFIXES + UNREADABLE


def images_below(root: Path) -> list[str]:
    """Paths of the images below a folder, with "/"; see :func:`images_among`."""
    return images_among(files_below(root))


def images_among(names: Iterable[str]) -> list[str]:
    """The images among paths.

    Hidden ones and what systems leave behind are passed over; one in a format that we cannot read, too, where the same
    lies beside it in another.
    """
    found = [path for path in names if is_image(path) and not is_left_behind(path)]
    readable = {PurePosixPath(path).with_suffix("") for path in found if _suffix(path) in SUFFIXES}
    return [p for p in found if _suffix(p) in SUFFIXES or PurePosixPath(p).with_suffix("") not in readable]


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def is_left_behind(path: str) -> bool:
    """Whether a file is hidden, or one that systems leave behind."""
    return any(part.startswith(".") or part.casefold() in _IGNORED for part in PurePosixPath(path).parts)


class NameIndex:
    """Images of a data root, found by what a user calls them.

    Args:
        images: paths below the root.
        folder: below the root, where names are looked for first.
    """

    def __init__(self, root: Path, images: Iterable[str], folder: str = ".") -> None:
        self.images = frozenset(images)
        self._files = ImageFiles(root, folder, ".")
        self._root = root
        self._by_stem: dict[str, list[str]] = {}
        for path in sorted(self.images):
            self._by_stem.setdefault(PurePosixPath(path).stem.casefold(), []).append(path)

    def knows(self, name: str) -> bool:
        """Whether :meth:`find` finds one."""
        try:
            self.find(name, "")
        except DataError:
            return False
        return True

    def find(self, name: str, where: str) -> str:
        """Path of the image below the root.

        Raises:
            DataError: no image, or several, of that name; names `where`.
        """
        portable = posixpath.normpath(name.replace("\\", "/"))
        if portable in self.images:
            return portable
        if not is_image(portable) and (found := self._without_ending(portable, where)) is not None:
            return found
        found = self._files.find(name, where)
        if found not in self.images:
            raise DataError(f"{where}: expected an image, got {found!r}")
        return found

    def _without_ending(self, name: str, where: str) -> str | None:
        wanted = [part.casefold() for part in PurePosixPath(name).parts if part not in ("/", ".")]
        fitting = [
            path
            for path in self._by_stem.get(PurePosixPath(name).name.casefold(), ())
            if [p.casefold() for p in PurePosixPath(path).with_suffix("").parts][-len(wanted) :] == wanted
        ]
        exact = [path for path in fitting if str(PurePosixPath(path).with_suffix("")) == name]
        if len(exact or fitting) > 1:
            raise DataError(f"{where}: expected one image named {name!r}, got {', '.join(fitting[:3])}")
        return next(iter(exact or fitting), None)
