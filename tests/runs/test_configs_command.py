"""`wsis configs`: every key of a configuration with its value, default, bounds and meaning."""

import json

import pytest

from tests.runs.tiny_run import TINY, done, wsis
from wsis.runs.config import build_config, load_config
from wsis.runs.settings_text import settings_of


def listed(*arguments: object) -> dict[str, dict]:
    rows = json.loads(done(wsis("configs", *arguments, "--json")).out)
    return {row.pop("key"): row for row in rows}


def test_every_key_is_there_with_a_meaning_and_what_it_takes() -> None:
    found = listed("demo")

    def keys(tree: dict, above: str = "") -> set[str]:
        return {
            key
            for name, value in tree.items()
            for key in (
                keys(value, f"{above}{name}.") if value and isinstance(value, dict) else {above + name}
            )
        }

    assert set(found) == keys(load_config("demo").model_dump(mode="json"))
    assert not [key for key, row in found.items() if not row["meaning"] or not row["allowed"]]


def test_a_row_says_value_default_bounds_and_whether_it_decides_the_result() -> None:
    found = listed("demo")
    assert found["conditional.k"] == {
        "value": 5,
        "default": 10,
        "required": False,
        "allowed": "a whole number from 1 to 256",
        "minimum": 1,
        "maximum": 256,
        "choices": None,
        "changes_results": True,
        "meaning": "samples of an image (paper: 10); 1: pointwise PW_c, without any noise",
    }
    assert found["data.format"]["choices"][-1] == "scenes"
    decides_nothing = {key for key, row in found.items() if not row["changes_results"]}
    assert {"execution.workers", "data.root", "prediction.data_workers"} <= decides_nothing
    assert not {"data.supervision", "seed", "conditional.k"} & decides_nothing


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("prediction.clip_gradient", "a number above 0, or null"),
        ("data.scenes.size", "a list of 2 values: a number, a number"),
        ("data.classes", "a list, at least 1, of text each, or null"),
        ("evaluate", "true or false"),
        ("execution.tensorboard", "a path, or null"),
        ("evaluation.matching", "one of voc, sds"),
        ("seed", "a whole number at least 0 and below 2147483648"),
    ],
)
def test_bounds_are_said_in_words(key: str, says: str) -> None:
    assert {one.key: one.allowed for one in settings_of(load_config("demo"))}[key] == says


def test_diff_is_what_has_to_be_set_to_get_the_same_configuration() -> None:
    found = listed(TINY, "--diff", "--set", "seed=3")
    assert found["seed"]["value"] == 3 and "evaluate" not in found
    tree: dict = {}
    for key, row in found.items():
        *sections, last = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = row["value"]
    assert build_config(tree, "test") == load_config(str(TINY), ["seed=3"])


def test_a_prefix_chooses_keys() -> None:
    assert set(listed("demo", "predictions")) == {
        f"predictions.{x}" for x in ("score_threshold", "nms_iou", "max_detections", "tiles", "size")
    }
    assert set(listed("demo", "conditional.seed_th")) == {"conditional.seed_threshold"}
    assert set(listed("demo", "seed")) == {"seed"}


def test_text_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = done(wsis("configs", "demo")).out
    assert max(map(len, text.splitlines())) <= 80
    assert "conditional.k: 5  (default 10)\n    samples of an image (paper: 10); 1: pointwise PW_c" in text
    assert max(map(len, done(wsis("configs")).out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["demo", "condtional"],
            "key 'condtional': expected a section or key of the configuration; did you mean",
        ),
        (["demo", "epochs"], "did you mean 'conditional.epochs' or 'prm_classifier.epochs'?"),
        (["dmo"], "did you mean 'demo'?"),
        (["--diff"], "expected a NAME beside KEY, --diff, --json or --set"),
    ],
)
def test_refusals(arguments: list[str], message: str) -> None:
    refused = wsis("configs", *arguments)
    assert refused.code == 2 and message in refused.err and refused.err.count("\n") == 1
