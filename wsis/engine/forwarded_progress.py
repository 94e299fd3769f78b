"""Progress of another process: sent from there as small messages, shown here as if this process had made it."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Self

from wsis.engine.progress import Bar, Progress

Send = Callable[[Any], None]
_EVERY_SECONDS = 1.0  # between two messages of one bar


@dataclass(frozen=True)
class _Line:
    """A line of progress."""

    text: str


@dataclass(frozen=True)
class _BarBegins:
    """A bar of `Progress`; `number` is its name in what follows."""

    number: int
    total: int
    description: str
    unit: str
    initial: int


@dataclass(frozen=True)
class _BarMoved:
    """So many more units are done, and what is shown beside."""

    number: int
    more: int
    notes: Mapping[str, float]
    ends: bool


class ForwardedProgress(Progress):
    """Progress that is shown where a :class:`Screen` hears it.

    Args:
        send: takes messages, which are pickled; called from any thread that makes progress.
    """

    def __init__(self, send: Send) -> None:
        super().__init__(quiet=True)
        self._send, self._bars = send, 0

    def log(self, message: str) -> None:
        self._send(_Line(message))

    @contextmanager
    def bar(self, total: int, description: str, unit: str = "it", initial: int = 0) -> Iterator[Bar]:
        self._bars += 1
        self._send(_BarBegins(self._bars, total, description, unit, initial))
        bar = _ForwardedBar(self._bars, total, description, unit, initial, self._send)
        try:
            yield bar
        finally:
            bar.close()


class _ForwardedBar(Bar):
    """Says at most once a second how far it is."""

    def __init__(
        self, number: int, total: int, description: str, unit: str, initial: int, send: Send
    ) -> None:
        super().__init__(total, description, unit, initial, [], quiet=True)
        self._number, self._send, self._told, self._told_at = number, send, initial, 0.0

    def update(self, n: int = 1, notes: Mapping[str, float] | None = None) -> None:
        self.done += n
        self._notes = notes or self._notes
        if time.monotonic() - self._told_at >= _EVERY_SECONDS:
            self._tell(ends=False)

    def close(self) -> None:
        self._tell(ends=True)

    def _tell(self, ends: bool) -> None:
        self._send(_BarMoved(self._number, self.done - self._told, self._notes, ends))
        self._told, self._told_at = self.done, time.monotonic()


class Screen:
    """Shows what another process says of its progress, and what it logs. Leaving the block ends bars left open."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[int, tuple[Bar, ExitStack]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for _, drawn in self._bars.values():
            drawn.close()

    def show(self, message: Any) -> None:
        """A message of :class:`ForwardedProgress`, or a record of `logging`."""
        if isinstance(message, _Line):
            self._progress.log(message.text)
        elif isinstance(message, logging.LogRecord):
            logging.getLogger(message.name).handle(message)
        elif isinstance(message, _BarBegins):
            drawn = ExitStack()
            made = self._progress.bar(message.total, message.description, message.unit, message.initial)
            self._bars[message.number] = (drawn.enter_context(made), drawn)
        elif isinstance(message, _BarMoved):
            moved, drawn = self._bars[message.number]
            moved.update(message.more, message.notes)
            if message.ends:
                del self._bars[message.number]
                drawn.close()
