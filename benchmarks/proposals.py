"""Proposals on a VOC devkit or a COCO folder: quality, speed, memory, growth, store. Masks measure alone.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/proposals.py --data ../shared/data/voc-animals/VOCdevkit/VOC2012
    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/proposals.py --data ../shared/data/crowds --parts quality

J_i is the mean over instances of the best IoU among the first N proposals, void pixels left out. Seconds are CPU
seconds of one thread. --preview N --out DIR draws contours, UCM and the first proposals of N photographs.
"""

import argparse
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy loads its BLAS

import cv2
import proposal_memory
import proposal_quality
import proposal_speed
import proposal_store
import torch
from proposal_cases import VOC_SIZE, Case, Figure, photographs, print_figures, resized, spread

from stages.proposals import proposals

PARTS = ("quality", "speed", "memory", "growth", "store")


def _parts(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := sorted(set(chosen) - set(PARTS)):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(PARTS)}, got {','.join(unknown)}")
    return [part for part in PARTS if part in chosen]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = proposals.Config()
    parser.add_argument("--data", type=Path, required=True, help="VOC devkit, or a folder with COCO files")
    parser.add_argument("--parts", type=_parts, default=list(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int, help="so many photographs, spread over the split")
    parser.add_argument("--timed", type=int, default=20, help="photographs for all parts but quality")
    parser.add_argument(
        "--voc-sized",
        type=Path,
        metavar="DIR",
        help="photographs to time at 500x375; default: the split's, enlarged",
    )
    parser.add_argument("--contour", choices=("learned", "lab_gradient"))
    parser.add_argument("--contour-model", type=Path, help="weights, where not those that ship with wsis")
    parser.add_argument("--max-side", type=int, default=default.max_side)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the growth as a PNG")
    parser.add_argument("--preview", type=int, default=0, help="number of photographs to draw")
    parser.add_argument("--out", type=Path, default=Path("previews"), help="folder of the previews")
    return parser.parse_args()


def _case(options: argparse.Namespace, folder: Path) -> Case:
    """The case that the options name; files made for it go into ``folder``."""
    named = {"contour": options.contour, "contour_model": options.contour_model}
    chosen = {name: value for name, value in named.items() if value is not None}
    config = proposals.Config(max_side=options.max_side, **chosen)
    chosen_ones = photographs(options.data, options.split, options.limit)
    timed = spread([one.path for one in chosen_ones], options.timed)
    sources, origin = timed, "the split's, cut and resized"
    if options.voc_sized is not None:
        found = sorted(p for p in options.voc_sized.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
        sources, origin = spread(found, options.timed), f"of {options.voc_sized}, cut and resized"
    if not sources:
        raise SystemExit(f"--voc-sized: expected a folder with JPEG files, got {options.voc_sized}")
    return Case(chosen_ones, timed, resized(sources, VOC_SIZE, folder / "voc_sized"), origin, config)


def main() -> None:
    """Command line."""
    options = _options()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        case = _case(options, Path(folder))
        print(f"# Proposals: {options.split}, {platform.machine()}, one thread")
        print("\nSupervised by " + "; ".join(proposals.supervision(case.config)) + ".")
        runs: dict[str, Callable[[], list[Figure]]] = {
            "quality": lambda: proposal_quality.run(case, options.preview, options.out),
            "speed": lambda: proposal_speed.run_speed(case),
            "memory": lambda: proposal_memory.run(case),
            "growth": lambda: proposal_speed.run_growth(case, options.plot),
            "store": lambda: proposal_store.run(case),
        }
        figures = [figure for part in options.parts for figure in runs[part]()]
    if figures:
        print_figures(figures)


if __name__ == "__main__":
    main()
