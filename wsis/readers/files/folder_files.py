"""Reading files of a data root: names that never leave it, errors that name the file, problems collected."""

import errno
import hashlib
import json
import math
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from data_contracts.errors import DataError

MAX_LISTED_PROBLEMS = 20
_PLACE = re.compile(r"\[\d+\]|^entry \d+")  # in a list of a file: annotations[3]
_PLACES = 3  # of a kind of problem that are named
_LONGEST_NAME = 255  # bytes, in the file systems that people have
_UNCLEAN = {
    "Cc",
    "Cs",
    "Zl",
    "Zp",
}  # Unicode's categories of characters that no name needs and terminals obey
_KINDS = {
    stat.S_IFDIR: os.strerror(errno.EISDIR),
    stat.S_IFIFO: "Is a FIFO",
    stat.S_IFSOCK: "Is a socket",
    stat.S_IFCHR: "Is a device",
    stat.S_IFBLK: "Is a device",
}


class Problems:
    """Collects the errors of one pass over a data set, so that the user can mend all of them at once."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def add(self, message: str) -> None:
        """Remember one problem; the same message counts once."""
        if message not in self.messages:
            self.messages.append(message)

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Turn a DataError raised inside the block into a remembered problem."""
        try:
            yield
        except DataError as error:
            self.add(str(error))

    def raise_if_any(self, what: str, then: str = "") -> None:
        """Raise one DataError: a line of the one problem, or their number and the first 20 of them; then what helps.

        Those that differ in their place in a list alone are one line with a count and the first places.
        """
        if not self.messages:
            return
        if len(self.messages) == 1:
            raise DataError(f"{what}: {self.messages[0]}{then and f'; {then}'}")
        lines = _by_kind(self.messages)
        shown = lines[:MAX_LISTED_PROBLEMS]
        head = f"{what}: {len(self.messages)} problems"
        if len(lines) > len(shown):
            head += (
                f", the first {len(shown)} of them" if len(lines) == len(self.messages) else ", some of them"
            )
        raise DataError(head + "".join(f"\n  - {message}" for message in shown) + (then and f"\n{then}"))


def _by_kind(messages: Sequence[str]) -> list[str]:
    """A line for each kind of problem, in the order of the first of each."""
    kinds: dict[str, list[str]] = {}
    for message in messages:
        kinds.setdefault(_PLACE.sub("[]", message), []).append(message)
    return [
        same[0] if len(same) == 1 else f"{same[0]} ({len(same)} such: {_places(same)})"
        for same in kinds.values()
    ]


def _places(messages: Sequence[str]) -> str:
    """Where messages of one kind differ: `[0], [3], [7], ...`."""
    first = ["".join(_PLACE.findall(message)) for message in messages[:_PLACES]]
    return ", ".join(first) + (", ..." if len(messages) > _PLACES else "")


def clean_text(text: str, where: str) -> str:
    """`text` if it can be printed and stored: no control characters, line separators or halves of a surrogate pair.

    Raises:
        DataError: it holds one of them.
    """
    if not text.isprintable() and any(unicodedata.category(c) in _UNCLEAN for c in text):
        raise DataError(f"{where}: expected text without control characters, got {text!a:.120}")
    return text


_SPACE = "".join(c for c in map(chr, range(0x3001)) if c.isspace()) + "\u200b\u200c\u200d\u2060\ufeff"


def class_name(text: str, where: str) -> str:
    """The class that annotations name: without space around it, visible or of no width, and its accents composed (NFC),
    since a system may have written them apart and the same class stand in two forms.

    Raises:
        DataError: control characters, or nothing but space.
    """
    found = unicodedata.normalize("NFC", clean_text(text, where)).strip(_SPACE)
    if not found:
        raise DataError(f"{where}: expected the name of a class, got {text!r:.80}")
    return found


