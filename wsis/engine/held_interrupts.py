"""Ctrl-C that waits until the step at hand is done."""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from torch import distributed

# Signals within it are one: a scheduler signals every process of a run, and the first of them passes it on.
_ONE_SECONDS = 1.0


class HeldInterrupts:
    """Inside the block Ctrl-C, and SIGTERM where it means the same, is remembered and not raised; another one, a second
    later or more, is raised at once.

    The block never ends without it: one that comes after the last look at `came` is raised at the end, and so it is
    where the block fails later, which a signal to all processes of a run may well have caused.

    Only where Python's own handler would raise it, in the main thread, and not in a process of a group: the others
    would wait for it in their next collective.
    """

    def __init__(self) -> None:
        self._since = 0.0
        self._held: KeyboardInterrupt | None = None
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}

    @property
    def came(self) -> bool:
        """Whether one is remembered."""
        return self._held is not None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread() and not distributed.is_initialized():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is signal.default_int_handler:
                    self._before[number] = signal.default_int_handler
                    signal.signal(number, self._hold)
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._held is not None and (error is None or isinstance(error, Exception)):
            raise self._held from error

    def _hold(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._held is None:
            self._since, self._held = now, KeyboardInterrupt()
        elif now - self._since >= _ONE_SECONDS:
            try:
                raise self._held
            except KeyboardInterrupt:  # what this one comes after, as it would without this block
                signal.default_int_handler(number, frame)
