"""From measures of single instances to the figures of a diagnosis: means, groups, the waterfall, its conclusion.

A table of instances is a mapping column -> array of one length, a row an instance. Columns of every table: `label`,
`area` (share of the image), `alone` (the only one of its class in the image), `touching` (beside another of it), and
`given` (its image has masks that a person has given) where a run has such images. `hits` are seeds inside, `NAME:STATE`
the states of `instance_quality` by the instances of NAME; all others are IoUs in [0, 1].
Suffix: N instances.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsis.method.evaluation.instance_quality import STATES

Columns = Mapping[str, NDArray[Any]]

GIVEN = "given"
PLACES = ("label", "area", "alone", "touching", GIVEN)
HITS = "hits"
STEPS = (
    "perfect",
    "best of superpixels",
    "best in the pool",
    "best proposal",
    "best filtered proposal",
    "best within max_proposals",
    "target from a seed",
    "best of K",
    "mean over K",
    "prediction on train",
    "prediction on val",
    "ceiling on val",
)
RECALLS = (0.5, 0.7, 0.75)
AREAS = (
    ("under 0.25 %", 0.0, 0.0025),
    ("0.25–1 %", 0.0025, 0.01),
    ("1–5 %", 0.01, 0.05),
    ("5–15 %", 0.05, 0.15),
    ("over 15 %", 0.15, np.inf),
    ("under 5 %", 0.0, 0.05),
)
"""Name, least and first too large share of the image; the last one sums up the first three."""
FIRST = (100, 300, 1000)
"""So many best-ranked proposals are measured alone."""


def join(rows: Sequence[Columns]) -> dict[str, NDArray[Any]]:
    """One table of the tables of all images, which have the same columns; {} without any."""
    return {name: np.concatenate([row[name] for row in rows]) for name in (rows[0] if rows else {})}


def groups(table: Columns, classes: Sequence[str]) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Kind (all, share, company, area, class), name and rows bool [N] of each group of instances."""
    yield "all", "all", np.ones(len(table["label"]), bool)
    if GIVEN in table:
        yield "share", "given masks", table[GIVEN]
        yield "share", "weak labels", ~table[GIVEN]
    yield "company", "alone", table["alone"]
    yield "company", "among several", ~table["alone"]
    yield "company", "touching", table["touching"]
    for name, low, high in AREAS:
        yield "area", name, (table["area"] >= low) & (table["area"] < high)
    for index, name in enumerate(classes, start=1):
        yield "class", name, table["label"] == index


def group_rows(table: Columns, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Of each group: instances, seeds in one, share that a seed hits, mean of every IoU column, and of every set of
    instances the shares found, merged, split, missed, and duplicates an instance; null where a group is empty."""
    ious = [name for name in table if name not in (*PLACES, HITS) and ":" not in name]
    sets = list(dict.fromkeys(name.partition(":")[0] for name in table if ":" in name))
    return [
        {
            "kind": kind,
            "group": name,
            "instances": int(rows.sum()),
            "seeds": mean(table[HITS][rows]) if HITS in table else None,
            "hit": mean(table[HITS][rows] > 0) if HITS in table else None,
            "iou": {column: mean(table[column][rows]) for column in ious},
            "states": {one: {s: mean(table[f"{one}:{s}"][rows]) for s in STATES} for one in sets},
        }
        for kind, name, rows in (groups(table, classes) if table else ())
    ]


def recall_rows(table: Columns, column: str) -> list[dict[str, Any]]:
    """Share of the instances that a column reaches at IoU 0.5, 0.7, 0.75 (>=): all, by company and by area."""
    return [
        {
            "group": name,
            "instances": int(rows.sum()),
            "best_iou": mean(table[column][rows]),
            "recall": {f"{t:.2f}": mean(table[column][rows] >= t) for t in RECALLS},
        }
        for _, name, rows in groups(table, ())
    ]


def state_columns(name: str, states: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Columns of the table of instances from states [N, 5]."""
    return {f"{name}:{state}": column for state, column in zip(STATES, states.T, strict=True)}


def last_of(named: Mapping[str, Any], kind: str) -> str:
    """Of names such as `best@1`, the one of this kind and the last outer iteration that has it; "" where none has."""
    return next((n for n in reversed(list(named)) if n.startswith(f"{kind}@") and "/" not in n), "")


def mean(values: NDArray[Any]) -> float | None:
    """Mean, or None of nothing."""
    return float(values.mean()) if len(values) else None


# ------------------------------------------------------------------------------------------ the waterfall


def waterfall(train: Columns, val: Columns, iteration: int) -> list[dict[str, Any]]:
    """Mean IoU after each step of the method in one outer iteration, and what the step costs.

    The chain is perfect masks -> best union of superpixels -> best candidate before selection (if measured) -> best
    proposal -> best that passes the filter by seeds or boxes -> best of those within max_proposals, which the
    conditional network sees -> best of the K samples -> mean over them -> prediction on train -> prediction on val; a
    step that the run does not have is left out, and the next one bears its loss. Losses therefore add up to 1 minus the
    last IoU; a negative loss is a gain. All are means over training instances but the last, which compares two sets of
    images.

    Two rows stand aside (`aside`, without a loss): in iteration 1 the targets made of seeds, from which the samples
    learn but of which they are not made, and the ceiling's prediction, which says what is in reach on val.
    """
    named = [
        ("best of superpixels", train.get("superpixels"), False),
        ("best in the pool", train.get("pool"), False),
        ("best proposal", train.get("proposal"), False),
        ("best filtered proposal", train.get("filtered"), False),
        ("best within max_proposals", train.get("limited"), False),
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
