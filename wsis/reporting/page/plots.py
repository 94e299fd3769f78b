"""Plots as PNG bytes, drawn without a display: loss curves, mAP over the outer iterations."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from wsis.reporting.diagnosis.summary import STEPS
from wsis.reporting.tables.tables import THRESHOLDS

_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
)  # Okabe and Ito's: told apart with every kind of colour vision
_NAMES = {"div_pc": "DIV(p,c)", "div_cc": "DIV(c,c)", "lr": "learning rate"}
_LINES = {"prediction": "-", "pseudo_labels": "--", "prm_baseline": ":", "ceiling": "-."}
_MARKERS = {"prediction": {"marker": "o"}, "pseudo_labels": {"marker": "s", "markerfacecolor": "white"}}
_LABELS_HIGH = 21  # labels over each other in the height of the axes
_LABEL_POINTS = 10.5
_SMOOTHED_POINTS = 60  # a longer curve is drawn faint, with a running mean of a twentieth over it


def map_plot(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """mAP in percent over the outer iterations: a colour a threshold, a line style a kind.

    Rows without an outer iteration (the PRM baseline) are level lines.
    """
    figure, axes = _axes(7.4, 3.6)
    iterations = sorted({row["outer_iteration"] for row in rows if row["outer_iteration"] is not None})
    span = [iterations[0], iterations[-1]] if len(iterations) > 1 else [0.5, 1.5]
    for kind, split in dict.fromkeys((row["kind"], row["split"]) for row in rows):
        of_kind = [row for row in rows if (row["kind"], row["split"]) == (kind, split)]
        marker = _MARKERS.get(kind, {"marker": "d"})
        for colour, threshold in zip(_COLOURS, THRESHOLDS, strict=True):
            label = f"{kind.replace('_', ' ')}, {split}, IoU {threshold}"
            points = [
                (row["outer_iteration"], 100 * row["mAP"][threshold])
                for row in of_kind
                if row["mAP"].get(threshold) is not None
            ]
            style = {"color": colour, "linestyle": _LINES.get(kind, "-"), "label": label, "linewidth": 1.8}
            looped = sorted(point for point in points if point[0] is not None)
            level = [value for iteration, value in points if iteration is None]
            if looped:
                axes.plot(*zip(*looped, strict=True), markersize=5, **marker, **style)
            elif level:
                axes.plot(span, [level[0], level[0]], **{**style, "linewidth": 1.3})
    axes.set_xlabel("outer iteration")
    axes.set_ylabel("mAP (%)")
    axes.set_ylim(bottom=0)
    if iterations:
        axes.set_xticks(iterations)
    _name_lines(axes)
    return _png(figure)


def _name_lines(axes: Any) -> None:
    """Each line's label at its right end, in its colour, as near to its height as no other label is in the way."""
    lines = sorted(axes.lines, key=lambda line: line.get_ydata()[-1])
    if not lines:
        return
    low, high = axes.get_ylim()
    right = max(float(line.get_xdata()[-1]) for line in lines)
    apart = (high - low) / _LABELS_HIGH
    places = _spread_apart([float(line.get_ydata()[-1]) for line in lines], apart, low, high)
    for line, place in zip(lines, places, strict=True):
        end = float(line.get_xdata()[-1]), float(line.get_ydata()[-1])
        axes.annotate(
            line.get_label(),
            end,
            (16, (place - end[1]) / (high - low) * _LABELS_HIGH * _LABEL_POINTS),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=line.get_color(),
            arrowprops={
                "arrowstyle": "-",
                "color": line.get_color(),
                "linewidth": 0.5,
                "shrinkA": 1,
                "shrinkB": 3,
            },
            annotation_clip=False,
        )
    axes.set_xlim(right=right + 0.02 * (right - axes.get_xlim()[0]))


