"""Text that a terminal, a log or a page may show: names come from the user's files, and may hold anything."""

import re
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
