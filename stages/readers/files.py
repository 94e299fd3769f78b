"""Reading files of a data root: paths that never leave it, errors that name the file, problems collected."""

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from data_contracts.errors import DataError

MAX_LISTED_PROBLEMS = 20


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

    def raise_if_any(self, what: str) -> None:
        """Raise one DataError with the number of problems and the first 20 of them."""
        if not self.messages:
            return
        shown = self.messages[:MAX_LISTED_PROBLEMS]
        count = len(self.messages)
        head = f"{what}: {count} problem{'s' if count > 1 else ''}"
        if count > len(shown):
            head += f", the first {len(shown)} of them"
        raise DataError(head + "".join(f"\n  - {message}" for message in shown))


def inside(root: Path, relative: str, where: str) -> Path:
    """The path `relative` below `root`, symbolic links followed.

    Args:
        where: what named the path (file and field), for the message.

    Raises:
        DataError: the path is absolute, climbs with "..", or leads out of `root` through a link.
    """
    windows = PureWindowsPath(relative)
    if (
        not relative
        or "\0" in relative
        or PurePosixPath(relative).is_absolute()
        or windows.drive
        or windows.root
        or ".." in windows.parts
    ):
        raise DataError(
            f"{where}: expected a relative path that stays inside the data root, got {relative!r}"
        )
    base = root.resolve()
    try:
        path = (base / relative).resolve()
    except (OSError, RuntimeError) as error:
        raise DataError(f"{where}: the path {relative!r} cannot be followed: {error}") from error
    if not path.is_relative_to(base):
        raise DataError(f"{where}: {relative!r} leaves the data root through a link: it leads to {path}")
    return path


def plain_name(name: str, where: str) -> str:
    """`name` if it can stand as one component of a path (image id, split).

    Raises:
        DataError: it holds a separator, is empty, or is "." or "..".
    """
    if not name or name in {".", ".."} or any(c in name for c in "/\\\0"):
        raise DataError(
            f"{where}: expected a plain name without path separators (paths must stay inside the data root), "
            f"got {name!r}"
        )
    return name


def read_bytes(path: Path, where: str) -> bytes:
    """All bytes of a file.

    Raises:
        DataError: the file is missing, unreadable or empty.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{where}: the file {path} is missing") from error
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
        raise DataError(f"{path}: expected UTF-8 text, got byte {error.object[error.start]:#x}") from error


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


def parse_json(data: bytes, where: str) -> Any:
    """Value of a JSON document.

    Raises:
        DataError: malformed (with line and column), not UTF-8, nested too deeply, or a number of too many digits.
    """
    try:
        return json.loads(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: malformed JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: expected UTF-8 JSON, got byte {error.object[error.start]:#x}") from error
    except RecursionError as error:
        raise DataError(f"{where}: JSON nested too deeply") from error
    except ValueError as error:  # a whole number of more digits than Python converts
        raise DataError(f"{where}: malformed JSON: {error}") from error


def finite_number(value: object, where: str) -> float:
    """`value` (a number, or text that spells one) as a finite float.

    Raises:
        DataError: not a number, NaN or infinite.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{where}: expected a number, got {value!r}") from error
    if not math.isfinite(number):
        raise DataError(f"{where}: expected a finite number, got {value!r}")
    return number


def sha256(data: bytes) -> str:
    """Hex sha256."""
    return hashlib.sha256(data).hexdigest()