def _spread_apart(values: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Ascending values, moved as little as leaves `apart` between neighbours and all in low..high, if there is room."""
    steps = apart * np.arange(len(values))
    level = isotonic_regression(np.asarray(values) - steps).x  # least squares under rising order
    return (np.clip(level, low, max(low, high - steps[-1])) + steps).tolist()


def loss_plot(curve: Sequence[Mapping[str, float]], title: str = "") -> bytes:
    """Every logged value of a training curve over its steps, one small plot each, the loss first.

    Args:
        curve: entries with "step" and the means of the logged values, as curve.json holds them.
    """
    names = [name for name in dict.fromkeys(k for entry in curve for k in entry) if name != "step"]
    names.sort(key=lambda name: name != "loss")
    columns = min(3, max(1, len(names)))
    rows = -(-len(names) // columns) if names else 1
    figure = Figure(figsize=(3.2 * columns + 0.2, 2.2 * rows + 0.3), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=10)
    for index, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, columns, index)
        _clean(axes)
        points = [(entry["step"], entry[name]) for entry in curve if name in entry]
        steps, values = (np.array(part, dtype=np.float64) for part in zip(*points, strict=True))
        _curve(axes, steps, values)
        if np.ptp(values) <= 1e-9 * np.abs(values).max():  # else rounding would fill the plot
            level = float(values[0])
            axes.set_ylim(level - 0.1 * (abs(level) or 1.0), level + 0.1 * (abs(level) or 1.0))
        axes.set_title(_NAMES.get(name, name.replace("_", " ")), fontsize=9)
        axes.set_xlabel("step", fontsize=8)
    return _png(figure)


def time_plot(seconds: Mapping[str, float]) -> bytes:
    """Where the time went: a bar a stage, in the order given."""
    figure, axes = _axes(7.4, 0.28 * len(seconds) + 0.8)
    places = np.arange(len(seconds))
    axes.barh(places, list(seconds.values()), color=_COLOURS[0], height=0.7)
    axes.set_yticks(places, list(seconds), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.grid(axis="y", visible=False)
    return _png(figure)


def waterfall_plot(waterfalls: Sequence[Mapping[str, Any]]) -> bytes:
    """What remains of perfect masks after each step, and what the step costs: a panel an outer iteration.

    Args:
        waterfalls: as `wsis.reporting.diagnosis.summary.waterfall` makes them, with their "iteration".
    """
    rows = max(len(fall["steps"]) for fall in waterfalls)
    figure = Figure(figsize=(2.3 * len(waterfalls) + 2.0, 0.3 * rows + 0.9), layout="constrained")
    names = list(dict.fromkeys(step["step"] for fall in waterfalls for step in fall["steps"]))
    names.sort(key=STEPS.index)
    for index, fall in enumerate(waterfalls, start=1):
        axes = figure.add_subplot(1, len(waterfalls), index)
        _clean(axes)
        axes.grid(axis="y", visible=False)
        for step in fall["steps"]:
            _fall(axes, names.index(step["step"]), step)
        axes.set_yticks(range(len(names)), names if index == 1 else [""] * len(names), fontsize=8)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(0, 100)
        axes.set_xlabel("mean IoU (%)", fontsize=8)
        title = f"outer iteration {fall['iteration']}" if fall["iteration"] else "before the first iteration"
        axes.set_title(title, fontsize=9)
    return _png(figure)


def _fall(axes: Any, place: int, step: Mapping[str, Any]) -> None:
    """One bar with its IoU, what the step lost behind it in red, or what it gained at its end in green."""
    value, loss = 100 * step["iou"], 100 * (step["loss"] or 0.0)
    if step["aside"]:
        axes.barh(
            place, value, height=0.6, facecolor="none", edgecolor="#8a8a8a", linestyle="--", linewidth=1.0
        )
    else:
        axes.barh(place, value, height=0.7, color=_COLOURS[0])
        colour, alpha = (_COLOURS[1], 0.75) if loss > 0 else (_COLOURS[2], 1.0)
        axes.barh(place, loss, left=value, height=0.7, color=colour, alpha=alpha)
    change = f" (−{loss:.1f})" if loss >= 0.05 else f" (+{-loss:.1f})" if loss <= -0.05 else ""
    end = max(value, value + loss)
    inside = end > 45 and not step["aside"]  # white on the bar where the text fits, else dark beside it
    left = 1.5 if inside or step["aside"] else end + 1.5
    ink = "white" if inside else "#444444"
    axes.text(left, place, f"{value:.1f}{change}", va="center", fontsize=8, color=ink, clip_on=True)


def _curve(axes: Any, steps: np.ndarray, values: np.ndarray) -> None:
    window = len(values) // 20
    if len(values) < _SMOOTHED_POINTS or window < 2:
        axes.plot(steps, values, color=_COLOURS[0], linewidth=1.4)
        return
    axes.plot(steps, values, color=_COLOURS[0], linewidth=0.8, alpha=0.3)
    sums = np.cumsum(np.concatenate([[0.0], values]))
    means = (sums[window:] - sums[:-window]) / window
    middle = (steps[window - 1 :] + steps[: len(steps) - window + 1]) / 2
    axes.plot(middle, means, color=_COLOURS[0], linewidth=1.6)


def _axes(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    _clean(axes)
    return figure, axes


def _clean(axes: Any) -> None:
    axes.grid(color="#d8d8d8", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors="#444444")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    # No date or version in the file: equal data give equal bytes.
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
