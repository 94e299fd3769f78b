"""Quality and speed of the proposals on a VOC devkit; masks are read for measuring alone.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/proposals.py --data ../shared/data/voc-animals/VOCdevkit/VOC2012

J_i is the mean over instances of the best IoU among the first N proposals, void pixels left out. One thread,
CPU seconds. --preview N --out DIR draws contours, UCM and the first proposals of N photographs.
"""

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy loads its BLAS

import cv2
import numpy as np
from PIL import Image

from reporting.proposals import proposal_sheet
from wsis.masks.superpixels import iou_with_masks
from wsis.mcg import MCGConfig, ProposalSet, generate
from wsis.mcg.maps import contour_map

COUNTS = (100, 500, 1000)
AREAS = (("under 5 %", 0.0, 0.05), ("5-15 %", 0.05, 0.15), ("over 15 %", 0.15, 1.01))


def photographs(root: Path, split: str, limit: int | None) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Image id, RGB image [H, W, 3], instance numbers [H, W] (255 void)."""
    names = (root / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()
    for name in names[:limit]:
        image = np.asarray(Image.open(root / "JPEGImages" / f"{name}.jpg").convert("RGB"))
        yield name, image, np.asarray(Image.open(root / "SegmentationObject" / f"{name}.png"))


def measure(proposals: ProposalSet, objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best IoU [len(COUNTS), G] of each instance and its share of the image [G]."""
    numbers = [k for k in np.unique(objects) if k not in (0, 255)]
    masks = np.stack([objects == k for k in numbers]) if numbers else np.zeros((0, *objects.shape), bool)
    iou = iou_with_masks(proposals.superpixels, proposals.membership, masks, objects == 255)
    return np.stack([iou[:n].max(axis=0) for n in COUNTS]), masks.mean(axis=(1, 2))


def report(name: str, best: np.ndarray, share: np.ndarray, seconds: list[float], sizes: list[int]) -> None:
    """Print one block of the table."""
    print(
        f"\n{name}: {len(sizes)} photographs, {len(share)} instances, {np.mean(sizes):.0f} proposals an image, ",
        end="",
    )
    print(f"{np.mean(seconds):.3f} s an image (median {np.median(seconds):.3f}, slowest {max(seconds):.3f})")
    groups = [(label, (share >= low) & (share < high)) for label, low, high in AREAS]
    head = " | ".join(f"{label} ({int(group.sum())})" for label, group in groups)
    print(f"|    N | J_i  | recall .5 | recall .7 | {head} |\n|---:|---|---|---|---|---|---|")
    for n, row in zip(COUNTS, best, strict=True):
        parts = " | ".join(f"{row[group].mean():.3f}" if group.any() else "-" for _, group in groups)
        print(
            f"| {n:4d} | {row.mean():.3f} | {(row >= 0.5).mean():.3f} | {(row >= 0.7).mean():.3f} | {parts} |"
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--max-side", type=int, default=MCGConfig.max_side)
    parser.add_argument("--plain", action="store_true", help="also without region contrast and appearance")
    parser.add_argument("--preview", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("previews"))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    ours = MCGConfig(max_side=options.max_side)
    rows = {"Lab gradient and appearance": ours}
    if options.plain:
        rows["Lab gradient alone"] = replace(ours, region_contrast=0.0)
    for name, config in rows.items():
        best, share, seconds, sizes = [], [], [], []
        for index, (image_id, image, objects) in enumerate(
            photographs(options.data, options.split, options.limit)
        ):
            start = time.process_time()
            proposals = generate(image, config)
            seconds.append(time.process_time() - start)
            sizes.append(len(proposals))
            found, areas = measure(proposals, objects)
            best.append(found)
            share.append(areas)
            if config is ours and index < options.preview:
                options.out.mkdir(parents=True, exist_ok=True)
                sheet = proposal_sheet(image, contour_map(image, config), proposals, image_id)
                Image.fromarray(sheet).save(options.out / f"{image_id}.png")
        report(name, np.concatenate(best, axis=1), np.concatenate(share), seconds, sizes)


if __name__ == "__main__":
    main()
