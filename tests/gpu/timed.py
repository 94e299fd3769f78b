"""`python -m tests.gpu.timed REPORT.json ARGUMENTS`: `wsis ARGUMENTS`, with time and GPU memory of each unit of work.

The report: unit -> of each [seconds, CPU seconds of this process, peak bytes of GPU memory]. It is written whatever
the end.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from tests.gpu import units

TAKEN: dict[str, list[list[float]]] = defaultdict(list)


@contextmanager
def timing(unit: str) -> Iterator[None]:
    """Take what follows as one unit; the device is waited for at its end."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    began, busy = time.perf_counter(), time.process_time()
    yield
    if cuda:
        torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() if cuda else 0
    TAKEN[unit].append([time.perf_counter() - began, time.process_time() - busy, peak])


def main() -> None:
    """Run the command."""
    from wsis.cli.main import main as command
    from wsis.engine import batches

    report, sys.argv = Path(sys.argv[1]), ["wsis", *sys.argv[2:]]
    batches._FEW_IMAGES = 1  # prepare steps ahead, as of thousands of images
    units.install(timing)
    try:
        command()
    finally:
        report.write_text(json.dumps(TAKEN))


if __name__ == "__main__":
    main()
