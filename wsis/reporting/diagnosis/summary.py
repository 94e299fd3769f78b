"""From measures of single instances to the figures of a diagnosis: means, groups, the waterfall, its conclusion.

A table of instances is a mapping column -> array of one length, a row an instance. Columns of every table: `label`,
`area` (share of the image), `alone` (the only one of its class in the image); all others are IoUs in [0, 1].
Suffix: N instances.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[Any]]

PLACES = ("label", "area", "alone")
STEPS = (
    "perfect",
    "best proposal",
    "best filtered proposal",
    "target from a seed",
    "best of K",
    "mean over K",
    "prediction on train",
    "prediction on val",
    "ceiling on val",
)
RECALLS = (0.5, 0.7, 0.75)
AREAS = (("under 5 % of the image", 0.0, 0.05), ("5–15 %", 0.05, 0.15), ("over 15 %", 0.15, np.inf))


def join(rows: Sequence[Columns]) -> dict[str, NDArray[Any]]:
    """One table of the tables of all images, which have the same columns; {} without any."""
    return {name: np.concatenate([row[name] for row in rows]) for name in (rows[0] if rows else {})}


def groups(table: Columns, classes: Sequence[str]) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Kind (all, area, company, class), name and rows bool [N] of each group of instances."""
    yield "all", "all", np.ones(len(table["label"]), bool)
    for name, low, high in AREAS:
        yield "area", name, (table["area"] >= low) & (table["area"] < high)
    yield "company", "alone of its class", table["alone"]
    yield "company", "among several of its class", ~table["alone"]
    for index, name in enumerate(classes, start=1):
        yield "class", name, table["label"] == index


def group_rows(table: Columns, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Instances and means of every IoU column in each group; null where a group is empty."""
    measured = [name for name in table if name not in PLACES]
    return [
        {
            "kind": kind,
            "group": name,
            "instances": int(rows.sum()),
            "iou": {column: mean(table[column][rows]) for column in measured},
        }
        for kind, name, rows in (groups(table, classes) if table else ())
    ]


def recall_rows(table: Columns, column: str) -> list[dict[str, Any]]:
    """Share of the instances that a column reaches at IoU 0.5, 0.7, 0.75 (>=): all, and by area."""
    return [
        {
            "group": name,
            "instances": int(rows.sum()),
            "best_iou": mean(table[column][rows]),
            "recall": {f"{t:.2f}": mean(table[column][rows] >= t) for t in RECALLS},
        }
        for kind, name, rows in groups(table, ())
        if kind in ("all", "area")
    ]


def mean(values: NDArray[Any]) -> float | None:
    """Mean, or None of nothing."""
    return float(values.mean()) if len(values) else None


# ------------------------------------------------------------------------------------------ the waterfall


def waterfall(train: Columns, val: Columns, iteration: int) -> list[dict[str, Any]]:
    """Mean IoU after each step of the method in one outer iteration, and what the step costs.

    The chain is perfect masks -> best proposal -> best proposal of those that the conditional network sees -> best of
    the K samples -> mean over them -> prediction on train -> prediction on val; a step that the run does not have is
    left out, and the next one bears its loss. Losses therefore add up to 1 minus the last IoU; a negative loss is a
    gain. All are means over training instances but the last, which compares two sets of images.

    Two rows stand aside (`aside`, without a loss): in iteration 1 the targets made of seeds, from which the samples
    learn but of which they are not made, and the ceiling's prediction, which says what is in reach on val.
    """
    named = [
        ("best proposal", train.get("proposal"), False),
        ("best filtered proposal", train.get("limited"), False),
        ("target from a seed", train.get("seed_target") if iteration <= 1 else None, True),
        ("best of K", train.get(f"best@{iteration}"), False),
        ("mean over K", train.get(f"mean@{iteration}"), False),
        ("prediction on train", train.get(f"train@{iteration}"), False),
        ("prediction on val", val.get(f"val@{iteration}"), False),
        ("ceiling on val", val.get("ceiling"), True),
    ]
    chain: list[dict[str, Any]] = [{"step": "perfect", "iou": 1.0, "loss": None, "aside": False}]
    last = 1.0
    for step, values, aside in named:
        value = None if values is None else mean(values)
        if value is not None:
            chain.append(
                {"step": step, "iou": value, "loss": None if aside else last - value, "aside": aside}
            )
            last = last if aside else value
    return chain


def conclusion(chain: Sequence[Mapping[str, Any]], iteration: int) -> str | None:
    """One sentence that names the step of a waterfall that loses most; None where nothing was measured.

    iteration: of the waterfall; 0: of none yet.
    """
    steps = [step for step in chain if not step["aside"]]
    if len(steps) < 2:
        return None
    where = f"Outer iteration {iteration}" if iteration else "Before the first outer iteration"
    worst = max(range(1, len(steps)), key=lambda i: float(steps[i]["loss"]))
    before, step, last = steps[worst - 1], steps[worst], steps[-1]
    if step["loss"] <= 0:
        return f"{where}: no step loses anything."
    return (
        f"{where}: most is lost from {before['step']} ({100 * before['iou']:.1f}) to {step['step']} "
        f"({100 * step['iou']:.1f}), {100 * step['loss']:.1f} of the {100 * (1 - last['iou']):.1f} points of IoU "
        f"between perfect masks and {last['step']}."
    )
