"""Groups, recall and the waterfall of a diagnosis, by hand."""

import numpy as np
import pytest

from wsis.reporting.diagnosis.summary import conclusion, group_rows, join, recall_rows, waterfall


def table(**columns: list) -> dict[str, np.ndarray]:
    places = {"label": np.array([1, 1, 2, 2]), "area": np.array([0.04, 0.05, 0.15, 0.5])}
    return {
        **places,
        "alone": np.array([False, False, True, True]),
        "touching": np.array([True, False, False, False]),
        **{k: np.array(v) for k, v in columns.items()},
    }


def test_groups_of_instances() -> None:
    """Bounds of area belong to the upper group; a class without instances has no mean."""
    rows = group_rows(table(proposal=[0.1, 0.3, 0.5, 0.9]), ("cat", "cow", "dog"))
    named = {row["group"]: (row["instances"], row["iou"]["proposal"]) for row in rows}
    assert named == {
        "all": (4, pytest.approx(0.45)),
        "alone": (2, pytest.approx(0.7)),
        "among several": (2, pytest.approx(0.2)),
        "touching": (1, 0.1),
        "under 0.25 %": (0, None),
        "0.25–1 %": (0, None),
        "1–5 %": (1, 0.1),
        "5–15 %": (1, 0.3),
        "over 15 %": (2, pytest.approx(0.7)),
        "under 5 %": (1, 0.1),
        "cat": (2, pytest.approx(0.2)),
        "cow": (2, pytest.approx(0.7)),
        "dog": (0, None),
    }
    assert group_rows({}, ("cat",)) == []


def test_images_with_given_masks_are_a_group_where_there_are_some() -> None:
    given = np.array([True, False, False, True])
    rows = group_rows(table(proposal=[0.1, 0.3, 0.5, 0.9], given=given), ())
    named = {row["group"]: (row["instances"], row["iou"]) for row in rows if row["kind"] == "share"}
    assert named == {
        "given masks": (2, {"proposal": pytest.approx(0.5)}),
        "weak labels": (2, {"proposal": pytest.approx(0.4)}),
    }


def test_recall_counts_the_threshold_itself() -> None:
    rows = recall_rows(table(x=[0.5, 0.49, 0.7, 0.75]), "x")
    assert rows[0]["recall"] == {"0.50": 0.75, "0.70": 0.5, "0.75": 0.25}
    named = {row["group"]: row for row in rows}
    assert [named[n]["instances"] for n in ("all", "1–5 %", "5–15 %", "over 15 %")] == [4, 1, 1, 2]
    assert named["over 15 %"]["recall"] == {"0.50": 1.0, "0.70": 1.0, "0.75": 0.5}


def test_tables_of_images_are_joined() -> None:
    joined = join([{"label": np.array([1, 2])}, {"label": np.array([], int)}, {"label": np.array([3])}])
    assert joined["label"].tolist() == [1, 2, 3] and join([]) == {}


TRAIN = {
    "superpixels": [0.95] * 4,
    "proposal": [0.9] * 4,
    "filtered": [0.9] * 4,
    "limited": [0.8] * 4,
    "seed_target": [0.5] * 4,
    "best@1": [0.7] * 4,
    "mean@1": [0.4, 0.4, 0.6, 0.6],
    "train@1": [0.6] * 4,
    "best@2": [0.75] * 4,
    "mean@2": [0.65] * 4,
}


def test_waterfall_adds_up() -> None:
    val = {**table(), "val@1": np.array([0.5]), "ceiling": np.array([0.7])}
    chain = waterfall(table(**TRAIN), val, 1)
    assert [(s["step"], round(s["iou"], 6)) for s in chain] == [
        ("perfect", 1.0),
        ("best of superpixels", 0.95),
        ("best proposal", 0.9),
        ("best filtered proposal", 0.9),
        ("best within max_proposals", 0.8),
        ("target from a seed", 0.5),
        ("best of K", 0.7),
        ("mean over K", 0.5),
        ("prediction on train", 0.6),
        ("prediction on val", 0.5),
        ("ceiling on val", 0.7),
    ]
    assert [s["step"] for s in chain if s["aside"]] == ["target from a seed", "ceiling on val"]
    losses = [s["loss"] for s in chain if s["loss"] is not None]
    assert losses == pytest.approx([0.05, 0.05, 0, 0.1, 0.1, 0.2, -0.1, 0.1]) and sum(
        losses
    ) == pytest.approx(1 - 0.5)
    assert conclusion(chain, 1) == (
        "Outer iteration 1: most is lost from best of K (70.0) to mean over K (50.0), 20.0 of the 50.0 points of IoU "
        "between perfect masks and prediction on val."
    )


def test_waterfall_of_an_unfinished_run() -> None:
    """Iteration 2 without predictions: the chain ends early, the seeds' targets belong to iteration 1."""
    chain = waterfall(table(**TRAIN), {}, 2)
    assert [s["step"] for s in chain][-2:] == ["best of K", "mean over K"] and not any(
        s["aside"] for s in chain
    )
    assert "between perfect masks and mean over K" in str(conclusion(chain, 2))
    before = waterfall(table(proposal=[0.9] * 4), {}, 0)
    assert str(conclusion(before, 0)).startswith(
        "Before the first outer iteration: most is lost from perfect"
    )
    assert conclusion(waterfall({}, {}, 0), 0) is None
    assert conclusion(waterfall(table(proposal=[1.0] * 4), {}, 0), 0) == (
        "Before the first outer iteration: no step loses anything."
    )
