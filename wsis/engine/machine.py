"""What a stage's execution costs and on what machine: for manifests and progress, never for a fingerprint."""

import platform
import resource
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import psutil

from data_contracts.printable import counted
from wsis.engine.settings import cores


def environment() -> dict[str, str]:
    """Versions and machine, for the record; not part of any fingerprint."""
    names = ("torch", "mmdet", "mmengine", "numpy", "zarr", "opencv-python", "higra")
    return {
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {cores()} cores",
        "processor": processor(),
        **{name: _version(name) for name in names},
    }


def processor() -> str:
    """The processor's name: another one may add in another order, and so give other bits."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def free_cores() -> str:
    """`2 free cores`: what an expected time assumes. Other work on these cores makes it longer."""
    return counted(cores(), "free core")


def available_memory() -> int:
    """Bytes that this process may still take: of the machine, and of its container."""
    free = psutil.virtual_memory().available
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()).isdecimal():
        free = min(free, int(text) - int(used.read_text()) + _reclaimable())
    return int(free)


def _reclaimable() -> int:
    """Bytes of files that the container's count holds and gives back when they are needed."""
    statistics = Path("/sys/fs/cgroup/memory.stat")
    lines = statistics.read_text().splitlines() if statistics.is_file() else []
    return sum(int(line.split()[1]) for line in lines if line.split()[0] == "inactive_file")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def cpu_seconds() -> float:
    """CPU seconds of this process and its finished children."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def resident_memory() -> int:
    """Resident bytes of this process and its descendants. Of pages that may be shared, as those of libraries, the most
    that one of them has are counted: the kernel's own shares take it ten milliseconds a process."""
    this, own, shared = psutil.Process(), 0, 0
    for process in (this, *this.children(recursive=True)):
        with suppress(psutil.Error):  # it ended meanwhile, or may not be looked at
            memory = process.memory_info()
            of_others = int(getattr(memory, "shared", 0))  # Linux tells it
            own, shared = own + memory.rss - of_others, max(shared, of_others)
    return own + shared


def reset_peak_memory() -> None:
    """Let `peak_memory` count from here, where the system allows it."""
    if sys.platform == "linux":
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except PermissionError:
            return  # some containers forbid it: the peak is then that of the process so far


def peak_memory() -> int:
    """Peak resident bytes of this process, since the stage began where the system lets it be reset."""
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
