"""The results table of a suite of runs: one row a run and outer iteration, means and spread over seeds, the share of
the ceiling, and whether rows are in the order that was expected."""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from wsis.reporting.tables.results import results_of
from wsis.reporting.tables.tables import ABSENT, THRESHOLDS, WIDTH, Column, Style, format_table, percent
from wsis.views.run import Run

_MEASURES = (*THRESHOLDS, "AP")
_RATIOS = ("0.50", "0.75")


@dataclass(frozen=True)
class SuiteRun:
    """One run of a suite, as far as it has come.

    Attributes:
        results: as `wsis results --json` gives them.
        cpu_seconds: of all its stages, shared ones included, the ceiling's own left out.
        finished: whether all its stages are done.
    """

    row: str
    title: str
    seed: int
    results: Sequence[Mapping[str, Any]]
    cpu_seconds: float
    finished: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "results": list(self.results)}


@dataclass(frozen=True)
class Score:
    """One line of the table: mAP by threshold and COCO AP ("AP"), each a share in [0, 1] or None, of every seed that
    has it."""

    row: str
    title: str
    kind: str
    outer_iteration: int | None
    seeds: Mapping[int, Mapping[str, float | None]]

    def values(self, threshold: str) -> list[float]:
        """Those of the seeds that have one."""
        found = (self.seeds[seed].get(threshold) for seed in sorted(self.seeds))
        return [value for value in found if value is not None]

    def mean(self, threshold: str) -> float | None:
        """Mean over seeds."""
        values = self.values(threshold)
        return sum(values) / len(values) if values else None

    def of_seeds(self, seeds: Collection[int]) -> "Score":
        """The same line of some seeds alone."""
        return replace(self, seeds={seed: maps for seed, maps in self.seeds.items() if seed in seeds})

    def half_range(self, threshold: str) -> float | None:
        """Half the distance of the best from the worst seed; None of one seed."""
        values = self.values(threshold)
        return (max(values) - min(values)) / 2 if len(values) > 1 else None


def suite_run(run: Run, row: str, title: str, seed: int) -> SuiteRun:
    """A run's results and cost.

    Raises:
        CorruptArtefactError, ArtefactMissingError: an artefact of the run is damaged or gone.
    """
    own = [key for key in run.record.entries if "ceiling" not in key]
    cpu = sum(run.artefact(key, verify=False).manifest.cpu_seconds for key in own)
    return SuiteRun(row, title, seed, results_of(run), cpu, run.record.status == "completed")


def scores(runs: Sequence[SuiteRun], kinds: Sequence[str]) -> list[Score]:
    """The lines of some kinds of results, in the order of `runs`, then of the outer iterations.

    Args:
        kinds: out of ceiling, prm_baseline, prediction, pseudo_labels.
    """
    found: dict[tuple[str, str, int | None], Score] = {}
    for run in runs:
        for result in run.results:
            if result["kind"] in kinds:
                key = (run.row, result["kind"], result["outer_iteration"])
                line = found.setdefault(key, Score(*key[:1], run.title, *key[1:], {}))
                found[key] = Score(
                    line.row,
                    line.title,
                    line.kind,
                    line.outer_iteration,
                    {**line.seeds, run.seed: {**result["mAP"], **result.get("coco", {})}},
                )
    rows = list(dict.fromkeys(run.row for run in runs))
    return sorted(
        found.values(), key=lambda s: (rows.index(s.row), kinds.index(s.kind), s.outer_iteration or 0)
    )


def suite_table(runs: Sequence[SuiteRun], style: Style = "markdown") -> str:
    """Everything scored on validation images, in percent, with its share of the ceiling of the same seed."""
    ceiling = next(iter(scores(runs, ["ceiling"])), None)
    ratios = [Column(t.lstrip("0"), "ratio") for t in _RATIOS]
    lines: list[tuple[str, Score, Score | None, str]] = []
    if ceiling is not None:
        lines.append(("ceiling (true masks)", ceiling, None, ABSENT))
    for score in scores(runs, ["prm_baseline", "prediction"]):
        last = score.outer_iteration == max(
            (s.outer_iteration or 0 for s in scores(runs, ["prediction"]) if s.row == score.row), default=0
        )
        spent = [r.cpu_seconds / 60 for r in runs if r.row == score.row and r.finished]
        cost = f"{sum(spent) / len(spent):.0f}" if last and spent else ABSENT
        title = f"{score.title}: PRM baseline" if score.kind == "prm_baseline" else score.title
        lines.append((title, score, ceiling, cost))
    body = [
        (title, [*_cells(score), *(_ratio(score, of, t) for t in _RATIOS), cost])
        for title, score, of, cost in lines
    ]
    return _table("row", [*ratios, Column("min", "CPU")], body, style)


