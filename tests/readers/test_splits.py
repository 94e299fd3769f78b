"""Parts by lists and shares."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data_contracts.errors import DataError
from wsis.readers.config import DataConfig, open_source
from wsis.readers.shared.splits import find_split, held_out

labelled = st.dictionaries(
    st.text("abc123", min_size=1, max_size=5),
    st.sets(st.sampled_from(["cat", "dog", "owl"])),
    min_size=2,
    max_size=40,
)


@given(labelled, st.floats(0.01, 0.99), st.integers(0, 3))
def test_held_out(labels: dict[str, set[str]], share: float, seed: int) -> None:
    chosen = held_out(labels, share, seed)
    rest = set(labels) - chosen
    assert chosen <= set(labels) and rest
    assert {c for n in rest for c in labels[n]} == {c for some in labels.values() for c in some}
    mixed = list(labels.items())
    random.Random(seed).shuffle(mixed)
    assert held_out(dict(mixed), share, seed) == chosen


def test_held_out_is_stratified() -> None:
    labels = {f"{i}": {"cat"} if i < 100 else {"dog"} for i in range(150)}
    chosen = held_out(labels, 0.2, 0)
    assert (sum(int(n) < 100 for n in chosen), sum(int(n) >= 100 for n in chosen)) == (20, 10)
    assert held_out(labels, 0.2, 1) != chosen
    assert len(held_out({"a": {"cat"}, "b": {"cat"}, "c": {"cat"}}, 0.01, 0)) == 1


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (["train", "val"], "val"),
        (["train", "valid", "test"], "valid"),
        (["Train", "Validation"], "Validation"),
        (["valid", "val"], "val"),
        (["train", "test"], None),
    ],
)
def test_names_of_a_split(there: list[str], found: str | None) -> None:
    assert find_split("val", there) == found


def test_lists(tmp_path: Path, make_photographs: Any) -> None:
    make_photographs(tmp_path, *(f"{c}/{c}{i}.jpg" for c in ("cat", "dog") for i in range(4)))

    def parts(**values: Any) -> tuple[list[str], list[str]]:
        source = open_source(DataConfig.model_validate({"format": "folders", "root": tmp_path, **values}))
        return sorted(source.image_ids("train")), sorted(source.image_ids("val"))

    (tmp_path / "val.txt").write_bytes("\ufeffcat0\r\n\r\n# a comment\r\ndog\\dog3.jpg\r\n".encode())
    assert parts(val_list="val.txt") == (["cat1", "cat2", "cat3", "dog0", "dog1", "dog2"], ["cat0", "dog3"])
    (tmp_path / "train.txt").write_text("./cat/cat1.jpg\ndog0.jpg\n")
    assert parts(val_list="val.txt", train_list=tmp_path / "train.txt") == (
        ["cat1", "dog0"],
        ["cat0", "dog3"],
    )
    (tmp_path / "train.txt").write_text("cat0\ndog0\nfox\n")
    with pytest.raises(DataError, match="2 problems") as caught:
        parts(val_list="val.txt", train_list="train.txt")
    assert "train.txt: line 3: the file" in str(caught.value)
    assert "got 1 in both: cat/cat0.jpg" in str(caught.value)
    with pytest.raises(DataError, match=r"none\.txt is missing"):
        parts(val_list="none.txt")


@pytest.mark.parametrize(
    "values",
    [{"val_share": 0.1, "val_split": None}, {"val_share": 0.1, "val_list": "a.txt"}, {"val_share": 1}],
)
def test_keys_that_exclude_each_other(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="val_share"):
        DataConfig.model_validate({"format": "folders", **values})
