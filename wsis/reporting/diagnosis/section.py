"""A table of a diagnosis, as text and page show it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from wsis.reporting.tables.tables import Column

Diagnosis = Mapping[str, Any]


class Section(NamedTuple):
    """A table with its title and a note."""

    title: str
    header: Sequence[str | Column]
    rows: Sequence[Sequence[str]]
    note: str = ""
