"""`wsis ablations` on the tiny run: rows are ordinary runs that share artefacts; what is wrong is named."""

import json
import re
from pathlib import Path

import pytest
import yaml

from data_contracts.errors import ConfigError
from tests.runs.tiny_run import TINY, computed, done, fingerprints, wsis
from wsis.apps.suites import load_suite, members
from wsis.runs.shipped import shipped_suites

pytestmark = pytest.mark.timeout(400)


def write_suite(folder: Path, **changes: object) -> Path:
    tree = {
        "base": str(TINY),
        "rows": {"all": {"title": "U+P+H"}, "u": {"title": "U", "set": {"conditional.terms": "U"}}},
        "orders": [["u", "all"]],
        **changes,
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def test_rows_share_what_they_have_in_common(own_store: Path, tmp_path: Path) -> None:
    suite = write_suite(tmp_path)
    first = ("--set", "outer_iterations=1", "--store", own_store)
    out = done(wsis("ablations", suite, *first)).out
    assert "\nU+P+H\n1 " in out and "\nU\n1 " in out and max(map(len, out.splitlines())) <= 80
    assert "u < all at 0.50, iteration 1" in out
    assert "| U+P+H" in done(wsis("ablations", suite, "--show", "--markdown", *first)).out
    assert not computed(own_store, "small-all-s0"), "the finished run `tiny` has the same artefacts"
    mine, others = fingerprints(own_store, "small-u-s0"), fingerprints(own_store, "small-all-s0")
    differing = {key for key in mine if mine[key] != others[key]}
    assert {key.partition("@")[0] for key in differing} == {
        "conditional", "pseudo_labels", "prediction", "predictions.val",
        "evaluation.pseudo_labels", "evaluation.prediction",
    }  # fmt: skip

    shown = done(wsis("ablations", suite, "--show", "--json", *first))
    rows = json.loads(shown.out)
    assert [(r["row"], r["seed"], r["finished"]) for r in rows] == [("all", 0, True), ("u", 0, True)]
    assert {r["kind"] for r in rows[0]["results"]} == {"prm_baseline", "pseudo_labels", "prediction"}


def test_show_runs_nothing(tmp_path: Path) -> None:
    store = tmp_path / "store"
    out = done(wsis("ablations", write_suite(tmp_path), "--show", "--store", store)).out
    assert "u < all: not known yet, no results of u, all" in out
    assert not list(store.rglob("*.json"))


@pytest.mark.parametrize("name", shipped_suites())
def test_shipped_suites_load_and_say_what_they_are(name: str) -> None:
    path = shipped_suites()[name]
    assert path.read_text().startswith("# ")
    _, suite = load_suite(name)
    runs = members(name, suite, ["data.root=photographs"])
    assert len({run.run_name for run in runs}) == len(runs)
    assert {run.config.data.root for run in runs} == {Path("photographs")}


def test_table_3_of_the_shipped_suite() -> None:
    name, suite = load_suite("voc_lite")
    both, other = members(name, suite, only=["pwp_pwc"])
    assert (both.seed, other.seed) == (0, 1)  # as many seeds as the row that the order compares it with
    assert (both.config.conditional.k, both.config.prediction.self_diversity) == (1, 0)


def test_seeds_and_overrides(tmp_path: Path) -> None:
    name, suite = load_suite(str(write_suite(tmp_path, seeds=[4, 5])))
    runs = members(name, suite, ["outer_iterations=1"], only=["u"])
    assert [(r.run_name, r.config.seed) for r in runs] == [("small-u-s4", 4), ("small-u-s5", 5)]
    assert all(r.config.outer_iterations == 1 and r.config.conditional.terms == "U" for r in runs)
    assert [r.seed for r in members(name, suite, seeds=[7])] == [7, 7]


def test_a_base_beside_the_suite(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(TINY.read_text())
    name, suite = load_suite(str(write_suite(tmp_path, base="mine.yaml")))
    assert members(name, suite)[0].config.data.format == "scenes"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"orders": [["u", "v"]]}, r"small.yaml: orders: expected names of rows \(all, u\), got 'v'"),
        ({"rows": {}}, r"small.yaml: rows"),
        ({"sed": [1]}, r"sed: unknown key; did you mean 'seeds'"),
        ({"base": "tinny"}, r"row all: config 'tinny': expected a YAML file or one of"),
        (
            {"orders": [], "rows": {"one": {"title": "1", "set": {"conditional.term": "U"}}}},
            r"suite small, row one: .*conditional.term: unknown key; did you mean 'conditional.terms'",
        ),
        ({"orders": [], "rows": {"a b": {"title": "x"}}}, "run name: expected letters, digits"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        members(*load_suite(str(write_suite(tmp_path, **changes))))
    assert re.search(message, str(raised.value), re.DOTALL), raised.value


def test_unknown_suite_and_row() -> None:
    with pytest.raises(ConfigError, match=r"suite 'voc_lit': expected .* did you mean 'voc_lite'"):
        load_suite("voc_lit")
    with pytest.raises(ConfigError, match=r"expected rows out of image, .*, got 'imag'"):
        members(*load_suite("voc_lite"), only=["imag"])
