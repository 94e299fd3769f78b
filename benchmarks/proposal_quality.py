"""Quality of proposals: J_i and recall at 100, 300 and 1,000, also by the object's area, void left out."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from proposal_cases import Case, Figure, Photograph, changed

from stages.proposals import proposals
from wsis.method.masks.superpixels import iou_with_masks
from wsis.method.proposals import ProposalSet, generate
from wsis.method.proposals.contours.detectors import build_detector
from wsis.method.proposals.maps import contour_map
from wsis.reporting.pictures.proposal_sheet import proposal_sheet

COUNTS = (100, 300, 1000)
AREAS = (
    ("under 0.25 %", 0.0, 0.0025),
    ("0.25-1 %", 0.0025, 0.01),
    ("1-5 %", 0.01, 0.05),
    ("5-15 %", 0.05, 0.15),
    ("over 15 %", 0.15, 1.01),
)
LEARNED, APPEARANCE = "learned contours", "Lab gradient and appearance"

# Pont-Tuset et al., "Multiscale Combinatorial Grouping for Image Segmentation and Object Proposal Generation"
# (arXiv 1503.00848, TPAMI 2017): N, J_i, recall at .5 and .7 on SegVOC12 val, all 20 classes, as in the data of
# its figures (github.com/jponttuset/mcg, arxiv-paper/data/obj_cands/pascal2012_val2012_{MCG,SCG}.txt).
PUBLISHED = {
    "MCG": ((100, 0.638, 0.701, 0.500), (500, 0.726, 0.819, 0.622), (999, 0.757, 0.859, 0.670)),
    "SCG": ((100, 0.608, 0.669, 0.451), (500, 0.701, 0.795, 0.580), (977, 0.728, 0.831, 0.625)),
}
# The same paper, seconds an image on one core: contours, hierarchies, candidates, total.
PUBLISHED_SECONDS = {"MCG": (4.6, 20.5, 17.0, 42.2), "SCG": (1.0, 2.7, 2.6, 6.2)}


@dataclass(frozen=True)
class Quality:
    """Best IoU [len(COUNTS), G] of each instance, its share of the image [G]; by image, CPU seconds and number
    of proposals."""

    best: NDArray[np.floating]
    share: NDArray[np.floating]
    seconds: Sequence[float]
    sizes: Sequence[int]


def rows(config: proposals.Config) -> dict[str, proposals.Config]:
    """Name -> settings of each row of the table; the first are ``config``."""
    lab = changed(config, contour="lab_gradient", contour_model=None)
    first = LEARNED if config.contour == "learned" else config.contour
    return {first: config, APPEARANCE: lab}


def best_ious(
    found: ProposalSet, masks: NDArray[np.bool_], void: NDArray[np.bool_]
) -> tuple[np.ndarray, np.ndarray]:
    """Best IoU [len(COUNTS), G] of each instance, masks [G, H, W], and its share of the image [G]."""
    iou = iou_with_masks(found.superpixels, found.membership, masks, void)
    return np.stack([iou[:n].max(axis=0) for n in COUNTS]), masks.mean(axis=(1, 2))


def measure(config: proposals.Config, photographs: Sequence[Photograph], previews: int, out: Path) -> Quality:
    """Quality over the photographs; sheets of the first ``previews`` into ``out``."""
    mcg = config
    detector = build_detector(mcg)
    best, share, seconds, sizes = [], [], [], []
    for index, one in enumerate(photographs):
        image = one.image
        start = time.process_time()
        found = generate(image, mcg, detector)
        seconds.append(time.process_time() - start)
        sizes.append(len(found))
        ious, areas = best_ious(found, *one.truth())
        best.append(ious)
        share.append(areas)
        if index < previews:
            drawn = proposal_sheet(image, contour_map(image, mcg, detector), found, one.name)
            out.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn).save(out / f"{one.name}.png")
    return Quality(np.concatenate(best, axis=1), np.concatenate(share), seconds, sizes)


def _areas(share: np.ndarray) -> list[NDArray[np.bool_]]:
    return [(share >= low) & (share < high) for _, low, high in AREAS]


def _mean(values: np.ndarray) -> str:
    return f"{values.mean():.3f}" if len(values) else "-"


def print_quality(found: Mapping[str, Quality]) -> None:
    """The table, and that of the seconds, the published figures below ours."""
    first = next(iter(found.values()))
    groups = _areas(first.share)
    head = " | ".join(
        f"J_i {label} ({int(group.sum())})" for (label, *_), group in zip(AREAS, groups, strict=True)
    )
    print(
        f"\n{len(first.sizes)} photographs, {len(first.share)} instances, void pixels left out of the IoU.\n"
    )
    print(f"| | N | J_i | recall .5 | recall .7 | {head} |\n|---|---:|---|---|---|{'---|' * len(AREAS)}")
    for name, one in found.items():
        for n, row in zip(COUNTS, one.best, strict=True):
            parts = " | ".join(_mean(row[group]) for group in groups)
            recalls = f"{_mean(row >= 0.5)} | {_mean(row >= 0.7)}"
            print(f"| {name} | {n} | {_mean(row)} | {recalls} | {parts} |")
    for name, points in PUBLISHED.items():
        for n, jaccard, at_5, at_7 in points:
            values = f"{jaccard:.3f} | {at_5:.3f} | {at_7:.3f}"
            print(f"| {name}, published, other photographs | {n} | {values} |{' - |' * len(AREAS)}")
    print("\nPublished: SegVOC12 val, all 20 classes, arXiv 1503.00848 and the data of its figures.")
    print("\n| | proposals an image | s an image | median | slowest |\n|---|---:|---|---|---|")
    for name, one in found.items():
        seconds = np.array(one.seconds)
        values = f"{seconds.mean():.3f} | {np.median(seconds):.3f} | {seconds.max():.3f}"
        print(f"| {name} | {np.mean(one.sizes):.0f} | {values} |")
    for name, (*_, total) in PUBLISHED_SECONDS.items():
        print(f"| {name}, published, another machine | - | {total:.1f} | - | - |")


def _figures(found: Mapping[str, Quality]) -> list[Figure]:
    (name, one), *_ = found.items()
    small, wanted = one.share < 0.05, zip(COUNTS, (0.89, 0.91, 0.945), one.best, strict=True)
    figures = [Figure(f"J_i at {n}, {name}", row.mean(), bound, True) for n, bound, row in wanted]
    if small.any():
        figures.append(Figure("J_i at 100, objects under 5 %", one.best[0][small].mean(), 0.80, True))
    for n, bound, row in ((100, 0.95, one.best[0]), (1000, 0.99, one.best[2])):
        figures.append(Figure(f"recall .7 at {n}", (row >= 0.7).mean(), bound, True))
    gain = one.best[0].mean() - found[APPEARANCE].best[0].mean()
    figures.append(Figure(f"J_i at 100 above that of {APPEARANCE}", gain, 0.15, True))
    return figures


def run(case: Case, previews: int, out: Path) -> list[Figure]:
    """Print the part; its figures to reach, which are those of lone animals (VOC)."""
    print("\n## Quality")
    found = {}
    for name, config in rows(case.config).items():
        found[name] = measure(config, case.photographs, 0 if found else previews, out)
    print_quality(found)
    return _figures(found) if any(one.objects is not None for one in case.photographs) else []
