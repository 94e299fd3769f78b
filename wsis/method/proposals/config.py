"""Settings of the proposal generator, checked when made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wsis.errors import InputError

ContourName = Literal["learned", "lab_gradient", "structured_forests"]


@dataclass(frozen=True)
class MCGConfig:
    """Multiscale combinatorial grouping. The defaults were chosen on training photographs.

    Attributes:
        max_side: longer side of the working image in pixels (never enlarged).
        scales: contour scales relative to the working image, finest first; one hierarchy each. None: those
            the detector is best at.
        contour: detector of :func:`wsis.method.proposals.contours.detectors.build_detector`.
        contour_model: file with the detector's weights; for "learned" None is the network that ships.
        region_contrast: weight in [0, 1] of the colour and texture contrast between whole neighbourhoods of
            superpixels in the strength of an edge. Learned contours always go without.
        appearance: hierarchies of colour and texture join those of the contour.
        smoothing: Gaussian sigma (pixels) before the watershed; None: the detector's.
        max_regions: most superpixels S of an image.
        num_proposals: most proposals P of an image.
        tuples_per_list: most regions, pairs, triplets or 4-tuples that one hierarchy contributes.
        max_tuple: largest number of regions in a tuple, 1..4.
        near_duplicate: a change of area below this share makes no new candidate.
        selection: "loosening" (overlap limits that rise with the rank) or "mmr" (maximal marginal relevance).
        overlap_limits: (rank, IoU) pairs for "loosening": below that rank no two proposals overlap more.
        mmr_theta: weight of relevance against redundancy for "mmr".
        ranker: file of a learned ranking (stage `train_ranker`) that takes turns with the unlearned one; None:
            the unlearned one alone. See :mod:`wsis.method.proposals.generator.ranker`.
    """

    max_side: int = 384
    scales: tuple[float, ...] | None = None
    contour: ContourName = "learned"
    contour_model: Path | None = None
    region_contrast: float = 0.5
    appearance: bool = True
    smoothing: float | None = None
    max_regions: int = 600
    num_proposals: int = 1000
    tuples_per_list: int = 300
    max_tuple: int = 4
    near_duplicate: float = 0.02
    selection: Literal["loosening", "mmr"] = "loosening"
    overlap_limits: tuple[tuple[int, float], ...] = ((60, 0.65), (250, 0.8), (700, 0.87), (10**9, 0.95))
    mmr_theta: float = 0.7
    ranker: Path | None = None

    def __post_init__(self) -> None:
        bounds: dict[str, tuple[float, float]] = {
            "max_side": (16, 4096),
            "region_contrast": (0, 1),
            "smoothing": (0, 10),
            "max_regions": (1, 65535),
            "num_proposals": (1, 100_000),
            "tuples_per_list": (1, 100_000),
            "max_tuple": (1, 4),
            "near_duplicate": (0, 0.5),
            "mmr_theta": (0, 1),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if value is None and name == "smoothing":
                continue
            if not low <= value <= high:
                raise InputError(f"{name}: expected a value in [{low}, {high}], got {value}")
        if self.scales is not None and not (self.scales and all(0.1 <= scale <= 8 for scale in self.scales)):
            raise InputError(f"scales: expected one or more factors in [0.1, 8], got {self.scales}")
        ranks = [rank for rank, _ in self.overlap_limits]
        if (
            ranks != sorted(set(ranks))
            or not ranks
            or not all(0 < iou <= 1 for _, iou in self.overlap_limits)
        ):
            raise InputError(
                f"overlap_limits: expected (rank, IoU) with rising ranks and IoU in (0, 1], "
                f"got {self.overlap_limits}"
            )
        if self.contour == "structured_forests" and self.contour_model is None:
            raise InputError("contour_model: expected a model file for contour structured_forests, got None")
