"""Seconds and peak memory of a function, on the processor and on CUDA."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import torch

MEGABYTE = 1e6


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 3, warm: bool = True) -> float:
    """Least of some repeats: CPU seconds on one thread, which others' work does not lengthen, else wall time."""
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    taken = []
    for _ in range(repeats + warm):
        synchronise(device)
        start = clock()
        work()
        synchronise(device)
        taken.append(clock() - start)
    return min(taken[int(warm) :])


def synchronise(device: torch.device) -> None:
    """Wait for what was started on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """What `work` needs at its peak beyond what was there; on the processor in a process that did little before.

    There it is the growth of the resident set, whose high-water mark Linux lets a process reset.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        kept = work()
        torch.cuda.synchronize(device)
        del kept
        return torch.cuda.max_memory_allocated(device) - before
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    kept = work()
    del kept
    return _status("VmHWM") - before


def _status(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise SystemExit(f"/proc/self/status: expected {field}")
    return 1024 * int(found[1])
