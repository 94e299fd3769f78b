"""Peak memory of a part of `benchmarks/conditional.py`: on the processor this file is run as a process of its own.

Its arguments are the work's name, the reference's name or nothing for ours, and the work's arguments as JSON.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import conditional_works as works
import torch
from conditional_clock import peak_bytes
from conditional_problems import Sizes

WORKS: dict[str, Callable[..., works.Timed]] = {
    "pooling": works.pooling,
    "inference": partial(works.inference, background=works.TRAINED),
    "updates": works.updates,
    "graph": works.graph_building,
}
_TINY = 40  # proposals of a run before the one that is measured


def measure(name: str, sizes: Sizes, device: torch.device, reference: str = "", share: float = 1.0) -> int:
    """Peak bytes of a work, or of one of its references, above its inputs."""
    if device.type != "cpu":
        return _measure(name, sizes, device, reference, share)
    command = [sys.executable, str(Path(__file__)), name, reference, json.dumps([asdict(sizes), share])]
    # Freed memory goes back at once: what was used while the inputs were made would hide what the work takes.
    given_back = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    environment = {**os.environ, **given_back, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return int(done.stdout)


def _measure(name: str, sizes: Sizes, device: torch.device, reference: str, share: float) -> int:
    made = WORKS[name](sizes, device) if share == 1.0 else WORKS[name](sizes, device, share=share)
    return peak_bytes(made.references[reference] if reference else made.ours, device)


if __name__ == "__main__":
    settings, part = json.loads(sys.argv[3])
    asked = Sizes(**settings)
    torch.set_num_threads(1)
    small = replace(asked, height=48, width=64, superpixels=_TINY, proposals=_TINY)
    _measure(
        sys.argv[1], small, torch.device("cpu"), sys.argv[2], part
    )  # loads what is loaded at the first use
    print(_measure(sys.argv[1], asked, torch.device("cpu"), sys.argv[2], part))
