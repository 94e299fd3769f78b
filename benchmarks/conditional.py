"""Speed and memory of the conditional distribution: ours, its reference and their ratio, from one run.

    .venv/bin/python benchmarks/conditional.py [--device cuda] [--only pooling inference] [--data DEVKIT]

Every pair is first checked to give the same result to 1e-5. Seconds are CPU seconds of one thread, wall time with
--threads above 1 or on CUDA. Regions are random Voronoi cells and ellipses of them, or those of a photograph of --data.
"""

import argparse
import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy loads its BLAS; torch's threads are set below

import conditional_works as works
import torch
from conditional_clock import MEGABYTE, seconds
from conditional_memory import WORKS, measure
from conditional_problems import Sizes
from proposal_cases import Figure, photographs, print_figures
from torch import Tensor

PARTS = ("pooling", "inference", "pairwise", "step", "growth")
COUNTS = (250, 500, 1000, 2000, 4000)
LARGE = 8000  # printed, not held to the growth


@dataclass(frozen=True)
class Case:
    """Where and on what the parts run; `tiny` shrinks all of it for a trial of the benchmark itself."""

    device: torch.device
    photograph: str | None
    tiny: bool

    def sizes(self, height: int, width: int, superpixels: int, proposals: int) -> Sizes:
        """Sizes of a part; K = 10 and four annotated classes."""
        whole = Sizes(height, width, superpixels, proposals, photograph=self.photograph)
        if not self.tiny:
            return whole
        few = max(20, proposals // 25)
        return replace(whole, height=64, width=96, superpixels=60, proposals=few, samples=3, channels=4)

    def share(self, wanted: float) -> float:
        """What a slow reference does of the whole on the processor; its seconds are scaled up."""
        return wanted if self.device.type == "cpu" and not self.tiny else 1.0


def _row(name: str, timed: works.Timed, device: torch.device, bound: float) -> list[Figure]:
    """Time the references, check them against ours, time ours; a line for each, the figure of the first."""
    compared = {}
    for reference, work in timed.references.items():
        results: list[Tensor] = []
        taken = seconds(lambda work=work, kept=results: kept.append(work()), device, repeats=1, warm=False)
        compared[reference] = taken / timed.share, timed.difference(results[0])
    ours = seconds(timed.ours, device)
    for reference, (taken, difference) in compared.items():
        cells = [f"{name}: {timed.what}", f"{1000 * ours:.1f}", reference, f"{1000 * taken:.0f}"]
        print(f"| {' | '.join(cells)} | {taken / ours:.1f} | {difference:.1e} |", flush=True)
    first = next(iter(compared.values()))[0]
    return [Figure(f"{name}, times faster", first / ours, bound, at_least=True)]


def _head() -> None:
    print("\n| | ours ms | reference | its ms | ratio | difference |\n|---|---:|---|---:|---:|---:|")


def _pooling(case: Case) -> list[Figure]:
    share = case.share(0.02)
    print(
        f"\n## Pooling\n\nThe references take {share:.0%} of the proposals; their milliseconds are scaled up."
    )
    sizes = case.sizes(375, 500, 1500, 1000)
    _head()
    figures = _row("pooling", works.pooling(sizes, case.device, share), case.device, 50)
    ours = measure("pooling", sizes, case.device)
    other = measure("pooling", sizes, case.device, "mask x map", share)
    print(
        f"\nPeak memory beyond the maps: ours {ours / MEGABYTE:.1f} MB, mask x map (16 proposals at a time) "
        f"{other / MEGABYTE:.1f} MB."
    )
    return [*figures, Figure("pooling, times less memory", other / max(ours, 1), 20, at_least=True)]


def _inference(case: Case) -> list[Figure]:
    share = case.share(0.1)
    print(
        f"\n## Inference\n\nThe reference solves {share:.0%} of the problems; its milliseconds are scaled up."
    )
    sizes = case.sizes(375, 500, 600, 1000)
    _head()
    return [
        figure
        for name, lead in (("inference", works.TRAINED), ("inference, untrained", works.AMPLE))
        for figure in _row(name, works.inference(sizes, case.device, lead, share), case.device, 50)
    ]


def _pairwise(case: Case) -> list[Figure]:
    print("\n## Pairwise")
    _head()
    return _row("pairwise", works.pairwise(case.sizes(192, 256, 600, 1000), case.device), case.device, 20)


def _step(case: Case) -> list[Figure]:
    print("\n## One training step\n\nThe reference is a part of the work, the network's own.")
    print("\n| | step ms | network alone ms | ratio |\n|---|---:|---:|---:|")
    figures = []
    for proposals in (300, 1000):
        timed = works.step(case.sizes(288, 384, 600, proposals), case.device, batch=1 if case.tiny else 4)
        repeats = 1 if case.tiny else 5
        ours, (alone,) = (
            seconds(timed.ours, case.device, repeats),
            [seconds(work, case.device, repeats) for work in timed.references.values()],
        )
        print(f"| {timed.what} | {1000 * ours:.0f} | {1000 * alone:.0f} | {ours / alone:.2f} |")
        figures.append(Figure(f"step over the network alone, P = {proposals}", ours / alone, 1.5))
    return figures


def _growth(case: Case) -> list[Figure]:
    print(
        "\n## Growth\n\nMilliseconds, and peak MB beyond the inputs, at 500x375, S = 600. Pooling: 50 maps; inference: "
        "100 problems;\nupdates: three iterations, forward and backward; graph: neighbours, separations, containment."
    )
    print(f"\n| P | {' | '.join(f'{name} ms | MB' for name in WORKS)} |\n|---:|{'---:|' * (2 * len(WORKS))}")
    taken: dict[tuple[str, int], float] = {}
    counts = COUNTS[:2] if case.tiny else COUNTS
    for count in counts if case.tiny else (*counts, LARGE):
        cells = []
        for name, make in WORKS.items():
            sizes = replace(case.sizes(375, 500, 600, count), channels=5)
            taken[name, count] = seconds(make(sizes, case.device).ours, case.device)
            cells.append(
                f"{1000 * taken[name, count]:.1f} | {measure(name, sizes, case.device) / MEGABYTE:.1f}"
            )
        print(f"| {count} | {' | '.join(cells)} |", flush=True)
    first, last = counts[0], counts[-1]
    return [
        Figure(
            f"{name}, growth of its time over that of P, {first} to {last}",
            taken[name, last] / taken[name, first] / (last / first),
            1,
        )
        for name in WORKS
        if name != "graph"  # looks at all pairs, once an image
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--data", type=Path, help="VOC devkit whose first val photograph gives the regions")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="all sizes shrunk, to try the benchmark itself")
    return parser.parse_args()


def main() -> None:
    """Command line."""
    options = _options()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    photograph = None if options.data is None else str(photographs(options.data, "val", 1)[0].path)
    case = Case(device, photograph, options.tiny)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    print(
        f"# Conditional distribution: {where}, {options.threads} thread(s), {photograph or 'random regions'}"
    )
    runs = {
        "pooling": _pooling,
        "inference": _inference,
        "pairwise": _pairwise,
        "step": _step,
        "growth": _growth,
    }
    print_figures([figure for part in PARTS if part in options.only for figure in runs[part](case)])


if __name__ == "__main__":
    main()
