"""The tables of a diagnosis in 80 columns, from measures made up."""

import numpy as np
import pytest

from wsis.method.evaluation.instance_quality import STATES
from wsis.reporting.diagnosis.boxes import BoxMeasures
from wsis.reporting.diagnosis.summary import FIRST, conclusion, group_rows, recall_rows, waterfall
from wsis.reporting.diagnosis.text import diagnosis_html, diagnosis_text

COUNT, ITERATIONS = 1000, (1, 2, 3, 4)
STEPS = ("superpixels", "pool", *(f"proposal/{n}" for n in FIRST), "proposal", "filtered", "limited")


def places(rng: np.random.Generator) -> dict[str, np.ndarray]:
    alone = rng.random(COUNT) < 0.3
    return {
        "label": rng.integers(1, 3, COUNT),
        "area": np.geomspace(0.001, 0.9, COUNT),
        "alone": alone,
        "touching": ~alone & (rng.random(COUNT) < 0.5),
    }


def states(name: str) -> dict[str, np.ndarray]:
    return {
        f"{name}:{state}": np.full(COUNT, value) for state, value in zip(STATES, (1, 0, 0, 0, 2), strict=True)
    }


@pytest.fixture
def diagnosis() -> dict:
    """Everything that can be measured: four iterations, boxes, the pool, the ceiling."""
    rng = np.random.default_rng(0)
    ious = [*STEPS, "response", "seed_target", *(f"{k}@{t}" for t in ITERATIONS for k in ("best", "mean"))]
    train = places(rng) | {name: np.full(COUNT, 1.0) for name in ious} | {"hits": rng.integers(0, 9, COUNT)}
    val = places(rng)
    for t in ITERATIONS:
        train |= states(f"labels@{t}")
        val |= {f"val@{t}": np.full(COUNT, 0.5), f"val@{t}/any": np.full(COUNT, 0.6), **states(f"val@{t}")}
    for t in ITERATIONS[:-1]:
        train |= {f"train@{t}": np.full(COUNT, 0.5), **states(f"train@{t}")}
    val |= {"ceiling": np.full(COUNT, 0.7), "ceiling/any": np.full(COUNT, 0.7), **states("ceiling")}
    chains = {t: waterfall(train, val, t) for t in ITERATIONS}
    boxes = BoxMeasures()
    boxes.iterations = [4]
    boxes.tables = [
        places(rng)
        | {"fitted": rng.random(COUNT) < 0.4, "fitted_limited": rng.random(COUNT) < 0.2}
        | {
            "labelled@4": np.full(COUNT, 0.9),
            "outside@4": np.full(COUNT, 0.25),
            "overlap@4": np.full(COUNT, 0.6),
        }
    ]
    sums = {"images": 100.0, "instances": 1000.0, "predicted": 12345.0, "spurious": 12345.0}
    sums |= {name: 1000.0 for name in STATES}
    sets = {"pool": "pool", **{f"first_{n}": f"proposal/{n}" for n in FIRST}, "all": "proposal"}
    sets |= {"filtered": "filtered", "limited": "limited"}
    return {
        "run": "made-up", "status": "completed", "absent": [], "images_without_masks": 0,
        "data": {"train": {"images": 40, "of": 216, "instances": COUNT}, "val": {"images": 0, "of": 0, "instances": 0}},
        "seeds": {
            "per_image": 12.3, "instances_per_image": 45.6, "instances_hit": 1.0, "instances_hit_twice": 1.0,
            **dict.fromkeys(("inside", "other_class", "background", "void"), 0.25),
            "classes_with": dict.fromkeys(("fewer", "equal", "more"), 1.0),
        },
        "proposals": {
            name: {"per_image": 4980.0 if "first" not in name else None, "groups": recall_rows(train, column)}
            for name, column in sets.items()
        },
        "boxes": boxes.result(),
        "pseudo_labels": [
            {"iteration": t, "mean_over_k": 1.0, "best_of_k": 1.0, **sums, "distinct": 10.0, "one_set_only": 1.0}
            for t in ITERATIONS
        ],
        "detections": [
            {"key": f"predictions.train@{t}", "best_iou": 1.0, "best_iou_sure": 1.0, **sums} for t in (1, 2)
        ],
        "groups": {"train": group_rows(train, ("cat", "cow")), "val": group_rows(val, ("cat", "cow"))},
        "waterfalls": [{"iteration": t, "steps": c, "conclusion": conclusion(c, t)} for t, c in chains.items()],
        "conclusion": conclusion(chains[4], 4),
        "results": [],
    }  # fmt: skip


def test_everything_fits_80_columns_in_one_piece(diagnosis: dict) -> None:
    """No table goes on in a further one below: each title is followed by one block of rows."""
    text = diagnosis_text(diagnosis, per_class=True)
    assert max(map(len, text.splitlines())) <= 80
    for title in (
        "Where accuracy is lost, by kind of instance (train)",
        "Where accuracy is lost, step by step",
        "How instances end (train)",
        "Prediction by kind of instance (val)",
        "Proposals (train): best of each instance",
        "Boxes (train)",
    ):
        after = text.split(f"\n{title}\n\n")[1].split("\n\n")
        assert not after[1].startswith(("   ", "  -", "--")), title
    assert text.index("by kind of instance (train)") < text.index("step by step") < text.index("Seeds")


def test_rows_say_what_was_measured(diagnosis: dict) -> None:
    """Kinds without instances are left out; classes come with --per-class alone."""
    text = diagnosis_text(diagnosis)
    table = text.split("by kind of instance (train)\n\n")[1].split("\n\n")[0].splitlines()
    assert [line[:13].strip() for line in table[3:]][:4] == ["all", "alone", "among several", "touching"]
    assert "under 0.25 %" in text and not any(row[:1] == ["cat"] for row in map(str.split, text.splitlines()))
    assert any(row[:1] == ["cow"] for row in map(str.split, diagnosis_text(diagnosis, True).splitlines()))
    for row in diagnosis["groups"]["train"]:
        if row["group"] == "under 0.25 %":
            row["instances"] = 0
    assert "under 0.25 %" not in diagnosis_text(diagnosis).split("step by step")[0]


def test_boxes_say_what_lies_outside(diagnosis: dict) -> None:
    table = diagnosis_text(diagnosis).split("\nBoxes (train)\n\n")[1].splitlines()
    number, fits, kept = table[3].split()[1:4], diagnosis["boxes"]["groups"][0], table[3].split()[4:]
    assert number == ["1000", f"{100 * fits['without_proposal']:.1f}", f"{100 * fits['without_limited']:.1f}"]
    assert kept == ["10.0", "25.0", "60.0"]


def test_the_page_has_the_same_tables(diagnosis: dict) -> None:
    page = diagnosis_html(diagnosis)
    for text in (
        "by kind of instance (train)",
        '<th class="group" colspan="5">proposals, best of</th>',
        '<th class="group" colspan="2">no proposal fits</th>',
        "twice",
    ):
        assert text in page
