"""How often the host waits for a CUDA device in one unit of work: a table of all units, and their most frequent places.

    python benchmarks/synchronisations.py                     # batches and sizes of the demo, on few scenes
    python benchmarks/synchronisations.py --places 8          # and where in the code
    python benchmarks/synchronisations.py --tiny
    python benchmarks/synchronisations.py --set prediction.batch_size=16 --set data.scenes.train=20

The device is pretended (tests/gpu/pretend), so nothing is said about time; needs g++. Counts depend on the data:
Algorithm 1 takes as many rounds as it picks proposals, MMDetection reads a number for each instance. Figures are
medians over the units, of operations the mean.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from tests.gpu.pretended import SHORT, TINY, Pretended, native, run

# The demo's networks, sizes and batches; two outer iterations, because the second has detections to learn from.
DEMO = (
    *("data.scenes.train=8", "data.scenes.val=4", "outer_iterations=2", "prm_classifier.epochs=2"),
    *("prm_classifier.min_steps=0", "conditional.min_pretrain_steps=0", "conditional.min_steps=0"),
    *(
        "conditional.pretrain_epochs=3",
        "conditional.epochs=3",
        "prediction.steps=6",
        "prediction.later_steps=4",
    ),
    *(
        "prediction.batch_size=4",
        "conditional.batch_size=4",
        "execution.workers=1",
        "prediction.data_workers=0",
    ),
)


def measure(tiny: bool, settings: Sequence[str] = ()) -> Pretended:
    """A short run of the demo, or of the tests' tiny run, with other settings, in a store that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if tiny:
            return run(root, root / "store", *SHORT, *settings, config=TINY)
        return run(root, root / "store", *DEMO, *settings, config="demo")


def table(found: Pretended, places: int) -> str:
    """A Markdown table, and for each unit the places that wait most often."""
    lines = [
        "| unit of work | units | copies to the device | reads | together | at most | operations |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for unit, waits in found.waits().items():
        figures = (waits.units, waits.copies, waits.reads, waits.total, waits.most, waits.operations)
        lines.append(f"| {unit} | {' | '.join(f'{n:,}' for n in figures)} |")
        lines += _places(found, unit, waits.units)[:places]
    return "\n".join(lines)


def _places(found: Pretended, unit: str, units: int) -> list[str]:
    waiting = ("copy to the", "item", "size of", "torch.cuda.sync")
    return [
        f"| – {row['count'] / units:.1f} × {row['kind']}, {row['place']} | | | | | | |"
        for row in found.report["places"]
        if row["unit"] == unit and row["kind"].startswith(waiting) and "non_blocking" not in row["kind"]
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="the tiny run of the tests: half a minute")
    parser.add_argument("--set", action="append", default=[], help="another setting of the run: key=value")
    parser.add_argument("--places", type=int, default=0, help="of each unit, where the host waits most often")
    arguments = parser.parse_args()
    if (why := native.missing()) is not None:
        print(f"no CUDA device can be pretended here: {why}", file=sys.stderr)
        return 1
    print(table(measure(arguments.tiny, arguments.set), arguments.places))
    return 0


if __name__ == "__main__":
    sys.exit(main())
