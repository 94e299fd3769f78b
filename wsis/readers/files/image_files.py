"""The image file that a name in an annotation file means, where tools write names of other systems and machines."""

import os
import posixpath
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import takewhile
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import clean_text, require_file, stays_inside

_APART = ("images", "labels", "obj_train_data")  # of Ultralytics, and of CVAT
_OF_THE_SYSTEM = {"lost+found", "system volume information", "$recycle.bin"}
_LONGEST = 255  # bytes of one name
_LABELS = (".json", ".txt", ".xml", ".csv")  # of files that are no image, and lie beside one of that name
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class ImageFiles:
    """Files below a folder of the data root, asked for by the names of an annotation file.

    A name is taken as it stands where there is such a file in the folder, beside the annotations or at the root. Else
    the one file below the folder is taken whose path is the end of the name or the other way round, whatever the case
    and the normal form of its letters: `/data/upload/1/a.jpg` and `a.JPG` may both be `images/a.jpg`. No name leads out
    of the root.

    Args:
        root: of the data.
        folder: of the images, below the root.
        beside: folder of the annotation file, below the root.
        strict: take names as they stand alone.

    Attributes:
        guessed: (name, file below the root) of each name that was not taken as it stands.
    """

    def __init__(self, root: Path, folder: str, beside: str, strict: bool = False) -> None:
        self.root, self.folder, self.beside, self.strict = root, folder, beside, strict
        self.guessed: list[tuple[str, str]] = []

    def find(self, name: str, where: str) -> str:
        """Path of the image's file below the root, with "/".

        Raises:
            DataError: no file, several that fit, one that is no regular file, or a name that leaves its folder.
        """
        clean_text(name, where)
        written = _portable(name)
        if stays_inside(written):
            for base in dict.fromkeys((self.folder, self.beside, ".")):
                candidate = posixpath.normpath(posixpath.join(base, written))
                mode = _mode(f"{self.root}/{candidate}")
                if mode is not None:
                    if not stat.S_ISREG(mode):
                        require_file(self.root / candidate, where)
                    return candidate
        elif found := self._climbing(written):
            return found
        found = None if self.strict or self._elsewhere(written) else self._alike(written, where)
        if found is not None:
            self.guessed.append((name, found))
            return found
        if not stays_inside(written):
            raise DataError(
                f"{where}: expected a relative path that stays inside the data root, got {name!r:.200}"
            )
        long = (
            ""
            if all(len(os.fsencode(p)) <= _LONGEST for p in PurePosixPath(written).parts)
            else (f" (a name of more than {_LONGEST} bytes, which no file system takes)")
        )
        path = f"{self.root / self.folder / written}"
        near = self._by_stem.get(_same(PurePosixPath(written).stem))
        hint = f"; did you mean {near!r:.200}?" if near else ""
        raise DataError(f"{where.partition(': field')[0]}: the file {path:.400} is missing{long}{hint}")

    def _climbing(self, written: str) -> str | None:
        """The file of a name that climbs from the annotations to the images, as `../images/a.jpg` does."""
        path = posixpath.normpath(posixpath.join(self.beside, written))
        prefix = "" if self.folder == "." else f"{self.folder}/"
        below = not path.startswith(("/", "..")) and path.startswith(prefix)
        return path if below and stays_inside(path) and (self.root / path).is_file() else None

    def _elsewhere(self, written: str) -> bool:
        """Whether a name climbs to another file of the root, which another image has."""
        path = posixpath.normpath(posixpath.join(self.folder, written))
        return ".." in written and stays_inside(path) and os.path.exists(self.root / path)

    def _alike(self, written: str, where: str) -> str | None:
        """The one file below the folder that fits best."""
        parts = tuple(part for part in PurePosixPath(written).parts if part not in ("/", ".", ".."))
        if not parts:
            return None
        best = _fitting(self._by_name.get(_same(parts[-1]), ()), parts, not stays_inside(written))
        if len(best) > 1:
            raise DataError(
                f"{where}: expected one file that fits {written!r:.200}, got {len(best)}: {', '.join(best[:3])!r}"
            )
        return posixpath.normpath(posixpath.join(self.folder, best[0])) if best else None

    @cached_property
    def _by_name(self) -> dict[str, list[tuple[str, Sequence[str]]]]:
        """Last part of a path -> (path below the folder, its parts), to be compared whatever case and form."""
        found: dict[str, list[tuple[str, Sequence[str]]]] = {}
        for path in files_below(self.root / self.folder):
            own = [_same(part) for part in PurePosixPath(_portable(path)).parts]
            found.setdefault(own[-1], []).append((path, own))
        return found

    @cached_property
    def _by_stem(self) -> dict[str, str]:
        """Name without ending -> path below the folder: `a.jpg` for an `a.png` that is not there."""
        paths = (p for alike in self._by_name.values() for p, _ in alike if not p.lower().endswith(_LABELS))
        return {_same(PurePosixPath(path).stem): path for path in paths}


