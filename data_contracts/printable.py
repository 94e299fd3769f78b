"""Text that a terminal, a log or a page may show: names come from the user's files, and may hold anything."""

import re
from collections.abc import Sequence
from typing import Any

# What moves the cursor, recolours, reverses or breaks lines, and what no encoding can write. Line feed and tab stay.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: object) -> str:
    """The text with control characters as `\\uXXXX`, which JSON reads back as what they were."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))


class PrintableStream:
    """A text stream that shows everything by :func:`printable`; what its encoding lacks becomes an escape too."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """The number of characters of `text`, as of any stream."""
        shown, encoding = printable(text), getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def one_line(text: object) -> str:
    """The text with every run of white space, line ends included, as one space."""
    return " ".join(str(text).split())


def first_few(names: Sequence[str], most: int = 5) -> str:
    """The first `most` names, with ", ..." behind them where there are more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def counted(number: int, thing: str) -> str:
    """A number with what is counted, given in the singular: `1 image`, `2 boxes`, `0 image entries`."""
    return f"{number} {thing if number == 1 else plural(thing)}"


def plural(thing: str) -> str:
    """Of a regular English noun, which may have words before it: `outer iterations`, `classes`, `image entries`."""
    if re.search("[^aeiou]y$", thing):
        return f"{thing[:-1]}ies"
    return f"{thing}es" if re.search("(s|x|ch|sh)$", thing) else f"{thing}s"
