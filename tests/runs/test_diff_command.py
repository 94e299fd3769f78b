"""`wsis diff`: two runs side by side."""

import json
from pathlib import Path

from data_contracts.runs import save_run
from data_contracts.store import Store
from tests.runs.tiny_run import RUN, done, record_of, wsis
from wsis.reporting.tables.tables import percent


def test_only_what_differs_and_results_in_pairs(own_store: Path) -> None:
    """A run of other settings whose last evaluation is another artefact, and which has one result less."""
    other = record_of(own_store)
    other.name = "other"
    other.config["seed"], other.config["prm_baseline"]["nms"] = 7, 0.9
    other.entries["evaluation.pseudo_labels@2"] = other.entries["evaluation.prm_baseline"].model_copy()
    del other.entries["evaluation.prediction@1"]
    save_run(Store(own_store), other)

    found = json.loads(done(wsis("diff", RUN, "other", "--json", "--store", own_store)).out)
    config = record_of(own_store).config
    assert found["settings"] == {
        "seed": [config["seed"], 7],
        "prm_baseline.nms": [config["prm_baseline"]["nms"], 0.9],
    }
    assert found["own"] == ["evaluation.pseudo_labels@2"] and "evaluation.prediction@1" not in found["common"]
    pairs = {(one["kind"], one["outer_iteration"]): one["results"] for one in found["results"]}
    assert pairs["prediction", 1][0] is not None and pairs["prediction", 1][1] is None
    assert pairs["prediction", 2][0] == pairs["prediction", 2][1]

    text = done(wsis("diff", RUN, "other", "--store", own_store)).out
    assert max(map(len, text.splitlines())) <= 80
    assert "\nprm_baseline.nms  " in text and "\nseed  " in text and "proposals.max_side" not in text
    assert f"another for 1, from {found['own'][0]} on" in " ".join(text.split())
    last = next(line for line in text.splitlines() if line.split()[:2] == ["prediction", "2"])
    half = percent(pairs["prediction", 2][0]["mAP"]["0.50"])
    assert last.split()[3:6] == [half, half, "+0.0"]
    first = next(line for line in text.splitlines() if line.split()[:2] == ["prediction", "1"])
    assert first.split()[4:6] == ["–", "–"]


def test_a_run_is_like_itself_and_another_must_be_there(tiny_store: Path) -> None:
    assert "no setting differs" in done(wsis("diff", RUN, RUN, "--store", tiny_store)).out
    refused = wsis("diff", RUN, "none", "--store", tiny_store)
    assert refused.code == 1 and "no run 'none'" in refused.err
