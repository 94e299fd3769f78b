"""`wsis bench` on the tiny run: ordinary runs up to a stage, measured in folds, compared with an earlier table."""

import json
from pathlib import Path

import pytest
import yaml

from data_contracts.errors import ConfigError
from tests.runs.tiny_run import TINY, computed, done, fingerprints, record_of, wsis
from wsis.apps.bench import bench_runs, load_bench
from wsis.runs.config import load_config
from wsis.runs.plan import needed_for, plan
from wsis.runs.shipped import shipped_benches, shipped_configs

pytestmark = pytest.mark.timeout(400)


def write_bench(folder: Path, **changes: object) -> Path:
    tree = {
        "base": str(TINY),
        "folds": 2,
        "until": "pseudo_labels@1",
        "sets": {"tiny": {}, "short": {"set": {"conditional.pretrain_epochs": 1, "conditional.epochs": 1}}},
        **changes,
    }
    path = folder / "some.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def test_sets_are_run_up_to_a_stage_and_compared(own_store: Path, tmp_path: Path) -> None:
    """The set `tiny` has the artefacts of the finished run; nothing behind the pseudo labels is made."""
    suite, before = write_bench(tmp_path), tmp_path / "before.json"
    out = done(wsis("bench", suite, "--store", own_store, "--out", before)).out
    assert max(map(len, out.splitlines())) <= 80 and "tiny: 1 seed, 2 folds" in out
    assert not computed(own_store, "some-tiny-s0")
    keys = set(fingerprints(own_store, "some-short-s0"))
    assert {"ground_truth", "pseudo_labels@1", "evaluation.pseudo_labels@1"} <= keys
    assert not {"prm_baseline", "prediction@1", "conditional@2"} & keys
    assert record_of(own_store, "some-tiny-s0").status == "interrupted"

    rows = json.loads(before.read_text())["sets"]["tiny"]["measured"]
    assert [(row["seed"], row["fold"], row["run"]) for row in rows] == [
        (0, f, "some-tiny-s0") for f in (0, 1)
    ]
    whole = json.loads(done(wsis("diagnose", "some-tiny-s0", "--store", own_store, "--json")).out)
    everyone = whole["groups"]["train"][0]["iou"]
    bounds = sorted(row["values"]["best"] for row in rows)
    assert bounds[0] <= everyone["best@1"] <= bounds[1]
    assert "labels.AP50" in rows[0]["values"] and "labels.AP50" not in rows[1]["values"]

    again = ("--show", "--store", own_store, "--against", before)
    shown = done(wsis("bench", suite, *again)).out
    assert "▲ better: 0" in shown and "▼ worse: 0" in shown
    changed = json.loads(before.read_text())
    for row in changed["sets"]["short"]["measured"]:
        row["values"]["proposal"] -= 0.1
    before.write_text(json.dumps(changed))
    shown = done(wsis("bench", suite, *again)).out
    assert "▲ better: 1\n  short, proposals: kept +10.0" in shown and "▼ worse: 0" in shown


def test_a_change_needs_replace_and_goes_over_all_sets(own_store: Path, tmp_path: Path) -> None:
    suite = write_bench(tmp_path, sets={"tiny": {}}, until="proposals")
    done(wsis("bench", suite, "--store", own_store))
    change = ("bench", suite, "--store", own_store, "--set", "proposals.num_proposals=10")
    refused = wsis(*change)
    assert refused.code == 2 and "proposals.num_proposals" in refused.err
    out = done(wsis(*change, "--replace")).out
    assert "kept" in out and "best of K" not in out


def test_roots_make_sets_and_what_has_no_data_is_left_out(tmp_path: Path) -> None:
    """A set's own root is replaced; a new name is a set; without a folder there is no run."""
    name, bench = load_bench("sets")
    runs, without = bench_runs(name, bench, ["conditional.k=3"], {"crowds": "a b"}, seeds=[4])
    assert [(run.run_name, str(run.config.data.root)) for run in runs] == [
        ("sets-scenes-s4", "None"),
        ("sets-crowds-s4", "a b"),
    ]
    assert not without and all(run.config.conditional.k == 3 for run in runs)
    path = write_bench(
        tmp_path, base="voc_lite", sets={"mine": {"set": {"data.supervision": "box"}}, "s": {"base": "demo"}}
    )
    name, bench = load_bench(str(path))
    runs, without = bench_runs(name, bench)
    assert [run.data_set for run in runs] == ["s"] and without == ["mine"]
    runs, without = bench_runs(name, bench, roots={"mine": "here"}, only=["mine"])
    assert runs[0].config.data.supervision == "box" and not without


