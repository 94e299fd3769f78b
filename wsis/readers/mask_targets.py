"""Which image of the data set an entry of a file of masks is of: by file name, or by number or id.

Of no method, so that what only reads a store need not load one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from data_contracts.errors import DataError


@dataclass(frozen=True)
class Target:
    """An image of the data set: what an entry can name, and the size (H, W) that its masks must have.

    `number` is the id that the data set's own annotations give it, if they do.
    """

    image_id: str
    file_name: str
    size: tuple[int, int]
    number: int | str | None = None


class TargetNames:
    """Which image of the data set an entry of a file is of."""

    def __init__(self, targets: Iterable[Target]) -> None:
        self.by_id = {target.image_id: target for target in targets}
        self.by_last: dict[str, list[tuple[tuple[str, ...], Target]]] = {}
        self.by_number: dict[int | str, list[Target]] = {}
        self.found: dict[tuple[str, Any], Target | None] = {}
        for target in self.by_id.values():
            parts = _parts(target.file_name)
            self.by_last.setdefault(parts[-1] if parts else "", []).append((parts, target))
            if target.number is not None:
                self.by_number.setdefault(target.number, []).append(target)

    def find(self, entry: Any, place: str) -> tuple[Target | None, str]:
        """The image, None if the data set lacks it, and how the entry names it.

        Raises:
            DataError: the entry is no object, names no image, or fits several.
        """
        if not isinstance(entry, dict):
            raise DataError(f"{place}: expected an object, got {type(entry).__name__}")
        field = "image_id" if entry.get("file_name") is None else "file_name"
        value = entry.get(field)
        if field == "file_name" and not isinstance(value, str):
            raise DataError(f"{place}: file_name: expected text, got {value!r:.80}")
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise DataError(f"{place}: image_id: expected a whole number or text, got {value!r:.80}")
        key = (field, value)
        if key not in self.found:
            fitting = self._of_path(str(value)) if field == "file_name" else self._of_id(value)
            if len(fitting) > 1:
                ids = ", ".join(target.image_id for target in fitting[:5])
                raise DataError(
                    f"{place}: {field} {value!r}: expected one image, got {ids}; give file_name in full"
                )
            self.found[key] = fitting[0] if fitting else None
        return self.found[key], str(value)

    def _of_path(self, name: str) -> list[Target]:
        wanted = _parts(name)
        candidates = self.by_last.get(wanted[-1], []) if wanted else []
        exact = [target for parts, target in candidates if parts == wanted]
        return exact or [target for parts, target in candidates if _is_tail(parts, wanted)]

    def _of_id(self, value: str | int) -> list[Target]:
        if value in self.by_number:
            return self.by_number[value]
        exact = self.by_id.get(str(value))
        return [] if exact is None else [exact]


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in PurePosixPath(name.replace("\\", "/")).parts if part != "/")


def _is_tail(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether the shorter path is the end of the longer."""
    length = min(len(one), len(other))
    return one[-length:] == other[-length:]
