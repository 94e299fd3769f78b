"""Pseudo labels between stages: what sampling writes is what a reader gets, and a broken record is named."""

import numpy as np
import pytest
import torch

from data_contracts.errors import SchemaError
from data_contracts.schemas import PSEUDO_LABELS
from tests.data_contracts.contract_cases import assert_same_record, write
from wsis.errors import InputError
from wsis.method.conditional.label_sets import SampleSet, deduplicate

K, PROPOSALS, CLASSES = 6, 40, 5


def record_of(samples):
    spread = {
        "diversity": np.zeros(1, np.float32),
        "distinct": np.array([len(samples.multiplicities)], np.int32),
    }
    return vars(samples) | spread


def random_labels(seed):
    """K labelings int64 [K, 12] of 12 filtered proposals, some equal, maybe one empty; and which they are."""
    rng = np.random.default_rng(seed)
    few = rng.integers(0, 3, (3, 12)) * (rng.random((3, 12)) < 0.3)
    return torch.from_numpy(few[rng.integers(0, 3, K)]), np.sort(rng.choice(PROPOSALS, 12, replace=False))


@pytest.mark.parametrize("seed", range(20))
def test_samples_come_back_from_the_store_as_they_were_drawn(seed, tmp_path):
    labels, kept = random_labels(seed)
    scores = torch.rand(K, 12, 3)
    samples = deduplicate(labels, scores, torch.tensor([2, 5]), kept)
    reader = write(tmp_path / "store", PSEUDO_LABELS, {"a": record_of(samples), "b": record_of(samples)})
    assert_same_record(reader["b"], record_of(samples))
    read = SampleSet.from_record(reader["b"])
    read.check(num_samples=K, num_proposals=PROPOSALS, num_classes=CLASSES)
    drawn = sorted(
        tuple((int(kept[p]), [0, 2, 5][j]) for p, j in enumerate(row) if j) for row in labels.tolist()
    )
    found = []
    for index, count in enumerate(read.multiplicities.tolist()):
        ids, classes, values = read.unique(index)
        found += [tuple(zip(ids.tolist(), classes.tolist(), strict=True))] * count
        same = [k for k in range(K) if tuple(kept[labels[k] > 0]) == tuple(ids)]
        same = [k for k in same if [[0, 2, 5][j] for j in labels[k].tolist() if j] == classes.tolist()]
        assert len(same) == count
        for value, proposal in zip(values, ids, strict=True):
            column = int(labels[same[0], list(kept).index(proposal)])
            margin = (
                scores[same, list(kept).index(proposal), column] - scores[same, list(kept).index(proposal), 0]
            )
            assert float(value) == pytest.approx(float(margin.mean()), abs=1e-6)
    assert sorted(found) == drawn
    assert len({*found}) == len(read.multiplicities)  # every unique sample once
    assert (np.diff(read.multiplicities) <= 0).all()  # most frequent first


def good():
    return {
        "multiplicities": np.array([4, 2], np.int32),
        "offsets": np.array([0, 2, 3], np.int32),
        "proposal_ids": np.array([3, 39, 0], np.int32),
        "classes": np.array([1, 5, 2], np.int32),
        "scores": np.zeros(3, np.float32),
        "diversity": np.zeros(1, np.float32),
        "distinct": np.array([2], np.int32),
    }


BROKEN = {
    "negative id": ({"proposal_ids": [3, -1, 0]}, "proposal_ids: expected at least 0, got -1"),
    "id of no proposal": ({"proposal_ids": [3, 40, 0]}, "proposal_ids: expected below 40, got 40"),
    "sum below K": ({"multiplicities": [4, 1]}, r"multiplicities: expected a sum of 6 samples, got 5 from"),
    "sum above K": ({"multiplicities": [4, 3]}, r"multiplicities: expected a sum of 6 samples, got 7 from"),
    "a sample that nobody drew": ({"multiplicities": [6, 0]}, "multiplicities: expected at least 1, got 0"),
    "offsets fall": ({"offsets": [0, 4, 3]}, r"offsets: expected rising values, got \[0, 4, 3\]"),
    "offsets start late": ({"offsets": [1, 2, 3]}, "offsets: expected 3 from 0 to 3"),
    "offsets end early": ({"offsets": [0, 1, 2]}, "offsets: expected 3 from 0 to 3"),
    "an offset is missing": ({"offsets": [0, 3]}, "offsets: expected 3 from 0 to 3"),
    "no offsets": ({"offsets": []}, "offsets: expected 3 from 0 to 3"),
    "background as class": ({"classes": [1, 0, 2]}, "classes: expected at least 1, got 0"),
    "unknown class": ({"classes": [1, 6, 2]}, r"classes: expected 1\.\.5, got 6"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_records_are_refused_by_name(name):
    change, message = BROKEN[name]
    record = good()
    for field, values in change.items():
        record[field] = np.array(values, record[field].dtype)
    with pytest.raises(InputError, match=message):
        SampleSet.from_record(record).check(num_samples=K, num_proposals=PROPOSALS, num_classes=CLASSES)


def test_the_record_that_was_broken_is_good():
    SampleSet.from_record(good()).check(num_samples=K, num_proposals=PROPOSALS, num_classes=CLASSES)


def test_arrays_of_different_lengths_are_refused_when_written_and_when_read(tmp_path):
    record = good() | {"scores": np.zeros(2, np.float32)}
    with pytest.raises(SchemaError, match=r"pseudo_labels of image a: field 'scores'.*M = 3"):
        write(tmp_path, PSEUDO_LABELS, {"a": record})
    with pytest.raises(InputError, match="proposal_ids, classes, scores: expected one length, got 3, 3, 2"):
        SampleSet.from_record(record)


def test_scores_that_are_not_finite_are_refused_when_written(tmp_path):
    record = good() | {"scores": np.array([0, np.nan, 0], np.float32)}
    with pytest.raises(SchemaError, match="field 'scores': 1 values are NaN or infinite"):
        write(tmp_path, PSEUDO_LABELS, {"a": record})
