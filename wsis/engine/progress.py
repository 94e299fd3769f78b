"""Progress of long work: a bar in a terminal, plain lines in a log, callbacks for an orchestrator."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

from data_contracts.printable import printable
from wsis.engine.machine import resident_memory

T = TypeVar("T")
Listener = Callable[[str, float], None]
"""Called with (description, share done in [0, 1]) at most once a second."""

LOG_INTERVAL_SECONDS = 15.0
MEMORY_INTERVAL_SECONDS = 5.0
_TITLE, _LONG_TITLE = 16, 28  # characters of a bar's title: at least, at most
_LINE = 159  # characters of a line at most
_NOTES = 5  # of a line: the loss, and four more
_FEW_UNITS, _SOME_SECONDS = (
    5,
    5.0,
)  # timed without the first, which also loads and warms up: before, no forecast
_LOGGER = logging.getLogger("wsis")


class Bar:
    """One piece of work with a known total.

    Args:
        say: gets its lines, now and then, in place of the terminal.
    """

    def __init__(
        self,
        total: int,
        description: str,
        unit: str,
        initial: int,
        listeners: list[Listener],
        quiet: bool = False,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._say = say
        self.total, self.description, self.unit = total, printable(description), unit
        self.done = self._initial = initial
        self._listeners = listeners
        self._notes: Mapping[str, float] = {}
        self._start = self._last_line = time.monotonic()
        self._last_call = 0.0
        self._first: tuple[int, float] | None = None  # units that are done, and when: after the first of them
        self._last_done = self._start
        self._looked, self._memory = -MEMORY_INTERVAL_SECONDS, ""
        self._quiet = quiet
        drawn = say is None and not quiet and _is_terminal()
        self._tqdm = _drawn(total, self.description, unit, initial, self._pace) if drawn else None

    def update(self, n: int = 1, notes: Mapping[str, float] | None = None) -> None:
        """`n` more units are done; `notes` (losses) are shown beside."""
        self.done += n
        if notes:
            self._notes = notes
        now = self._last_done = time.monotonic()
        self._first = self._first or (self.done, now)
        if self._tqdm is not None:
            self._tqdm.update(n)
            if now - self._looked >= MEMORY_INTERVAL_SECONDS:
                self._looked, self._memory = now, _memory()
            padded = " ".join(f"{name} {value:<8.4g}" for name, value in self._notes.items())
            self._tqdm.set_postfix_str(f"{self._memory:>6} {padded}".strip(), refresh=False)
        elif not self._quiet and now - self._last_line >= LOG_INTERVAL_SECONDS:
            self._last_line = now
            self._print(now)
        if now - self._last_call >= 1.0:
            self._last_call = now
            for listener in self._listeners:
                listener(self.description, self.done / max(1, self.total))

    def _pace(self) -> float:
        """Units a second of those after the first; 0 while too few are timed for a forecast."""
        if self._first is None:
            return 0.0
        units, seconds = self.done - self._first[0], self._last_done - self._first[1]
        enough = units >= _FEW_UNITS or (units > 1 and seconds >= _SOME_SECONDS)
        return units / seconds if enough and seconds > 0 else 0.0

    def _print(self, now: float) -> None:
        pace = (
            (self.done - self._initial) / max(1e-9, now - self._start)
            if self.done >= self.total
            else self._pace()
        )
        meter = tqdm.format_meter(
            self.done,
            self.total,
            now - self._start,
            unit=self.unit,
            initial=self._initial,
            prefix=self.description,
            rate=pace,
            bar_format="{desc}: {n_fmt}/{total_fmt} {unit} ({percentage:.0f}%) in {elapsed}"
            + (", {remaining} left, {rate_fmt}" if pace else ""),
        )
        meter = meter.replace(",  ", ", ")  # tqdm pads the rate
        line = f"{meter}, {_memory()}"
        for place, (name, value) in enumerate(list(self._notes.items())[:_NOTES]):
            longer = f"{line}{' ' if place else ' | '}{name} {value:.4g}"
            if len(longer) > _LINE:
                break
            line = longer
        if self._say is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._say(line)

    def close(self) -> None:
        """Print the last line and tell the listeners."""
        if self._tqdm is not None:
            self._tqdm.close()
        elif not self._quiet and self.done > self._initial:
            self._print(time.monotonic())
        for listener in self._listeners:
            listener(self.description, self.done / max(1, self.total))


class _Paced(tqdm):
    """A bar with a rate of our own; where that is 0 it has no forecast."""

    pace: Callable[[], float] = staticmethod(float)

    @property
    def format_dict(self) -> Any:
        return {**super().format_dict, "rate": self.pace()}


def _drawn(total: int, description: str, unit: str, initial: int, pace: Callable[[], float]) -> tqdm:
    """A bar whose fields keep their places; what does not fit the terminal is cut at the end, losses first."""
    layout = f"{{desc:<{_TITLE}.{_LONG_TITLE}}} {{percentage:3.0f}}%|{{bar:8}}|"
    layout += f" {{n_fmt:>{len(str(total))}}}/{{total_fmt}}"
    layout += " {elapsed:>5}<{remaining:>5} {rate_fmt:>10}{postfix}"
    bar = _Paced(
        total=total,
        desc=description,
        unit=unit,
        initial=initial,
        dynamic_ncols=True,
        bar_format=layout,
    )
    bar.pace = pace
    return bar


def _memory() -> str:
    """Resident now, this process and its children: `512 MB`, `1.3 GB`."""
    found = resident_memory()
    return f"{found / 1e6:.0f} MB" if found < 1e9 else f"{found / 1e9:.1f} GB"


def _is_terminal() -> bool:
    """Whether a bar can be drawn. Some pseudo-terminals have no width: on those tqdm draws nothing at all."""
    if not sys.stderr.isatty():
        return False
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError):
        return False


def _write_line(message: str) -> None:
    """One line on stderr, above any bar."""
    tqdm.write(f"{time.strftime('%H:%M:%S')} {printable(message)}", file=sys.stderr)
    sys.stderr.flush()


class LogHandler(logging.Handler):
    """Writes records of `logging` as progress lines, above any bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        _write_line(self.format(record))


class Progress:
    """Makes bars that report to the terminal or log and to `listeners`.

    Args:
        quiet: nothing on the terminal; so it is as well where the level of the logger `wsis` is above INFO.

    Attributes:
        place: gives ` (stage 11 of 34, about 1 h left)`, where the work is in a larger one; said when a stage starts.
    """

    def __init__(self, listeners: Iterable[Listener] = (), quiet: bool = False) -> None:
        self.listeners = list(listeners)
        self.place: Callable[[], str] = str  # nowhere
        self._quiet = quiet or _LOGGER.level > logging.INFO

    def log(self, message: str) -> None:
        """One line, above any bar."""
        if not self._quiet:
            _write_line(message)

    @contextmanager
    def bar(self, total: int, description: str, unit: str = "it", initial: int = 0) -> Iterator[Bar]:
        """A bar for `total` units of which `initial` are done already."""
        bar = Bar(total, description, unit, initial, self.listeners, self._quiet)
        try:
            yield bar
        finally:
            bar.close()

    def track(self, items: Iterable[T], total: int, description: str, unit: str = "it") -> Iterator[T]:
        """Yield `items`, counting each as done when the next is asked for."""
        with self.bar(total, description, unit) as bar:
            for item in items:
                yield item
                bar.update()
