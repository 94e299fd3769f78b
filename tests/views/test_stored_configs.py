"""Configurations of earlier versions: what is dropped, what is put in other keys, and what is refused."""

import pytest

from data_contracts.errors import ConfigError
from wsis.views import stored_configs
from wsis.views.stored_configs import ANY, current_config, current_section


@pytest.fixture
def keys_that_went(monkeypatch):
    monkeypatch.setattr(stored_configs, "REMOVED", {"a.old": ("x", None), "a.b.unused": ANY})


def test_removed_keys_are_dropped_where_nothing_depends_on_them(keys_that_went):
    stored = {"a": {"old": "x", "kept": 1, "b": {"unused": 3, "c": 4}}, "seed": 0}
    assert current_config(stored, "run r") == {"a": {"kept": 1, "b": {"c": 4}}, "seed": 0}
    assert stored["a"]["old"] == "x"  # what is stored is left alone
    assert current_section("a", {"old": None}, "conditional/0123") == {}
    assert current_config({"a": None}, "run r") == {"a": None}


def test_a_removed_option_that_was_in_use_is_refused_by_name_and_version(keys_that_went):
    with pytest.raises(
        ConfigError, match=r"^run r: made by an earlier version with a\.old='y', which .* wsis 0\.1\.0"
    ):
        current_config({"a": {"old": "y"}}, "run r")


def old(conditional=None, labels=None, prediction=None):
    """Sections as the version before stored them."""
    return {
        "conditional": {"k": 10, "gamma": 0.25, "zero_noise": False, "separation": "sum"}
        | (conditional or {}),
        "pseudo_labels": {"k": 10, "zero_noise": False, "score_noise": 0.02} | (labels or {}),
        "prediction": {"gamma": 0.5, "pointwise": False, "self_diversity_scale": 0.2} | (prediction or {}),
    }


@pytest.mark.parametrize(
    ("changes", "k", "self_diversity"),
    [
        ({}, 10, 0.1),
        ({"conditional": {"gamma": 0.5}, "prediction": {"self_diversity_scale": 1.0}}, 10, None),  # 1 - gamma
        ({"prediction": {"pointwise": True}}, 10, 0.0),
        ({"conditional": {"k": 1, "zero_noise": True}, "labels": {"k": 1, "zero_noise": True}}, 1, 0.1),
    ],
)
def test_k_and_gamma_were_several_keys(changes, k, self_diversity):
    found = current_config(old(**changes), "run r")
    assert found["conditional"] == {"k": k, "gamma": found["conditional"]["gamma"]}
    assert found["pseudo_labels"] == {"score_noise": 0.02}
    assert found["prediction"] == {"self_diversity": self_diversity}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"labels": {"k": 20}}, "pseudo_labels.k=20 beside conditional.k=10"),
        ({"conditional": {"k": 1}, "labels": {"k": 1}}, "zero_noise=False beside k=1"),
        ({"conditional": {"zero_noise": True}}, "zero_noise=True beside k=10"),
        ({"conditional": {"pairwise": "contrast"}}, "conditional.pairwise='contrast'"),
        ({"conditional": {"separation": "mean"}}, "conditional.separation='mean'"),
    ],
)
def test_what_the_new_keys_cannot_say_is_refused(changes, named):
    with pytest.raises(ConfigError) as raised:
        current_config(old(**changes), "run r")
    assert named in str(raised.value)


def test_the_section_of_a_stored_conditional_network_is_read():
    stored = {"k": 1, "zero_noise": True, "pairwise_iterations": 3, "terms": "U"}
    assert current_section("conditional", stored, "conditional/0123") == {"k": 1, "terms": "U"}


def test_the_baseline_takes_its_peaks_as_the_seeds_do():
    seeds = {"image_size": 448, "stop_stride": 4}
    stored = {"prm_seeds": seeds, "prm_baseline": {**seeds, "nms": 0.3}}
    assert current_config(stored, "run r") == {"prm_seeds": seeds, "prm_baseline": {"nms": 0.3}}
    stored["prm_baseline"]["image_size"] = 320
    with pytest.raises(
        ConfigError, match=r"prm_baseline\.image_size=320 beside prm_seeds\.image_size=448, which"
    ):
        current_config(stored, "run r")


def test_precision_had_other_names_in_the_prediction_network():
    stored = {"prediction": {"precision": "bf16"}, "conditional": {"precision": "bfloat16"}}
    assert current_config(stored, "run r")["prediction"] == {"precision": "bfloat16"}