def pseudo_label_table(runs: Sequence[SuiteRun], style: Style = "markdown") -> str:
    """The pseudo labels of the training images, in percent."""
    body = [(score.title, _cells(score)) for score in scores(runs, ["pseudo_labels"])]
    table = _table("pseudo labels", [], body, style)
    return f"pseudo labels of the training images\n{table}" if style == "text" else table


def _table(
    first: str, last: Sequence[Column], body: Sequence[tuple[str, Sequence[str]]], style: Style
) -> str:
    """Lines with their titles; in the terminal a title heads its lines, which leaves the width to the numbers."""
    measures = [
        *(Column(t.lstrip("0"), "VOC mAP") for t in THRESHOLDS),
        Column("AP", "COCO"),
    ]
    if style != "text":
        header = [first, "iteration", "seeds", *map(str, measures), *map(str, last)]
        return format_table(header, [[title, *cells] for title, cells in body], style, left_columns=1)
    rows: list[Sequence[str] | str] = []
    for title, lines in itertools.groupby(body, key=lambda line: line[0]):
        rows += [title, *(cells for _, cells in lines)]
    return format_table(["iter", "seeds", *measures, *last], rows, "text", left_columns=1, width=WIDTH)


def order_lines(runs: Sequence[SuiteRun], orders: Sequence[Sequence[str]]) -> Iterator[str]:
    """For each expected order of rows and each of two thresholds, whether they have it: at the last outer iteration
    that all of them have reached, on the seeds that all of them have."""
    known = {(score.row, score.outer_iteration): score for score in scores(runs, ["prediction"])}
    for order in orders:
        name = " < ".join(order)
        if missing := [row for row in order if row not in {row for row, _ in known}]:
            yield f"{name}: not known yet, no results of {', '.join(missing)}"
            continue
        common = set.intersection(*({t for row, t in known if row == one} for one in order))
        if not common:
            yield f"{name}: not known yet, no outer iteration that all have reached"
            continue
        iteration = max(t or 0 for t in common)
        lines = [known[row, iteration] for row in order]
        seeds = set.intersection(*(set(line.seeds) for line in lines))
        if not seeds:
            yield f"{name}: not known yet, no seed that all have"
            continue
        for threshold in _RATIOS:
            means = [line.of_seeds(seeds).mean(threshold) or 0.0 for line in lines]
            spreads = [s for line in lines if (s := line.half_range(threshold)) is not None]
            gain = min(b - a for a, b in itertools.pairwise(means))
            yield (
                f"{name} at {threshold}, iteration {iteration}: {', '.join(map(percent, means))}: "
                f"{_verdict(gain, max(spreads, default=None))}"
            )


def _verdict(gain: float, spread: float | None) -> str:
    if gain <= 0:
        return "does not hold"
    if spread is None:
        return f"holds by {100 * gain:.1f}, of one seed"
    return f"holds by {100 * gain:.1f}, {'beyond' if gain > spread else 'within'} the seeds' ± {100 * spread:.1f}"


def _cells(score: Score) -> list[str]:
    iteration = ABSENT if score.outer_iteration is None else str(score.outer_iteration)
    return [iteration, str(len(score.seeds)), *(_with_spread(score, measure) for measure in _MEASURES)]


def _with_spread(score: Score, measure: str) -> str:
    spread = score.half_range(measure)
    return percent(score.mean(measure)) + ("" if spread is None else f" ±{100 * spread:.1f}")


def _ratio(score: Score, ceiling: Score | None, threshold: str) -> str:
    """Mean over seeds of the share of the same seed's ceiling; of the mean ceiling where that seed has none."""
    if ceiling is None or not ceiling.values(threshold):
        return ABSENT
    shares = []
    for seed, maps in score.seeds.items():
        own = ceiling.seeds.get(seed, {}).get(threshold)
        whole = ceiling.mean(threshold) if own is None else own
        value = maps.get(threshold)
        if value is not None and whole:
            shares.append(value / whole)
    return f"{sum(shares) / len(shares):.2f}" if shares else ABSENT
