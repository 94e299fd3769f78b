"""Peak memory of a worker process: this file is run again as a process of its own, which knows nothing else.

Its arguments are settings of the stage `proposals` as JSON and the photographs; it decodes them, generates their
proposals and makes the records of the store, as a worker of the stage does, and prints what it took as JSON.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proposal_cases import Case, Figure

    from stages.proposals import proposals

MEGABYTE = 1e6
LARGE = (4000, 3000)  # width, height


@dataclass(frozen=True)
class Worker:
    """Peak resident bytes of a worker, those before the first photograph, and CPU seconds of each photograph."""

    peak: int
    before: int
    seconds: Sequence[float]


def work(settings: str, paths: Sequence[str]) -> Worker:
    """What a worker of the stage does, in this process."""
    import cv2
    import torch

    from stages.proposals import proposals
    from wsis.engine.machine import peak_memory
    from wsis.method.proposals import generate
    from wsis.method.proposals.contours.detectors import build_detector
    from wsis.readers.files.images import decode_image

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    mcg = proposals.Config.model_validate_json(settings)
    detector = build_detector(mcg)
    before, seconds = peak_memory(), []
    for path in paths:
        start = time.process_time()
        image = decode_image(Path(path).read_bytes(), path)
        generate(image, mcg, detector).to_record()
        seconds.append(time.process_time() - start)
    return Worker(peak_memory(), before, seconds)


def measure(config: "proposals.Config", paths: Sequence[Path]) -> Worker:
    """:func:`work` in a new process with one thread."""
    command = [sys.executable, str(Path(__file__)), config.model_dump_json(), *map(str, paths)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return Worker(**json.loads(done.stdout))


def run(case: "Case") -> "list[Figure]":
    """Print the part; its figures to reach."""
    from proposal_cases import Figure, resized

    side, width, height = case.config.max_side, *LARGE
    default = measure(case.config, case.timed)
    full = measure(case.voc_config, case.voc_sized)
    with tempfile.TemporaryDirectory() as folder:
        large = measure(case.config, resized(case.timed[:1], LARGE, Path(folder) / "large"))
    print("\n## Memory\n\nPeak resident memory of a worker process (a process of its own).\n")
    print("| | photographs | before the first MB | peak MB | s an image, decoded and packed |")
    print("|---|---:|---:|---:|---:|")
    for name, one in (
        (f"{side} px", default),
        ("500x375", full),
        (f"{width:,} x {height:,} at {side} px", large),
    ):
        mean = sum(one.seconds) / len(one.seconds)
        memory = f"{one.before / MEGABYTE:.0f} | {one.peak / MEGABYTE:.0f}"
        print(f"| {name} | {len(one.seconds)} | {memory} | {mean:.2f} |")
    return [
        Figure(f"peak memory of a worker, {side} px", default.peak / MEGABYTE, 600, unit=" MB"),
        Figure("peak memory of a worker, 500x375", full.peak / MEGABYTE, 600, unit=" MB"),
        Figure(f"a photograph of {width:,} x {height:,}", max(large.seconds), 10, unit=" s"),
    ]


if __name__ == "__main__":
    print(json.dumps(vars(work(sys.argv[1], sys.argv[2:]))))
