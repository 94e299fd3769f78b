"""`wsis predict` on a photograph that is longer than those of training: tiles, what is said, what options change."""

import json
import re
from pathlib import Path

import pytest

from tests.runs.own_photographs import encoded, good_folder, scene
from tests.runs.tiny_run import RUN, done, wsis
from wsis.api import open_run

pytestmark = pytest.mark.timeout(300)
SCORE = 0.1  # the tiny network is sure of nothing


def test_a_long_photograph_is_looked_at_in_tiles_and_that_is_said(own_store: Path, tmp_path: Path) -> None:
    images = good_folder(tmp_path / "photos", 1)
    (images / "long.png").write_bytes(encoded(scene(64, 900)))
    command = ("predict", RUN, images, "--store", own_store, "--score", SCORE, "--out")
    said = re.compile(r"900 x 64: (\d+) tiles of \d+ x 64 and the whole, because shrunk to ")
    first = done(wsis(*command, tmp_path / "auto"))
    assert int(said.search(first.err).group(1)) > 8 and first.err.count(" tiles of ") == 1
    assert said.search(done(wsis(*command, tmp_path / "again")).err)  # though nothing is computed
    assert " tiles of " not in done(wsis(*command, tmp_path / "whole", "--tiles", "whole")).err
    asked = done(wsis(*command, tmp_path / "size", "--size", 300)).err
    assert "900 x 64: " in asked and "as if 300 pixels long, as asked for" in asked
    found = {
        out: json.loads((tmp_path / out / "results.json").read_text()) for out in ("auto", "again", "whole")
    }
    assert found["auto"] == found["again"]
    long, short = (
        {out: [r for r in results if (r["file_name"] == "long.png") == one] for out, results in found.items()}
        for one in (True, False)
    )
    assert short["auto"] == short["whole"] and len(long["auto"]) > len(long["whole"])
    run = open_run(RUN, store=own_store)
    again = run.predict(images / "long.png", score=SCORE)
    assert [r["score"] for r in long["auto"]] == pytest.approx(again.scores.tolist())
    whole = run.predict(images / "long.png", score=SCORE, tiles="whole")
    assert len(whole) == len(long["whole"])
