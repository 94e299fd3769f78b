"""What the host waits for, counted by unit of work, kind and place in the code."""

import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType

SITE = f"{Path(__file__).resolve().parents[3]}{os.sep}"
_OWN = f"{Path(__file__).resolve().parent}{os.sep}"
_LIBRARIES = ("mmdet", "mmengine", "mmcv")
OUTSIDE = "-"


class Kind(StrEnum):
    """What is counted. `WAITS` are those in which the host stands still until the device has done all it was given."""

    TO_DEVICE = "copy to the device"
    TO_HOST = "copy to the host"
    VALUE = "item, bool, int, equal"
    SIZE = "size of a result"  # nonzero, boolean index, unique, bincount, nms
    SYNCHRONIZE = "torch.cuda.synchronize"
    # the rest does not wait
    ASYNC_TO_DEVICE = "copy to the device, non_blocking"
    ASYNC_TO_HOST = "copy to the host, non_blocking"
    RANDOM = "random numbers of the device"
    UNORDERED = "sum without an order"
    UNMAPPED = "torch.load without map_location"


WAITS = (Kind.TO_DEVICE, Kind.TO_HOST, Kind.VALUE, Kind.SIZE, Kind.SYNCHRONIZE)


class Counts:
    """Counts by (unit of work, kind, place)."""

    def __init__(self) -> None:
        self.unit = OUTSIDE
        self.at: Counter[tuple[str, str, str]] = Counter()
        self.operations: Counter[str] = Counter()
        self.waits: dict[str, list[dict[str, int]]] = defaultdict(list)  # unit -> of each, kind -> number
        self._now: Counter[str] = Counter()

    def add(self, kind: Kind, what: str = "") -> None:
        """Count one at the place of our code that is running."""
        self.at[self.unit, f"{kind}: {what}" if what else str(kind), place(sys._getframe(1))] += 1
        if kind in WAITS:
            self._now[kind] += 1

    @contextmanager
    def counting(self, unit: str) -> Iterator[None]:
        """Count what follows as one unit of work; one inside of another is not counted as the other."""
        before = self.unit, self._now
        self.unit, self._now = unit, Counter()
        try:
            yield
        finally:
            self.waits[unit].append({str(kind): self._now[kind] for kind in WAITS})
            self.unit, self._now = before

    def write(self, path: Path) -> None:
        """As JSON, the most frequent places first."""
        rows = [
            {"unit": unit, "kind": kind, "place": where, "count": count}
            for (unit, kind, where), count in self.at.most_common()
        ]
        report = {"waits": self.waits, "operations": self.operations, "places": rows}
        path.write_text(json.dumps(report, indent=1))


def place(frame: FrameType | None) -> str:
    """file:line of the innermost frame of this repository, and of the innermost one of MMDetection's inside of it."""
    inner = ""
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(SITE) and not name.startswith(_OWN) and "site-packages" not in name:
            return f"{name[len(SITE) :]}:{frame.f_lineno}" + (f" < {inner}" if inner else "")
        if not inner and "site-packages" in name:
            rest = name.split(f"site-packages{os.sep}")[1]
            if rest.split(os.sep)[0] in _LIBRARIES:
                inner = f"{rest}:{frame.f_lineno}"
        frame = frame.f_back
    return inner or "?"


COUNTS = Counts()