def stays_inside(name: str) -> bool:
    """Whether a path is relative and climbs nowhere, in the terms of any system."""
    if "\\" not in name and ":" not in name:  # no system reads it in another way
        return bool(name) and name[0] != "/" and ".." not in name.split("/")
    windows = PureWindowsPath(name)
    return bool(name) and not (
        PurePosixPath(name).is_absolute() or windows.drive or windows.root or ".." in windows.parts
    )


def inside(root: Path, relative: str, where: str) -> Path:
    """The path `relative` below `root`, symbolic links followed: those are the user's own and may lead anywhere.

    Args:
        relative: with "/", or "\\" as a Windows system writes it.
        where: what named the path (file and field), for the message.

    Raises:
        DataError: the path is absolute, climbs with "..", holds control characters or a part that no file system takes,
            or is a link to itself.
    """
    clean_text(relative, where)
    if not stays_inside(relative):
        raise DataError(
            f"{where}: expected a relative path that stays inside the data root, got {relative!r:.200}"
        )
    parts = relative.replace("\\", "/").split("/")
    if too_long := [part for part in parts if len(os.fsencode(part)) > _LONGEST_NAME]:
        raise DataError(f"{where}: expected names of at most {_LONGEST_NAME} bytes, got {too_long[0]!r:.200}")
    path = root / relative
    if not os.path.lexists(path):  # else a file has a "\" in its name, as unzip leaves archives of Windows
        path = root / relative.replace("\\", "/")
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise DataError(f"{where}: the path {relative!r:.200} cannot be followed: {error}") from error


def plain_name(name: str, where: str) -> str:
    """`name` if it can stand as one component of a path (image id, split).

    Raises:
        DataError: it holds a separator or control characters, is empty, or is "." or "..".
    """
    if not name or name in {".", ".."} or any(c in name for c in "/\\\0"):
        raise DataError(
            f"{where}: expected a plain name without path separators (paths must stay inside the data root), "
            f"got {name!r:.200}"
        )
    return clean_text(name, where)


