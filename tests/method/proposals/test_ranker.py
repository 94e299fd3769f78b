"""A learned ranker: its file, its scores, and how its order joins the unlearned one."""

import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from tests.method.proposals.mcg_cases import scene
from wsis.errors import InputError, MissingWeightsError
from wsis.method.proposals import MCGConfig, generate
from wsis.method.proposals.contours.detectors import LabGradient
from wsis.method.proposals.generator import generation
from wsis.method.proposals.generator.candidate_features import FEATURES, candidate_features, describe
from wsis.method.proposals.generator.generation import candidate_pool, select
from wsis.method.proposals.generator.grouping import candidate_membership
from wsis.method.proposals.generator.pool import distinct_sets
from wsis.method.proposals.generator.ranker import (
    Ranker,
    RankerWeights,
    build_ranker,
    encode_ranker,
    learned_order,
    load_ranker,
)
from wsis.method.proposals.generator.ranking import unlearned_order, unlearned_score

CONFIG = MCGConfig(contour="lab_gradient", max_side=96, max_regions=60, num_proposals=100)
COUNT = len(FEATURES)


def weights(seed: int = 0, units: int = 5, **changes: Any) -> RankerWeights:
    rng = np.random.default_rng(seed)
    one = RankerWeights(
        centre=rng.normal(size=COUNT).astype(np.float32),
        spread=rng.uniform(0.5, 2, COUNT).astype(np.float32),
        first=rng.normal(size=(COUNT, units)).astype(np.float32),
        first_bias=rng.normal(size=units).astype(np.float32),
        second=rng.normal(size=(units, units)).astype(np.float32),
        second_bias=rng.normal(size=units).astype(np.float32),
        last=rng.normal(size=units).astype(np.float32),
        contour="lab_gradient",
        supervision="boundaries: of a test",
    )
    return replace(one, **changes)


def by_feature(name: str, sign: float) -> Ranker:
    """A ranker that orders by one feature alone."""
    first = np.zeros((COUNT, 1), np.float32)
    first[FEATURES.index(name)] = sign
    plain = {"first": first, "first_bias": np.full(1, 10, np.float32), "second": np.ones((1, 1), np.float32)}
    rest = {"second_bias": np.zeros(1, np.float32), "last": np.ones(1, np.float32)}
    scale = {"centre": np.zeros(COUNT, np.float32), "spread": np.ones(COUNT, np.float32)}
    return Ranker(weights(units=1, **plain, **rest, **scale))


def test_the_file_gives_the_same_ranker(tmp_path: Path) -> None:
    one = weights()
    (tmp_path / "ranker.npz").write_bytes(encode_ranker(one))
    read = load_ranker(tmp_path / "ranker.npz").weights
    for field in fields(one):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(one, field.name))
    assert encode_ranker(read) == encode_ranker(one)


def test_scores_are_those_of_the_network() -> None:
    one = weights()
    features = np.random.default_rng(1).normal(size=(7, COUNT)).astype(np.float32) * 20
    expected = []
    for row in features.astype(float):
        units = np.clip((row - one.centre) / one.spread, -6, 6)
        for matrix, bias in ((one.first, one.first_bias), (one.second, one.second_bias)):
            units = np.maximum(matrix.T @ units + bias, 0)
        expected.append(units @ one.last)
    np.testing.assert_allclose(Ranker(one)(features), expected, rtol=1e-4, atol=1e-3)
    with pytest.raises(InputError, match=rf"expected \[n, {COUNT}\], got \(3, 2\)"):
        Ranker(one)(np.zeros((3, 2), np.float32))


def _damaged(path: Path, kind: str) -> None:
    data = encode_ranker(weights())
    if kind == "cut short":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "flipped":
        middle = data.index(b"first.npy") + 400  # inside the values: the archive's checksum finds it
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :])
    elif kind == "no archive":
        path.write_bytes(b"\x00" * 100)
    elif kind == "other arrays":
        np.savez(path, weight=np.zeros(3))
    elif kind == "objects":
        arrays = dict.fromkeys(("first", "second"), np.array([{}, 1], object))
        np.savez(path, **arrays)
    elif kind == "large":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("first.npy", bytes(1 << 25))


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("absent", r"ranker: no file .*r\.npz"),
        ("cut short", r"r\.npz: expected an \.npz of train_ranker"),
        ("flipped", r"r\.npz: expected an \.npz of train_ranker, got .*CRC"),
        ("no archive", r"r\.npz: expected an \.npz of train_ranker"),
        ("other arrays", r"r\.npz: expected the arrays of a ranker, missing or unknown: centre, .*weight"),
        ("objects", r"r\.npz: expected an \.npz of train_ranker, got Object arrays"),
        ("large", r"r\.npz: expected at most 16777216 bytes unpacked, got 33554432"),
    ],
)
def test_absent_damaged_and_foreign_files_are_named(tmp_path: Path, kind: str, match: str) -> None:
    _damaged(tmp_path / "r.npz", kind)
    with pytest.raises(MissingWeightsError, match=match):
        load_ranker(tmp_path / "r.npz")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"centre": np.zeros(3)}, rf"centre: expected finite float32 \({COUNT},\), got float32 \(3,\)"),
        ({"second": np.zeros((5, 4))}, r"second: expected finite float32 \(5, 5\)"),
        ({"last": np.full(5, np.nan)}, r"last: expected finite float32 \(5,\)"),
        ({"spread": np.zeros(COUNT)}, "spread: expected positive numbers"),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, changes: dict[str, np.ndarray], match: str) -> None:
    (tmp_path / "r.npz").write_bytes(encode_ranker(weights(**changes)))
    with pytest.raises(MissingWeightsError, match=match):
        load_ranker(tmp_path / "r.npz")