class KnownImages:
    """The images of a data set, asked for by the names of annotation files that lie anywhere: by :class:`ImageFiles`'
    rules, though no file is looked at.

    Args:
        sizes: file name of each image, below the data root -> its (height, width).
    """

    def __init__(self, sizes: Mapping[str, tuple[int, int]]) -> None:
        self.sizes = sizes
        self._by_name: dict[str, list[tuple[str, Sequence[str]]]] = {}
        self._by_stem: dict[str, list[tuple[str, Sequence[str]]]] = {}
        self._of_stem: dict[str, list[str]] = {}
        for path in sizes:
            plain = without_ending(path)
            self._of_stem.setdefault(plain, []).append(path)
            for index, name in ((self._by_name, path), (self._by_stem, plain)):
                own = [_same(part) for part in PurePosixPath(name).parts]
                index.setdefault(own[-1], []).append((name, own))

    def knows(self, name: str) -> bool:
        """Whether :meth:`find` finds one, or several."""
        return name in self.sizes or bool(self._fitting(name))

    def find(self, name: str, where: str) -> str:
        """File name of the image; `name` itself where the data set has no such image.

        Raises:
            DataError: several fit, or the name has control characters.
        """
        clean_text(name, where)
        return name if name in self.sizes else self._only(self._fitting(name), name, where)

    def find_stem(self, name: str, where: str) -> str:
        """As `find`, of a name without ending, as text files of labels have; folders like `images` do not matter.

        Raises:
            DataError: several fit.
        """
        parts = PurePosixPath(name).parts
        found = list(dict.fromkeys(_fitting(self._by_stem.get(_same(parts[-1]), ()), parts, False)))
        return self._only([path for plain in found for path in self._of_stem[plain]], name, where)

    def _fitting(self, name: str) -> list[str]:
        written = _portable(name)
        parts = tuple(part for part in PurePosixPath(written).parts if part not in ("/", ".", ".."))
        return _fitting(
            self._by_name.get(_same(parts[-1]), ()) if parts else (), parts, not stays_inside(written)
        )

    def _only(self, found: Sequence[str], name: str, where: str) -> str:
        if len(found) > 1:
            raise DataError(
                f"{where}: expected one image that fits {name!r:.200}, got {len(found)}: {', '.join(found[:3])!r}"
            )
        return found[0] if found else name


def without_ending(path: str) -> str:
    """The name of an image, or of its text file, without ending and without the folders that tell both apart."""
    plain = PurePosixPath(path).with_suffix("")
    return str(PurePosixPath(*(p for p in plain.parts[:-1] if p not in _APART), plain.name))


def files_below(root: Path) -> Iterator[str]:
    """Paths below a folder, with "/", in the order of the names; folders behind links too, each folder once.

    Raises:
        DataError: a folder may not be looked into; see :func:`refuse_unreadable`.
    """
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True, onerror=refuse_unreadable):
        there = os.stat(folder)
        if (there.st_dev, there.st_ino) in seen:
            folders.clear()
            continue
        seen.add((there.st_dev, there.st_ino))
        folders.sort()
        relative = Path(folder).relative_to(root).as_posix()
        yield from (posixpath.normpath(posixpath.join(relative, name)) for name in sorted(files))


def refuse_unreadable(error: OSError) -> None:
    """What `os.walk` does with a folder that may not be looked into: the files there must not be missing in silence.
    One of the system, or hidden, is passed over.

    Raises:
        DataError: naming the folder.
    """
    name = os.path.basename(error.filename)
    if not name.startswith(".") and name.casefold() not in _OF_THE_SYSTEM:
        raise DataError(f"the folder {error.filename} cannot be read: {error.strerror}") from error


def _fitting(
    candidates: Iterable[tuple[str, Sequence[str]]], parts: Sequence[str], anywhere: bool
) -> list[str]:
    """Those of some paths (with their parts, to be compared) that fit the parts of a name best.

    Args:
        anywhere: whether the name's folders may be those of another machine.
    """
    wanted = [_same(part) for part in parts]
    fitting = []
    for path, own in candidates:
        shared = _shared_end(own, wanted)
        if anywhere or shared == min(len(own), len(wanted)):
            written_alike = _composed(path).endswith(_composed(parts[-1]))
            fitting.append(((written_alike, shared), path))
    return [path for likeness, path in fitting if likeness == max(fitting)[0]]


def _shared_end(one: Sequence[str], other: Sequence[str]) -> int:
    """How many parts two paths share at their ends."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _portable(name: str) -> str:
    """With "/" as separator; of a URL the path alone."""
    if _URL.match(name):
        return unquote(urlsplit(name).path) or name
    return name.replace("\\", "/")


def _mode(path: str) -> int | None:
    """Kind of a file as `st_mode` says it; None where there is none, or for a name that no file system takes."""
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError):
        return None


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _same(text: str) -> str:
    """Equal for names that differ by case, by how accents are written, or by percent signs of a URL."""
    return _composed(_composed(unquote(text)).casefold())
