"""Memory in use now, for progress lines."""

import os
import sys
from pathlib import Path

_PROC = Path("/proc")


def resident_memory() -> int | None:
    """Resident bytes of this process and its descendants, pages that several share counted once.

    None where the system does not tell (other than Linux). Takes milliseconds: not for every step.
    """
    if sys.platform != "linux":
        return None
    own = _proportional("self")
    return None if own is None else own + sum(_proportional(child) or 0 for child in _descendants("self"))


def _descendants(process: str) -> list[str]:
    found = []
    try:
        lists = [path.read_text() for path in (_PROC / process / "task").glob("*/children")]
    except OSError:  # it ended meanwhile, or the kernel keeps no such list
        return []
    for child in " ".join(lists).split():
        found += [child, *_descendants(child)]
    return found


def _proportional(process: str) -> int | None:
    """The process's share of the pages it maps (Pss), all of them where the kernel does not tell shares; None
    where it ended or may not be read."""
    try:
        for line in (_PROC / process / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except FileNotFoundError:
        pass  # an older kernel, or a container's: as below
    except OSError:
        return None
    try:
        return int((_PROC / process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
