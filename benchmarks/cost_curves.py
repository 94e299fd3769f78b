"""What each stage costs as images, proposals (P) and samples (K) grow: CPU time, peak memory, bytes in the store.

    OMP_NUM_THREADS=1 python benchmarks/cost_curves.py --images 100 1000 10000 --proposals 30 100 300 --samples 1 5 10

Generated scenes of 64 x 80 pixels and networks of their size, so that 10,000 of them take minutes: what is looked for
is how a figure grows, not its size. Stages run in processes of their own, one worker each. Trainings have a fixed
number of steps: what grows in them is what they do once an image. Prints Markdown; growth is the exponent between the
last two columns (1: in proportion). P and K are varied with the fewest images.
"""

import argparse
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from data_contracts.runs import load_run
from data_contracts.store import Store

_SETTINGS = {
    "data.scenes": "train={images} val=16 height=64 width=80 max_instances=3 size=[0.3,0.6]",
    "data": "format=scenes",
    "prm_classifier": "image_size=64 test_size=64 epochs=0.001 min_steps=40 batch_size=8",
    "prm_seeds": "image_size=64",
    "proposals": "max_side=80 num_proposals={proposals}",
    "conditional": "image_size=64 pretrain_epochs=0.001 epochs=0.001 min_pretrain_steps=20 min_steps=20 k={samples} "
    "max_proposals={proposals}",
    "prediction": "image_size=64 steps=40",
    "execution": "cores=2 workers=1",
}


class Cost(NamedTuple):
    """CPU seconds, peak bytes of memory, bytes in the store."""

    seconds: float
    memory: float
    stored: float


def measure(store: Path, images: int, proposals: int, samples: int) -> dict[str, Cost]:
    """Cost of each stage of a run, and of commands that look at it."""
    name = f"n{images}p{proposals}k{samples}"
    options = ["--set", "outer_iterations=1"]
    for section, settings in _SETTINGS.items():
        for setting in settings.format(images=images, proposals=proposals, samples=samples).split():
            options += ["--set", f"{section}.{setting}"]
    costs = {"the whole run": _command(store, "run", "voc_lite", "--name", name, *options)}
    opened = Store(str(store))
    for key, entry in load_run(opened, name).entries.items():
        manifest = opened.open(entry.stage, entry.fingerprint, verify=False).manifest
        stored = sum(file.bytes for file in manifest.files.values())
        costs[key] = Cost(manifest.cpu_seconds, manifest.peak_memory_bytes, stored)
    for command in (["results", name], ["verify"], ["report", name, "--out", str(store / "page.html")]):
        costs[f"`wsis {command[0]}`"] = _command(store, *command)
    return costs


def _command(store: Path, *arguments: str) -> Cost:
    """CPU seconds and peak memory of a command and all that it starts."""
    command = [sys.executable, "-m", "wsis.cli.main", *arguments, "--store", str(store)]
    spent, peak = _children_seconds(), 0
    with (store.parent / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            try:
                family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                peak = max(peak, sum(one.memory_info().rss for one in family))
            except psutil.NoSuchProcess:
                continue
            time.sleep(0.2)
    if process.returncode:
        text = (store.parent / "log").read_text()[-2000:]
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {text}")
    return Cost(_children_seconds() - spent, peak, 0)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(title: str, numbers: Sequence[int], found: Sequence[dict[str, Cost]]) -> str:
    """Markdown of one variable."""
    lines = [f"**{title}**", ""]
    columns = [f"{what}, {n:,}" for what in ("CPU s", "MB", "stored MB") for n in numbers]
    lines += [
        "| | " + " | ".join([*columns, "growth of time, of bytes"]) + " |",
        "|---|" + "--:|" * (len(columns) + 1),
    ]
    for key in found[-1]:
        costs = [one[key] for one in found]
        cells = [f"{c.seconds:.1f}" for c in costs] + [f"{c.memory / 1e6:.0f}" for c in costs]
        cells += [f"{c.stored / 1e6:.2f}" for c in costs]
        times, stored = [c.seconds for c in costs], [c.stored for c in costs]
        cells.append(f"{_growth(numbers, times)}, {_growth(numbers, stored)}")
        lines.append(f"| {key} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _growth(numbers: Sequence[int], values: Sequence[float]) -> str:
    if len(numbers) < 2 or min(values[-2:]) <= 0:
        return ""
    return f"{math.log(values[-1] / values[-2]) / math.log(numbers[-1] / numbers[-2]):.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--proposals", type=int, nargs="*", default=[30, 100, 300])
    parser.add_argument("--samples", type=int, nargs="*", default=[1, 5, 10])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        few, usual, many = given.images[0], 100, 5
        rows = [measure(store, n, usual, many) for n in given.images]
        print(table("Images", given.images, rows), flush=True)
        for title, numbers, of in (
            ("Proposals", given.proposals, lambda p: measure(store, few, p, many)),
            ("Samples", given.samples, lambda k: measure(store, few, usual, k)),
        ):
            if numbers:
                print("\n" + table(title, numbers, [of(n) for n in numbers]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
