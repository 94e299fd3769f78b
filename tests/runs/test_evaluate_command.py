"""`wsis evaluate`: a finished run on other labelled data, what it keeps, and what it refuses."""

import json
import re
from pathlib import Path

import pytest

from data_contracts.store import Store
from tests.runs.other_data import write_coco, write_voc
from tests.runs.tiny_run import RUN, computed, done, fingerprints, wsis

pytestmark = pytest.mark.timeout(400)
CLASSES = ["cup", "fish", "kite", "mushroom"]
THRESHOLDS = ["0.25", "0.50", "0.70", "0.75"]


@pytest.mark.parametrize(
    ("data_format", "write", "names"),
    [("coco", write_coco, ["snail", "kite", "fish"]), ("voc", write_voc, ["cup", "fish", "kite"])],
)
def test_evaluate_on_other_data(
    own_store: Path, tmp_path: Path, data_format: str, write, names: list[str]
) -> None:
    """Classes are matched by name. Snails, which the run does not know, are left out; what the data lack is null."""
    instances = write(tmp_path / "data", "odd", names, 5)
    arguments = ["evaluate", RUN, "--data", tmp_path / "data", "--format", data_format, "--split", "odd"]
    result = done(wsis(*arguments, "--json", "--store", own_store))
    (row,) = json.loads(result.out)
    assert (row["kind"], row["split"], row["outer_iteration"], row["images"]) == ("prediction", "odd", 2, 5)
    assert list(row["per_class"]) == CLASSES
    for name in CLASSES:
        lacks = [ap is None for ap in row["per_class"][name].values()]
        assert lacks == [name not in names] * len(THRESHOLDS)
    store = Store(own_store)
    found = [store.open("evaluation", p.parent.name) for p in own_store.glob("evaluation/*/manifest.json")]
    known = sum(instances[c] for c in CLASSES)
    assert 0 < known <= sum(instances.values())
    assert [a.manifest.counts["instances"] for a in found if a.manifest.counts["images"] == 5] == [known]
    text = done(wsis(*arguments, "--iteration", 1, "--store", own_store)).out
    assert re.search(r"^prediction +1 +odd ", text, re.MULTILINE) and "kite" in text
    assert "starts" not in done(wsis(*arguments, "--store", own_store)).err  # all of it is there already
    # the run keeps both: one of each iteration, with what they were measured on
    results = json.loads(done(wsis("results", RUN, "--json", "--store", own_store)).out)
    (first, last) = [one for one in results if "data" in one]
    assert (first["outer_iteration"], last["outer_iteration"]) == (1, 2)
    assert last.items() >= {k: v for k, v in row.items() if k != "finished"}.items()
    assert (last["data"], last["format"], last["split"]) == (str(tmp_path / "data"), data_format, "odd")
    heading = f"measured on {tmp_path / 'data'} ({data_format}, labels {last['digest']})"
    assert done(wsis("results", RUN, "--store", own_store)).out.count(heading) == 1
    assert f"measured on {tmp_path / 'data'}" in done(wsis("show", RUN, "--store", own_store)).out
    done(wsis("report", RUN, "--images", 0, "--store", own_store))
    assert heading in (own_store / "reports" / RUN / "report.html").read_text()
    assert done(wsis("verify", RUN, "--store", own_store)).out.startswith("26 artefacts checked, 0 problem")
    assert "evaluation.prediction@2" in fingerprints(own_store) and computed(own_store) == set(
        fingerprints(own_store)
    )


def test_evaluate_refuses(own_store: Path, tmp_path: Path) -> None:
    write_coco(tmp_path / "data", "odd", ["snail"], 2)
    common = ["--store", own_store, "--split", "odd", "--data", tmp_path / "data"]
    unknown = wsis("evaluate", RUN, *common, "--format", "coco")
    assert (
        unknown.code == 1 and "no instance of a class of the run (cup, fish, kite, mushroom)" in unknown.err
    )
    bad_format = wsis("evaluate", RUN, *common, "--format", "cocoa")
    assert bad_format.code == 2 and "error: --format: expected one of " in bad_format.err
    bad_key = wsis("evaluate", RUN, *common, "--format", "coco", "--set", "data.val_anotations=x")
    assert bad_key.code == 2 and "data.val_anotations: unknown key; did you mean" in bad_key.err
    absent = wsis("evaluate", RUN, *common, "--format", "coco", "--iteration", 9)
    assert absent.code == 2 and "holds no 'prediction@9'; it holds dataset" in absent.err
    write_voc(tmp_path / "voc", "odd", ["snail", "kite"], 2)  # its class index 1 is no cup
    misnumbered = wsis("evaluate", RUN, "--store", own_store, "--split", "odd", "--data", tmp_path / "voc")
    assert misnumbered.code == 1
    assert "class index 1 means 'cup' here, but the annotation has" in misnumbered.err
    nowhere = wsis("evaluate", RUN, "--store", own_store, "--split", "odd", "--data", tmp_path / "none")
    assert nowhere.code == 1 and str(tmp_path / "none") in nowhere.err
