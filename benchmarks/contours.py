"""Quality and speed of a contour detector on BSDS500: ODS, OIS, AP and seconds an image.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/contours.py --data ../shared/data/bsds500 --detector lab_gradient

Contours at several scales are averaged at the image's own size. CPU seconds of the detector alone, one thread.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy loads its BLAS

import cv2
import numpy as np
import torch
from boundary_scores import BoundaryScores, boundary_counts, even_thresholds, summarise
from numpy.typing import NDArray
from PIL import Image

from wsis.method.proposals.config import ContourName, MCGConfig
from wsis.method.proposals.contours.detectors import ContourDetector, build_detector
from wsis.readers.formats.bsds import boundary_files


@dataclass(frozen=True)
class ContourScore:
    """Scores over the images, and the detector's CPU seconds [I] for each, all scales together."""

    scores: BoundaryScores
    seconds: NDArray[np.float64]


def _one_image(
    files: tuple[Path, Path],
    detector: ContourDetector,
    scales: Sequence[float],
    thresholds: NDArray[np.float64],
) -> tuple[NDArray[np.int64], float]:
    """Counts [T, 4] of one photograph, and the CPU seconds of the detector."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    image = np.asarray(Image.open(files[0]).convert("RGB"))
    annotators = np.asarray(Image.open(files[1]))
    start = time.process_time()
    contour = np.mean([detector(image, scale) for scale in scales], axis=0)
    seconds = time.process_time() - start
    contour = np.clip(contour, 0, 1)  # resizing and averaging may round past 1
    return boundary_counts(contour, annotators, thresholds, where=files[0].stem), seconds


def score(
    detector: ContourDetector,
    root: Path,
    scales: Sequence[float],
    split: str = "val",
    limit: int | None = None,
    jobs: int = 1,
    thresholds: int = 30,
) -> ContourScore:
    """Evaluate a detector on the first ``limit`` photographs of a split (by name), over ``jobs`` processes.

    Raises:
        InputError: no photograph or no threshold; DataError where files are missing.
    """
    cuts = even_thresholds(thresholds)
    files = boundary_files(Path(root), (split,))[:limit]
    work = partial(_one_image, detector=detector, scales=tuple(scales), thresholds=cuts)
    if jobs > 1:
        with multiprocessing.get_context("spawn").Pool(jobs) as pool:
            results = pool.map(work, files, chunksize=1)
    else:
        results = [work(pair) for pair in files]
    counts = np.array([counted for counted, _ in results]).reshape(len(results), len(cuts), 4)
    return ContourScore(summarise(counts, cuts), np.array([seconds for _, seconds in results]))


def report(name: str, result: ContourScore) -> None:
    """Print the row of a detector."""
    scores, seconds = result.scores, result.seconds
    print(f"{name}: {scores.num_images} photographs")
    print("| ODS | OIS | AP | precision | recall | threshold | s an image (median, slowest) |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {scores.ods.f_measure:.3f} | {scores.ois.f_measure:.3f} | {scores.ap:.3f} "
        f"| {scores.ods.precision:.3f} | {scores.ods.recall:.3f} | {scores.ods.threshold:.3f} "
        f"| {seconds.mean():.3f} ({np.median(seconds):.3f}, {seconds.max():.3f}) |"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with images/ and boundaries/")
    parser.add_argument("--split", default="val")
    parser.add_argument("--detector", choices=get_args(ContourName), default="learned")
    parser.add_argument("--model", type=Path, help="weights, where not those that ship with wsis")
    parser.add_argument("--scales", type=float, nargs="+", help="default: the detector's own")
    parser.add_argument("--limit", type=int, help="only the first photographs")
    parser.add_argument("--thresholds", type=int, default=30, help="the published figures take 99")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    args = parser.parse_args()
    detector = build_detector(MCGConfig(contour=args.detector, contour_model=args.model))
    scales = tuple(args.scales or detector.scales)
    result = score(detector, args.data, scales, args.split, args.limit, args.jobs, args.thresholds)
    name = " ".join(map(str, (args.detector, args.model or "", args.split, "scales", *scales)))
    report(name.replace("  ", " "), result)


if __name__ == "__main__":
    main()
