"""After one stage was computed anew alone, every view of the run says what is stale, and going on mends it."""

import json
from pathlib import Path

import pytest

from tests.runs.tiny_run import RUN, computed, done, fingerprints, wsis

pytestmark = pytest.mark.timeout(400)
STALE = {"evaluation.pseudo_labels@2", "prediction@2", "predictions.val@2", "evaluation.prediction@2"}


def test_every_view_says_stale_until_the_run_goes_on(own_store: Path, tmp_path: Path) -> None:
    store = ["--store", own_store]
    fresh = wsis("show", RUN, *store).out, wsis("verify", RUN, *store).out, wsis("runs", *store).out
    assert not any("stale" in text for text in fresh)
    change = ["--iteration", 2, "--set", "pseudo_labels.score_noise=0.03"]
    replaced = fingerprints(own_store)["pseudo_labels@2"]
    done(wsis("stage", "pseudo_labels", "--run", RUN, *change, *store))
    mend = f"wsis run --name {RUN}"

    lines = done(wsis("show", RUN, *store)).out.splitlines()
    assert {line.split()[0] for line in lines if line.endswith("  stale")} == STALE
    assert mend in lines[-1]
    assert "stale" in done(wsis("show", RUN, "prediction@2", *store)).out
    rows = json.loads(done(wsis("results", RUN, "--json", *store)).out)
    assert {(r["kind"], r["outer_iteration"]) for r in rows if r.get("stale")} == {
        ("pseudo_labels", 2),
        ("prediction", 2),
    }
    text = done(wsis("results", RUN, *store)).out
    assert sum(", stale" in line for line in text.splitlines()) == 2 and mend in text
    assert "0 problems\nstale: " in done(wsis("verify", RUN, *store)).out
    assert "completed, stale" in done(wsis("runs", *store)).out
    done(wsis("report", RUN, "--images", 0, "--out", tmp_path / "report", *store))
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count(", stale") >= len(STALE) and mend in page
    for command in (["export", RUN, "--out", tmp_path / "model"], ["diagnose", RUN, "--images", 1]):
        (line,) = [x for x in done(wsis(*command, *store)).err.splitlines() if x.startswith("warning: stale")]
        assert mend in line

    next(p for p in (own_store / replaced).glob("shard-*/**/*") if p.is_file()).unlink()
    made_anew = f"was made from it; to make that anew without it: {mend} --store {own_store}"
    assert (
        f"{replaced}: No run uses it any more, but evaluation.pseudo_labels@2 of run {RUN} {made_anew}"
        in (wsis("verify", *store).out.splitlines())
    )

    before = fingerprints(own_store)
    done(wsis("run", "--name", RUN, *store))
    after = fingerprints(own_store)
    # k was changed for both iterations: the run makes one of what one stage alone had changed
    assert computed(own_store) > STALE and all(after[key] != before[key] for key in STALE)
    assert "stale" not in done(wsis("show", RUN, *store)).out

    assert f"{replaced}: No run uses it; to remove what no run uses: wsis gc --store {own_store}" in (
        wsis("verify", *store).out
    )
    done(wsis("gc", "--yes", *store))
    assert ", 0 problems\n" in done(wsis("verify", *store)).out
