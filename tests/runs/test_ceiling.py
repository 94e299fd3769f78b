"""The ceiling beside a finished run: nothing of the method is computed again, and its row says what it is."""

import json
from pathlib import Path

from stages.prediction.ceiling import SUPERVISION
from tests.runs.tiny_run import RUN, TINY, computed, done, fingerprints, manifest_of, wsis

OWN = {"ceiling", "predictions.ceiling", "evaluation.ceiling"}


def test_a_ceiling_beside_a_finished_run(own_store: Path) -> None:
    before = fingerprints(own_store)
    done(wsis("run", TINY, "--store", own_store, "--set", "ceiling=true", "--replace"))
    after = fingerprints(own_store)
    assert computed(own_store) == set(after) - set(before) == OWN
    assert {k: after[k] for k in before} == before

    trained = manifest_of(own_store, "ceiling")
    assert {SUPERVISION, "ImageNet labels", "masks (evaluation)"} <= set(trained.supervision)
    assert (trained.counts["steps"], trained.counts["images"]) == (8 + 4, 12)
    assert {k for k in after if SUPERVISION in manifest_of(own_store, k).supervision} == OWN

    rows = json.loads(done(wsis("results", RUN, "--store", own_store, "--json")).out)
    assert [r["kind"] for r in rows].count("ceiling") == 1
    assert rows[-1]["kind"] == "ceiling" and rows[-1]["outer_iteration"] is None
    assert SUPERVISION in rows[-1]["supervision"] and rows[-1]["split"] == "val"
    assert not any(SUPERVISION in r["supervision"] for r in rows[:-1])

    done(wsis("run", TINY, "--store", own_store, "--replace"))
    assert fingerprints(own_store) == before