def require_folder(path: Path, where: str) -> None:
    """Say what else a path is than a folder whose files can be listed.

    Raises:
        DataError: it does not exist, is something else, or may not be looked into.
    """
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
        if is_folder and not os.access(path, os.R_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (FileNotFoundError, NotADirectoryError):
        is_folder = False
    except OSError as error:
        raise DataError(f"{where}: the folder {path} cannot be read: {error.strerror}") from error
    if not is_folder:
        what = "which is no folder" if os.path.lexists(path) else "which does not exist"
        raise DataError(f"{where}: expected a folder, got {path}, {what}")


_SIGNS = (
    (b"\x1f\x8b", "a gzip file: unpack it"),
    (b"PK\x03\x04", "a zip archive: unpack it"),
    (b"\xff\xfe", "UTF-16 text: save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text: save it as UTF-8"),
    (b"version https://git-lfs", "a pointer of Git LFS: git lfs pull"),
    (b"<!doctype html", "a web page: the download failed"),
    (b"<html", "a web page: the download failed"),
)
_PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst")


def seems(data: bytes) -> str:
    """What bytes that are not what they should be may be, to append to a message; nothing where nothing says it."""
    if data[4:8] == b"ftyp":
        return "; it seems to be HEIC or AVIF, or a film: save it as JPEG or PNG"
    start = data[:64].lower()
    return next((f"; it seems to be {what}" for sign, what in _SIGNS if start.startswith(sign)), "")


def require_file(path: Path, where: str) -> None:
    """Say what else a path is than a file, without opening it: a FIFO would wait for a writer.

    Raises:
        DataError: it is missing, cannot be looked at, or is a folder, device, FIFO or socket.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        packed = next((end for end in _PACKED if os.path.isfile(f"{path}{end}")), None)
        hint = f"; {path.name}{packed} lies there: unpack it" if packed else ""
        raise DataError(f"{where}: the file {path} is missing{hint}") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{where}: the file {path} cannot be read: {reason}") from error
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "Not a file")
        link = f", a link to {path.resolve()}," if path.is_symlink() else ""
        raise DataError(f"{where}: the file {path}{link} cannot be read: {kind}")


def read_bytes(path: Path, where: str) -> bytes:
    """All bytes of a file.

    Raises:
        DataError: the file is missing, unreadable, empty, or no regular file.
    """
    require_file(path, where)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{where}: the file {path} cannot be read: {error.strerror}") from error
    if not data:
        raise DataError(f"{where}: the file {path} is empty (0 bytes)")
    return data


def read_text(path: Path, where: str) -> str:
    """Text of a UTF-8 file (a byte order mark is dropped).

    Raises:
        DataError: missing, unreadable, empty or not UTF-8.
    """
    try:
        return read_bytes(path, where).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected UTF-8 text, got byte {error.object[error.start]:#x}{seems(error.object)}"
        ) from error


def parse_xml(data: bytes, where: str) -> ElementTree.Element:
    """Root element of an XML document that declares no document type, hence no entities to expand.

    Raises:
        DataError: malformed XML, or a DOCTYPE.
    """

    def refuse_doctype(*_: object) -> None:
        raise DataError(f"{where}: a DOCTYPE is not accepted (entities could expand without bound)")

    checker = expat.ParserCreate()
    checker.StartDoctypeDeclHandler = refuse_doctype
    try:
        checker.Parse(data, True)
        return ElementTree.fromstring(data)
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where}: malformed XML: {error}") from error


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are there once each, for `object_pairs_hook`.

    Raises:
        DataError: a key is there twice: which value holds would be a guess.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise DataError(f"expected each key of an object once, got {key!a:.80} twice in {found!a:.120}")
    return found


def parse_json(data: bytes, where: str) -> Any:
    """Value of a JSON document.

    Raises:
        DataError: malformed (with line and column), not UTF-8, nested too deeply, a number of too many digits, or a
            key twice in one object.
    """
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=object_of)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: malformed JSON: {error.msg} at line {error.lineno}, column {error.colno}{seems(data)}"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: expected UTF-8 JSON, got byte {error.object[error.start]:#x}{seems(data)}"
        ) from error
    except RecursionError as error:
        raise DataError(f"{where}: JSON nested too deeply") from error
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    except ValueError as error:  # a whole number of more digits than Python converts
        raise DataError(f"{where}: malformed JSON: {error}") from error


def number(value: object, where: str) -> float:
    """`value` (a number, or text that spells one) as a float, perhaps NaN or infinite.

    Raises:
        DataError: not a number.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        return float(value)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{where}: expected a number, got {value!r:.80}") from error


def is_number(text: str) -> bool:
    """Whether a text spells a number, perhaps NaN or an infinite one."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def finite_number(value: object, where: str) -> float:
    """`value` (a number, or text that spells one) as a finite float.

    Raises:
        DataError: not a number, NaN or infinite.
    """
    found = number(value, where)
    if not math.isfinite(found):
        raise DataError(f"{where}: expected a finite number, got {value!r:.80}")
    return found


def whole_number(value: object, where: str) -> int:
    """`value` (a number, or text that spells one) as an integer; 640.0 is 640.

    Raises:
        DataError: not a number, not whole, or of more than 15 digits.
    """
    found = finite_number(value, where)
    if not found.is_integer() or abs(found) >= 10**15:  # floats are exact below
        raise DataError(f"{where}: expected a whole number, got {value!r:.80}")
    return int(found)


def flag(value: object, where: str) -> bool:
    """Whether a field that stands for yes or no says yes. None, empty text, 0 and "false" are no; 1 and "true" yes.

    Raises:
        DataError: anything else.
    """
    word = value.strip().casefold() if isinstance(value, str) else value
    if word is None or word in ("", "0", "false", 0):  # False is 0, True is 1
        return False
    if word in ("1", "true", 1):
        return True
    raise DataError(f"{where}: expected 0 or 1, got {value!r:.80}")


def sha256(data: bytes) -> str:
    """Hex sha256."""
    return hashlib.sha256(data).hexdigest()
