"""Where the time of a photograph goes: CPU seconds by step of the generator, and growth with area and N."""

import inspect
import io
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from proposal_cases import Case, Figure, changed, load, spread
from proposal_quality import PUBLISHED_SECONDS

from stages.proposals import proposals
from wsis.method.proposals.contours.detectors import ContourDetector, build_detector
from wsis.method.proposals.generator import generation

SIDES = (128, 192, 256, 384, 512, 768)
COUNTS = (100, 250, 500, 1000, 2000, 4000)
# The functions that the generator calls, by step; what is not listed stands under its own name.
STEPS = {
    "contours": ("contour_scales",),
    "watershed and region graph": ("build_region_graph", "rgb_to_lab"),
    "appearance": ("appearance_histograms", "strengthen", "appearance_hierarchies"),
    "hierarchies": ("build_hierarchies",),
    "region trees": ("build_region_tree", "border_lengths", "leaf_hashes", "superpixel_areas"),
    "tuples": ("group",),
    "membership and holes": ("distinct_sets",),
    "ranking": ("unlearned_order",),
    "selection": ("select_loosening",),
}
_STEP_OF = {name: step for step, names in STEPS.items() for name in names}
_REST = "the rest"


@dataclass(frozen=True)
class Timing:
    """One photograph: CPU seconds by step (with the rest), in all; superpixels, proposals, working pixels."""

    steps: Counter[str]
    total: float
    superpixels: int
    proposals: int
    pixels: int


