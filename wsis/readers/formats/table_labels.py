"""The labels in one field of a table: where it holds several, what divides them.

`;`, `|` and `,` divide, unless the user's classes have the whole field. A space divides only where it must: names of
classes may hold spaces.
"""

import re
from collections.abc import Collection, Sequence

from data_contracts.errors import DataError

_STRONG = re.compile(r"[;|,]")


def label_divider(fields: Sequence[str], classes: Collection[str] | None, several_rows: bool) -> "Divider":
    """What divides the labels of a table.

    Args:
        fields: all label fields.
        classes: those that the user gave, if any.
        several_rows: whether an image has several rows: then each row has one label.

    Raises:
        DataError: a space may divide or not, and nothing in the table decides it.
    """
    whole = {_unlisted(field) for field in fields}
    pieces = {piece.strip() for field in whole for piece in _STRONG.split(field)} - {""}
    spaced = {piece for piece in pieces if " " in piece}
    if classes is not None or several_rows or not spaced or (pieces - spaced == set() and len(spaced) == 1):
        return Divider(classes, by_space=False)
    if any(_STRONG.search(field) for field in whole):
        return Divider(classes, by_space=False)
    alone = pieces - spaced
    words = [set(piece.split()) for piece in spaced]
    if all(some <= alone for some in words):
        return Divider(classes, by_space=True)
    counts = [word for some in words for word in some]
    if not any(some & alone for some in words) and len(counts) == len(set(counts)):
        return Divider(classes, by_space=False)
    example = min(spaced)
    raise DataError(
        f"labels {example!r}: one class whose name has spaces, or several? name the classes with data.classes, "
        "or put ; between labels"
    )


def _unlisted(field: str) -> str:
    """A field without the brackets and quotes of a list, as pandas and JSON write one: `['cat', 'dog']`."""
    text = field.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return text
    return ",".join(piece.strip().strip("'\"") for piece in _STRONG.split(text[1:-1]))


class Divider:
    """Divides a field into labels."""

    def __init__(self, classes: Collection[str] | None, by_space: bool) -> None:
        self.classes, self.by_space = classes, by_space

    def __call__(self, field: str) -> list[str]:
        """Labels of a field, each once, in its order; none for an empty field."""
        found: list[str] = []
        if self.classes is not None and field.strip() in self.classes:
            return [field.strip()]
        for piece in (piece.strip() for piece in _STRONG.split(_unlisted(field))):
            found += self._words(piece) if piece else []
        return list(dict.fromkeys(found))

    def _words(self, piece: str) -> list[str]:
        words = piece.split()
        if self.by_space:
            return words
        if self.classes is not None and piece not in self.classes and all(w in self.classes for w in words):
            return words
        return [piece]
