"""The elements of a large JSON array one by one, with their places, without the whole file in memory."""

import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import object_of, require_file

BLOCK = 1 << 22  # bytes read at a time
LONGEST = 1 << 28  # bytes of one element
_MARGIN = 16  # characters before the window's end whose reading the end can change
_BLANK = " \t\r\n"


def scan_array(path: Path) -> Iterator[tuple[int, int, Any]]:
    """Each element of the array that is the file's document: first byte, byte after the last, value.

    Raises:
        DataError: the file cannot be read, holds no array, is malformed or cut short, or an object has a key twice;
            names element and byte.
    """
    try:
        if path.exists():
            require_file(path, "list of entries")
        with path.open("rb") as stream:
            yield from _Scanner(path, stream).elements()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


class _Scanner:
    """A window of the file as text. Latin-1 has one character a byte, so that places in it are places in bytes;
    what lies outside ASCII can only be inside strings, and is decoded again."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path, self.stream = path, stream
        self.text, self.at, self.start = "", 0, 0  # window, place in it, the window's first byte in the file
        self.count = 0
        self.decoder = json.JSONDecoder(object_pairs_hook=object_of)

    def elements(self) -> Iterator[tuple[int, int, Any]]:
        if self.stream.read(len(BOM_UTF8)) == BOM_UTF8:
            self.start = len(BOM_UTF8)
        else:
            self.stream.seek(0)
        self._expect("[")
        if self._next() != "]":
            yield self._element()
            while self._expect(",]") == ",":
                self._next()
                yield self._element()
        else:
            self.at += 1
        if (left := self._next()) != "":
            raise self._error(f"expected the end of the file after the list, got {left!r}")

    def _more(self) -> bool:
        """Drop what is passed and read on; False, and nothing changed, at the end of the file."""
        block = self.stream.read(BLOCK)
        if block:
            self.text = self.text[self.at :] + block.decode("latin-1")
            self.start, self.at = self.start + self.at, 0
        return bool(block)

    def _next(self) -> str:
        """The next character that is not blank, not passed; "" at the end of the file."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in _BLANK:
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._more():
                return ""

    def _expect(self, characters: str) -> str:
        found = self._next()
        if not found or found not in characters:
            wanted = " or ".join(repr(c) for c in characters)
            got = repr(found) if found else "the end of the file"
            raise self._error(f"expected a list of entries: {wanted}, got {got}")
        self.at += 1
        return found

    def _element(self) -> tuple[int, int, Any]:
        while True:
            try:
                value, stop = self.decoder.raw_decode(self.text, self.at)
                if stop <= len(self.text) - _MARGIN or not self._more():  # else a number may go on
                    break
            except json.JSONDecodeError as error:
                if not self._cut_short(error) or len(self.text) - self.at > LONGEST or not self._more():
                    raise self._error(f"malformed JSON: {error.msg}") from error
            except DataError as error:
                raise self._error(str(error)) from error
            except (ValueError, RecursionError) as error:
                raise self._error(f"malformed JSON: {error}") from error
        piece = self.text[self.at : stop]
        if not piece.isascii():
            value = self._decoded(piece)
        place = self.start + self.at, self.start + stop
        self.at, self.count = stop, self.count + 1
        return *place, value

    def _cut_short(self, error: json.JSONDecodeError) -> bool:
        """Whether the window's end can be what is wrong."""
        return error.msg.startswith("Unterminated string") or error.pos > len(self.text) - _MARGIN

    def _decoded(self, piece: str) -> Any:
        try:
            return json.loads(piece.encode("latin-1"))
        except UnicodeDecodeError as error:
            raise self._error(f"expected UTF-8, got byte {error.object[error.start]:#x}") from error

    def _error(self, message: str) -> DataError:
        return DataError(f"{self.path}: entry {self.count} (byte {self.start + self.at}): {message}")