class _Clock:
    """CPU seconds by step; time inside a step that another one calls counts there alone."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inner = [0.0]

    def timed(self, function: Callable[..., Any], step: str) -> Callable[..., Any]:
        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.process_time() - start
                self.seconds[step] += spent - self._inner.pop()
                self._inner[-1] += spent

        return wrapper


@contextmanager
def _steps_timed() -> Iterator[_Clock]:
    """The functions that `generator.generation` calls by name are timed inside the block."""
    clock = _Clock()
    found = {
        name: value
        for name, value in vars(generation).items()
        if inspect.isfunction(value)
        and value.__module__.startswith("wsis.")
        and value.__module__ != generation.__name__
    }
    for name, value in found.items():
        setattr(generation, name, clock.timed(value, _STEP_OF.get(name, name)))
    try:
        yield clock
    finally:
        for name, value in found.items():
            setattr(generation, name, value)


def time_one(image: np.ndarray, config: proposals.Config, detector: ContourDetector) -> Timing:
    """Generate the proposals of a photograph under the clock."""
    mcg = config
    with _steps_timed() as clock:
        start = time.process_time()
        found = generation.generate(image, mcg, detector)
        total = time.process_time() - start
    clock.seconds[_REST] = total - clock.seconds.total()
    size = found.membership.shape
    return Timing(clock.seconds, total, size[1], size[0], found.superpixels.size)


def time_all(photographs: Sequence[Path], config: proposals.Config) -> list[Timing]:
    """Each photograph after one that is not counted, which pays for what is loaded at the first use."""
    detector = build_detector(config)
    time_one(load(photographs[0]), config, detector)
    return [time_one(load(one), config, detector) for one in photographs]


# -- by step ----------------------------------------------------------------------------------------------
def _print_steps(columns: dict[str, list[Timing]]) -> None:
    print("\nMilliseconds of CPU an image, one thread, mean.\n")
    print(f"| | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    met = {step for timings in columns.values() for one in timings for step in one.steps}
    for step in [*STEPS, *sorted(met - set(STEPS) - {_REST}), _REST]:
        means = [1000 * np.mean([one.steps[step] for one in timings]) for timings in columns.values()]
        if any(means):
            print(f"| {step} | {' | '.join(f'{mean:.1f}' for mean in means)} |")
    for name, of in (("**all steps**", np.mean), ("median", np.median), ("slowest", np.max)):
        values = [1000 * of([one.total for one in timings]) for timings in columns.values()]
        print(f"| {name} | {' | '.join(f'{value:.0f}' for value in values)} |")
    for name, field in (("proposals", "proposals"), ("superpixels", "superpixels")):
        values = [np.mean([getattr(one, field) for one in timings]) for timings in columns.values()]
        print(f"| {name} | {' | '.join(f'{value:.0f}' for value in values)} |")


def run_speed(case: Case) -> list[Figure]:
    """Print the part; its figures to reach."""
    print("\n## Speed")
    default = time_all(case.timed, case.config)
    full = time_all(case.voc_sized, case.voc_config)
    side = case.config.max_side
    print(f"\nPhotographs of 500x375: {case.voc_origin}; longer side 500, 1,000 proposals.")
    _print_steps({f"{side} px ({len(default)} photographs)": default, f"500x375 ({len(full)})": full})
    for name, (contours, hierarchies, candidates, total) in PUBLISHED_SECONDS.items():
        print(
            f"\n{name}, published (arXiv 1503.00848, another machine, one core): contours {contours} s, "
            f"hierarchies {hierarchies} s, candidates {candidates} s, in all {total} s an image."
        )
    seconds = [float(np.mean([one.total for one in timings])) for timings in (default, full)]
    return [
        Figure(f"an image at {side} px", seconds[0], 0.4, unit=" s"),
        Figure("an image at 500x375, 1,000 proposals", seconds[1], 0.8, unit=" s"),
    ]


# -- growth -----------------------------------------------------------------------------------------------
def _enlarged(image: np.ndarray, side: int) -> np.ndarray:
    factor = side / max(image.shape[:2])
    if factor <= 1:
        return image
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)


def _grow(
    images: Sequence[np.ndarray], configs: Sequence[proposals.Config], detector: ContourDetector
) -> list[list[Timing]]:
    time_one(images[0], configs[0], detector)
    return [[time_one(image, config, detector) for image in images] for config in configs]


def _print_growth(head: str, labels: Sequence[int], grown: Sequence[Sequence[Timing]]) -> None:
    print(f"\n| {head} | pixels | superpixels | proposals | contours ms | other steps ms | all ms |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for label, timings in zip(labels, grown, strict=True):
        pixels, superpixels, found = (
            np.mean([getattr(one, name) for one in timings])
            for name in ("pixels", "superpixels", "proposals")
        )
        total = 1000 * np.mean([one.total for one in timings])
        contours = 1000 * np.mean([one.steps["contours"] for one in timings])
        print(
            f"| {label} | {pixels:.0f} | {superpixels:.0f} | {found:.0f} "
            f"| {contours:.0f} | {total - contours:.0f} | {total:.0f} |"
        )


def run_growth(case: Case, plot: Path | None) -> list[Figure]:
    """Print the part and save its plot; it has no bound."""
    images = [_enlarged(load(one), SIDES[-1]) for one in spread(case.timed, 5)]
    detector = build_detector(case.config)
    by_side = _grow(images, [changed(case.config, max_side=side) for side in SIDES], detector)
    by_count = _grow(images, [changed(case.config, num_proposals=n) for n in COUNTS], detector)
    print(f"\n## Growth\n\nMean of {len(images)} photographs (enlarged where smaller), one thread, CPU.")
    _print_growth("longer side", SIDES, by_side)
    print(f"\nWith N, at {case.config.max_side} px.")
    _print_growth("N", COUNTS, by_count)
    if plot is not None:
        _plot(by_side, by_count, plot)
        print(f"\nPlot: {plot}")
    return []


def _plot(by_side: Sequence[Sequence[Timing]], by_count: Sequence[Sequence[Timing]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawing

    figure = Drawing(figsize=(9, 3.4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    area = [np.mean([one.pixels for one in timings]) / 1000 for timings in by_side]
    for axes, x, grown, label in (
        (figure.add_subplot(1, 2, 1), area, by_side, "thousand pixels of the working image"),
        (figure.add_subplot(1, 2, 2), list(COUNTS), by_count, "proposals asked for"),
    ):
        total = np.array([np.mean([one.total for one in timings]) for timings in grown])
        contours = np.array([np.mean([one.steps["contours"] for one in timings]) for timings in grown])
        axes.plot(x, total, "o-", color="#1f6fd6", label="all steps")
        axes.plot(x, contours, "s--", color="#d1442f", label="contours")
        axes.set(xlabel=label, ylabel="CPU seconds an image", xlim=(0, None), ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
