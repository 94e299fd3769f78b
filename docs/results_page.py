"""Draws the plots of docs/results.md and writes docs/results-tables.md, from docs/measured.json.

    python docs/results_page.py                  # from the stored figures
    wsis ablations voc_lite --show --json > suite.json && python docs/results_page.py --suite suite.json   # stored too

`suite` in docs/measured.json has the form of `wsis ablations --show --json`; what it holds beyond that is said in
docs/results.md. Plots and tables name shares as per cent.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

DOCS = Path(__file__).parent
THRESHOLDS = ("0.25", "0.50", "0.70", "0.75")
BLUE, ORANGE, GREY = "#1f6fb4", "#d9730d", "#777777"
MARKS = {0: "o", 1: "s"}
Suite = Sequence[Mapping[str, Any]]
Result = Mapping[str, Any]


def results(suite: Suite, kind: str, row: str | None = None) -> Iterator[tuple[Mapping[str, Any], Result]]:
    """(run, result) of a kind, of one row or of all, as they are stored."""
    for run in suite:
        if row in (None, run["row"]):
            yield from ((run, result) for result in run["results"] if result["kind"] == kind)


def ceilings(suite: Suite) -> dict[int, Result]:
    """Seed -> the network of true masks."""
    return {run["seed"]: result for run, result in results(suite, "ceiling")}


def plot_iterations(suite: Suite) -> plt.Figure:
    """mAP on val after each outer iteration, with the ceilings as lines and the PRM baselines at 0."""
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.4), sharex=True)
    for panel, threshold in zip(panels, ("0.50", "0.75"), strict=True):
        for row, colour, name in (("image", BLUE, "image-level labels"), ("box", ORANGE, "boxes")):
            for seed, mark in MARKS.items():
                own = [r for run, r in results(suite, "prediction", row) if run["seed"] == seed]
                xs, ys = [r["outer_iteration"] for r in own], [100 * r["mAP"][threshold] for r in own]
                panel.plot(xs, ys, color=colour, marker=mark, label=f"{name}, seed {seed}")
        for run, result in results(suite, "prm_baseline", "image"):
            label = f"PRM baseline, seed {run['seed']}"
            height = 100 * result["mAP"][threshold]
            panel.plot([0], [height], color=GREY, marker=MARKS[run["seed"]], linestyle="", label=label)
        for seed, result in ceilings(suite).items():
            style = "--" if seed == 0 else ":"
            height = 100 * result["mAP"][threshold]
            panel.axhline(height, color=GREY, linestyle=style, label=f"true masks, seed {seed}")
        panel.set(title=f"mAP at IoU {threshold}, val", xlabel="outer iteration", ylim=(0, 85))
        panel.set_xticks(range(5))
    panels[0].set_ylabel("per cent")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    return figure


def plot_rows(suite: Suite, rows: Mapping[str, str]) -> plt.Figure:
    """mAP on val after the fourth iteration, a bar a row and seed, with the ceilings as lines.

    Args:
        rows: name in the suite -> its name in the plot.
    """
    figure, panels = plt.subplots(1, 2, figsize=(8, 2.8), sharey=True)
    for panel, threshold in zip(panels, ("0.50", "0.75"), strict=True):
        for place, row in enumerate(rows):
            for run, result in results(suite, "prediction", row):
                if result["outer_iteration"] == 4:
                    height = 100 * result["mAP"][threshold]
                    x = place + 0.4 * run["seed"] - 0.2
                    bar = panel.bar(x, height, 0.36, color=BLUE, alpha=1 - 0.35 * run["seed"])
                    panel.bar_label(bar, fmt="%.1f", fontsize=7)
        for seed, result in ceilings(suite).items():
            style = "--" if seed == 0 else ":"
            panel.axhline(100 * result["mAP"][threshold], color=GREY, linestyle=style)
        panel.set(title=f"mAP at IoU {threshold}, val, iteration 4", ylim=(0, 85))
        panel.set_xticks(range(len(rows)), rows.values())
    panels[0].set_ylabel("per cent")
    figure.text(0.5, 0.01, "dark: seed 0, light: seed 1; lines: true masks", ha="center", fontsize=8)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    return figure


def plot_losses(mean_iou: Mapping[str, Mapping[str, Sequence[float]]]) -> plt.Figure:
    """Mean IoU with the true instances after each step, a bar a step and seed.

    Args:
        mean_iou: supervision -> step -> per cent of each seed.
    """
    figure, panels = plt.subplots(1, 2, figsize=(8, 2.8), sharex=True)
    for panel, (name, steps), colour in zip(panels, mean_iou.items(), (BLUE, ORANGE), strict=True):
        for place, values in enumerate(reversed(list(steps.values()))):
            for seed, value in enumerate(values):
                y = place - 0.4 * seed + 0.2
                bar = panel.barh(y, value, 0.36, color=colour, alpha=1 - 0.35 * seed)
                panel.bar_label(bar, fmt="%.1f", fontsize=7)
        panel.set_yticks(range(len(steps)), list(reversed(steps)), fontsize=8)
        panel.set(title=f"{name}: mean IoU, iteration 4", xlim=(0, 112))
    figure.tight_layout()
    return figure


def percent(value: float | None) -> str:
    """A share as per cent with one digit."""
    return "–" if value is None else f"{100 * value:.1f}"


def prediction_lines(suite: Suite) -> Iterator[str]:
    """The table of everything scored on val."""
    yield "| row | seed | iteration | 0.25 | 0.50 | 0.70 | 0.75 | cat | cow | dog | horse | sheep | minutes |"
    yield "|---|--:|--:|" + "--:|" * 10
    names = {"ceiling": "true masks", "prm_baseline": "PRM baseline"}
    for kind in ("prm_baseline", "prediction", "ceiling"):
        for run, result in results(suite, kind, "image" if kind == "prm_baseline" else None):
            classes = result.get("per_class", {})
            each = [classes.get(c, {}).get("0.50") for c in ("cat", "cow", "dog", "horse", "sheep")]
            last = kind == "prediction" and result["outer_iteration"] == 4
            spent = f"{run['wall_minutes']:.0f}" if last and run.get("wall_minutes") else "–"
            cells = [names.get(kind, run["title"]), str(run["seed"]), str(result["outer_iteration"] or "–")]
            cells += [percent(result["mAP"][t]) for t in THRESHOLDS] + [*map(percent, each), spent]
            yield f"| {' | '.join(cells)} |"


def pseudo_label_lines(suite: Suite) -> Iterator[str]:
    """The table of the pseudo labels of train."""
    yield "| row | seed | iteration | 0.25 | 0.50 | 0.70 | 0.75 | varied | instances |"
    yield "|---|--:|--:|" + "--:|" * 6
    for run, result in results(suite, "pseudo_labels"):
        varied, instances = result.get("more_than_one_distinct"), result.get("instances_per_sample")
        cells = [run["title"], str(run["seed"]), str(result["outer_iteration"])]
        cells += [percent(result["mAP"][t]) for t in THRESHOLDS]
        cells += ["–" if varied is None else f"{100 * varied:.0f} %"]
        cells += ["–" if instances is None else f"{instances:.2f}"]
        yield f"| {' | '.join(cells)} |"


def demo_lines(demo: Sequence[Result]) -> Iterator[str]:
    """The table of the generated scenes."""
    yield "| result | iteration | split | images | 0.25 | 0.50 | 0.70 | 0.75 | COCO AP |"
    yield "|---|--:|---|" + "--:|" * 6
    for row in demo:
        cells = [row["kind"].replace("_", " "), str(row["outer_iteration"] or "–"), row["split"]]
        cells += [str(row["images"]), *(percent(row["mAP"][t]) for t in THRESHOLDS)]
        yield f"| {' | '.join(cells)} | {percent(row['coco']['AP'])} |"


def tables_page(measured: Mapping[str, Any]) -> str:
    """The text of docs/results-tables.md."""
    return "\n".join(
        [
            "# All figures",
            "",
            "`python docs/results_page.py` writes this page from `docs/measured.json`. [Results](results.md) says what",
            "the figures mean and which commands made them. mAP^r in per cent. `–`: not recorded, or not run.",
            "",
            "## Prediction on val",
            "",
            "119 photographs. The columns of classes are AP at IoU 0.50. The minutes are those of the whole run on one",
            "core, beside another run.",
            "",
            *prediction_lines(measured["suite"]),
            "",
            "## Pseudo labels of train",
            "",
            "1,116 photographs. Varied: the share of photographs with more than one distinct sample among ten.",
            "Instances: the mean number in a sample.",
            "",
            *pseudo_label_lines(measured["suite"]),
            "",
            "## Generated scenes",
            "",
            *demo_lines(measured["demo"]),
            "",
        ]
    )


def main() -> None:
    """Write plots and tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--suite", type=Path, help="output of `wsis ablations SUITE --show --json`")
    chosen = parser.parse_args()
    measured = json.loads((DOCS / "measured.json").read_text())
    if chosen.suite is not None:
        measured["suite"] = json.loads(chosen.suite.read_text())
        (DOCS / "measured.json").write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n")
    suite = measured["suite"]
    table3 = {"pwp_pwc": "PW_p, PW_c", "pwc": "Pr_p, PW_c", "pwp": "PW_p, Pr_c", "image": "Pr_p, Pr_c"}
    plots = {
        "iterations": plot_iterations(suite),
        "table2": plot_rows(suite, {"u": "U", "up": "U+P", "image": "U+P+H"}),
        "table3": plot_rows(suite, table3),
        "losses": plot_losses(measured["mean_iou"]),
    }
    for name, figure in plots.items():
        figure.savefig(DOCS / "pictures" / f"{name}.png", dpi=110, metadata={"Software": None})
    (DOCS / "results-tables.md").write_text(tables_page(measured))


if __name__ == "__main__":
    main()