def test_features_and_contours_of_another_kind_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.npz"
    path.write_bytes(encode_ranker(weights(contour="learned")))
    with pytest.raises(
        MissingWeightsError, match=r"expected one trained on contour lab_gradient, got .* learned"
    ):
        build_ranker(CONFIG.model_copy(update={"ranker_model": path}))
    assert build_ranker(CONFIG) is None
    monkeypatch.setattr("wsis.method.proposals.generator.ranker.FEATURES", FEATURES[:-1])
    with pytest.raises(MissingWeightsError, match=f"expected the {COUNT - 1} features of this version"):
        load_ranker(path)


def test_learned_and_unlearned_order_take_turns() -> None:
    pool = candidate_pool(scene(seed=2)[0], CONFIG, LabGradient())
    sets = distinct_sets(pool)
    ranker = by_feature("area", -1)
    small = np.argsort(-ranker(candidate_features(sets, describe(pool))), kind="stable").tolist()
    unlearned = unlearned_order(pool, sets).tolist()
    assert sorted(unlearned) == list(range(len(sets.membership)))
    merged: list[int] = []
    for one, other in zip(small, unlearned, strict=True):
        merged += [number for number in (one, other) if number not in merged]
    # list by list: a second of the pair may already be there
    seen, expected = set(), []
    for number in merged:
        if number not in seen:
            seen.add(number)
            expected.append(number)
    assert learned_order(pool, sets, ranker).tolist() == expected


def test_the_unlearned_order_is_the_lists_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set by set: the best of each list, then the second of each, holes filled, what was there left out."""
    pool = candidate_pool(scene(seed=4)[0], CONFIG, LabGradient())
    superpixels = pool.graph.superpixels
    turns = []
    for number, ((tree, candidates), delay) in enumerate(zip(pool.lists, pool.delays, strict=True)):
        best_first = np.argsort(-unlearned_score(candidates, superpixels.size), kind="stable")
        members = candidate_membership(tree, candidates.nodes[best_first])
        turns += [(rank + delay, number, one) for rank, one in enumerate(members)]
    expected: dict[bytes, np.ndarray] = {}
    for _, _, members in sorted(turns, key=lambda turn: turn[:2]):
        filled = ndimage.binary_fill_holes(members[superpixels], np.ones((3, 3)))
        row = np.isin(np.arange(len(members)), superpixels[filled])
        expected.setdefault(row.tobytes(), row)
    sets = distinct_sets(pool)
    np.testing.assert_array_equal(sets.membership[unlearned_order(pool, sets)], list(expected.values()))
    monkeypatch.setattr(generation, "_OVERLAP_LIMITS", ((10**9, 1.0),))
    np.testing.assert_array_equal(select(pool, 100_000), list(expected.values()))


def test_a_ranker_changes_which_proposals_come_first(tmp_path: Path) -> None:
    image = scene(seed=2)[0]
    path = tmp_path / "r.npz"
    path.write_bytes(encode_ranker(by_feature("area", -1).weights))
    plain, ranked = generate(image, CONFIG), generate(image, CONFIG.model_copy(update={"ranker_model": path}))
    assert ranked.membership.all(axis=1).any() and len(np.unique(ranked.membership, axis=0)) == len(ranked)
    assert ranked.areas[0] == ranked.areas.min() < plain.areas[0]
    again = generate(image, CONFIG, None, by_feature("area", -1))
    np.testing.assert_array_equal(again.membership, ranked.membership)
    with pytest.raises(MissingWeightsError, match="no file"):
        generate(image, CONFIG.model_copy(update={"ranker_model": tmp_path / "none.npz"}))