def test_each_fold_may_be_held_out(own_store: Path, tmp_path: Path) -> None:
    """A run a fold, measured whole; together the folds' val images are the train images of the set."""
    suite = write_bench(tmp_path, hold_out=True, until="dataset", sets={"tiny": {}})
    name, bench = load_bench(str(suite))
    runs, _ = bench_runs(name, bench)
    assert [(run.run_name, run.config.data.fold) for run in runs] == [
        ("some-tiny-f0-s0", 0),
        ("some-tiny-f1-s0", 1),
    ]
    out = done(wsis("bench", suite, "--store", own_store, "--json")).out
    rows = json.loads(out)["sets"]["tiny"]["measured"]
    assert [(row["fold"], row["run"]) for row in rows] == [(0, "some-tiny-f0-s0"), (1, "some-tiny-f1-s0")]
    assert all("minutes" in row["values"] for row in rows)
    found = [
        json.loads(done(wsis("diagnose", run.run_name, "--store", own_store, "--json")).out) for run in runs
    ]
    assert (
        [one["data"]["train"]["of"] for one in found] == [6, 6] == [one["data"]["val"]["of"] for one in found]
    )


def test_a_base_beside_the_bench(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(TINY.read_text())
    name, bench = load_bench(
        str(write_bench(tmp_path, base="own.yaml", sets={"a": {}, "b": {"base": "own.yaml"}}))
    )
    assert {run.config.data.format for run in bench_runs(name, bench)[0]} == {"scenes"}


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"fold": 3}, {}, r"some.yaml: fold: unknown key; did you mean 'folds'"),
        ({}, {"only": ["tini"]}, r"expected data sets out of tiny, short, got 'tini'; did you mean 'tiny'"),
        ({"sets": {"a": {"set": {"conditional.kk": 1}}}}, {}, r"data set a: .*conditional.kk: unknown key"),
        ({"base": "voc_lite", "sets": {"a": {}}}, {}, r"expected the folder of a data set, got none"),
        ({"sets": {"a b": {}}}, {}, "run name: expected letters, digits"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(changes: dict, options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        bench_runs(*load_bench(str(write_bench(tmp_path, **changes))), **options)


def test_bad_options(tmp_path: Path) -> None:
    suite = write_bench(tmp_path, until="pseudo_label@1", sets={"tiny": {}})
    refused = wsis("bench", suite, "--store", tmp_path / "s")
    assert refused.code == 2 and "got 'pseudo_label@1'; did you mean 'pseudo_labels@1'" in refused.err
    assert (
        "--root 'x': expected NAME=DIR" in wsis("bench", suite, "--root", "x", "--store", tmp_path / "s").err
    )


@pytest.mark.parametrize("name", shipped_benches())
def test_shipped_benches_load_and_say_what_they_are(name: str) -> None:
    assert shipped_benches()[name].read_text().startswith("# ") and f"bench/{name}" not in shipped_configs()
    runs, _ = bench_runs(*load_bench(name))
    assert len({run.run_name for run in runs}) == len(runs)
    _, bench = load_bench(name)
    for run in runs:
        assert bench.until is None or needed_for(plan(run.config), bench.until)


def test_what_a_node_needs() -> None:
    nodes = plan(load_config("demo", ["data.supervision=box", "ceiling=true"]))
    needed = [node.key for node in needed_for(nodes, "pseudo_labels@1")]
    assert needed == [
        "dataset", "boxes", "ground_truth", "prm_classifier", "proposals", "prm_seeds", "conditional@1",
        "pseudo_labels@1", "evaluation.pseudo_labels@1",
    ]  # fmt: skip
    last = [node.key for node in needed_for(nodes, "predictions.val@2")]
    assert last[-1] == "evaluation.prediction@2" and "predictions.train@1" in last and "ceiling" not in last


def test_nothing_is_run_where_one_set_cannot_be(tmp_path: Path) -> None:
    bad = {"set": {"data.format": "coco", "data.root": "nowhere"}}
    suite, store = write_bench(tmp_path, sets={"tiny": {}, "bad": bad}), tmp_path / "store"
    refused = wsis("bench", suite, "--store", store)
    assert refused.code == 1 and "data.root: expected a folder" in refused.err
    assert not list(store.rglob("manifest.json"))
