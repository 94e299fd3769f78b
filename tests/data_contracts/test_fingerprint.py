"""Identity and sealing: what must change a fingerprint changes it, what must not does not, no byte flips unseen."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.errors import CorruptArtefactError
from data_contracts.fingerprint import canonical_json, fingerprint, seal, sha256_file, unseal

BASE = {
    "stage": "proposals",
    "algorithm_version": 1,
    "config": {"scales": [1.0, 0.5], "max_side": 320, "nested": {"a": 1, "b": None}},
    "parents": {"dataset": "0123456789ab", "prm_classifier": "ba9876543210"},
    "seed": 0,
    "outer_iteration": None,
    "content": None,
}


def test_fingerprint_is_the_documented_hash():
    # Worked by hand: sha256 over the canonical JSON, computed with coreutils' sha256sum.
    text = (
        '{"algorithm_version":1,"config":{},"content":null,"outer_iteration":null,"parents":{},'
        '"schema_version":1,"seed":0,"stage":"s"}'
    )
    assert canonical_json(json.loads(text)) == text
    assert fingerprint("s", 1, {}, {}, 0) == "a1db9fe2b48c"


@pytest.mark.parametrize(
    ("ingredient", "other"),
    [
        ("stage", "prm_seeds"),
        ("algorithm_version", 2),
        ("config", {**BASE["config"], "max_side": 321}),
        ("config", {**BASE["config"], "nested": {"a": 1, "b": 0}}),
        ("config", {**BASE["config"], "scales": [0.5, 1.0]}),
        ("config", {**BASE["config"], "extra": None}),
        ("parents", {"dataset": "0123456789ab", "prm_classifier": "ba9876543211"}),
        ("parents", {"dataset": "ba9876543210", "prm_classifier": "0123456789ab"}),
        ("parents", {"dataset": "0123456789ab"}),
        ("seed", 1),
        ("outer_iteration", 1),
        ("content", "f" * 64),
    ],
)
def test_fingerprint_changes_with_each_ingredient(ingredient, other):
    assert fingerprint(**BASE) != fingerprint(**{**BASE, ingredient: other})


def test_fingerprint_changes_with_the_schema_version(monkeypatch):
    before = fingerprint(**BASE)
    monkeypatch.setattr("data_contracts.fingerprint.SCHEMA_VERSION", 2)
    assert fingerprint(**BASE) != before


def test_fingerprint_does_not_depend_on_the_order_of_keys():
    def reverse(value):
        if isinstance(value, dict):
            return {k: reverse(value[k]) for k in reversed(value)}
        return value

    assert fingerprint(**reverse(BASE)) == fingerprint(**BASE)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint(**{**BASE, "config": {"x": [1.0, value]}})
    with pytest.raises(ValueError, match="not JSON compliant"):
        seal({"x": value})


def test_what_is_not_json_is_refused():
    with pytest.raises(TypeError, match="not JSON serializable"):
        fingerprint(**{**BASE, "config": {"x": {1, 2}}})


def test_sha256_of_a_file_longer_than_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr("data_contracts.fingerprint._BLOCK", 2)
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


SEALED = {"name": "a run", "n": [1, 2.5, None], "text": "grün ü", "nested": {"10": 1, "9": {"x": -1e-7}}}


def test_seal_round_trip_keeps_values_and_order():
    back = unseal(seal(SEALED), "here")
    assert back == SEALED
    assert list(back["nested"]) == ["10", "9"]
    assert (
        json.loads(seal(SEALED))["checksum"] == json.loads(seal(dict(reversed(SEALED.items()))))["checksum"]
    )


def test_seal_of_number_keys_reads_back_as_text():
    # as integers 9 < 10, as text "10" < "9": the two orders must not give two checksums
    assert unseal(seal({"x": {9: 1, 10: 2}}), "here") == {"x": {"9": 1, "10": 2}}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text().filter(lambda k: k != "checksum"), json_values, max_size=4))
def test_seal_round_trip_of_anything(value):
    assert unseal(seal(value), "here") == value


def test_every_flipped_bit_is_found():
    """White space is not spared: a sealed file is read only if it is byte for byte what was written."""
    sealed = seal(SEALED)
    for position in range(len(sealed)):
        for bit in range(8):
            damaged = bytearray(sealed)
            damaged[position] ^= 1 << bit
            with pytest.raises(CorruptArtefactError, match=r"run.json is damaged"):
                unseal(bytes(damaged), "run.json")


def test_every_replaced_cut_or_added_byte_is_found():
    sealed, rng = seal(SEALED), random.Random(0)
    for _ in range(2000):
        damaged = bytearray(sealed)
        position = rng.randrange(len(sealed))
        damaged[position] = (damaged[position] + rng.randrange(1, 256)) % 256
        with pytest.raises(CorruptArtefactError, match=r"run.json is damaged"):
            unseal(bytes(damaged), "run.json")
    for length in range(len(sealed)):
        with pytest.raises(CorruptArtefactError, match=r"run.json is damaged"):
            unseal(sealed[:length], "run.json")
    with pytest.raises(CorruptArtefactError, match="not those that were written"):
        unseal(sealed + b"\n", "run.json")


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"{}", b'"checksum"', b'{"checksum": "0"}', b"\xff\xfe{", b'{"a": NaN}']
)
def test_what_was_never_sealed_is_refused(data):
    with pytest.raises(CorruptArtefactError, match="over there is damaged"):
        unseal(data, "over there")


def test_seal_refuses_a_checksum_of_its_own():
    with pytest.raises(ValueError, match="'checksum' is reserved"):
        seal({"checksum": "x"})
