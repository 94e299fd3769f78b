"""Configurations of earlier versions: what is dropped, what is put in other keys, and what is refused."""

import pytest

from data_contracts.errors import ConfigError
from wsis.views import stored_configs
from wsis.views.stored_configs import ANY, current_config, current_section


@pytest.fixture(autouse=True)
def keys_that_went(monkeypatch):
    monkeypatch.setattr(stored_configs, "REMOVED", {"a.old": ("x", None), "a.b.unused": ANY})


def test_removed_keys_are_dropped_where_nothing_depends_on_them():
    stored = {"a": {"old": "x", "kept": 1, "b": {"unused": 3, "c": 4}}, "seed": 0}
    assert current_config(stored, "run r") == {"a": {"kept": 1, "b": {"c": 4}}, "seed": 0}
    assert stored["a"]["old"] == "x"  # what is stored is left alone
    assert current_section("a", {"old": None}, "conditional/0123") == {}
    assert current_config({"a": None}, "run r") == {"a": None}


def test_a_removed_option_that_was_in_use_is_refused_by_name_and_version():
    with pytest.raises(
        ConfigError, match=r"^run r: made by an earlier version with a\.old='y', which .* wsis 0\.1\.0"
    ):
        current_config({"a": {"old": "y"}}, "run r")
