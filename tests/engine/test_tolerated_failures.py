"""An image that fails: the rest of its shard survives, and the list of failures is that of what is written."""

import json
import logging

import numpy as np
import pytest

from data_contracts.errors import CorruptArtefactError, DataError, StoreFullError
from data_contracts.records import RecordReader
from data_contracts.schemas import PROPOSALS
from tests.engine.toy_stages import SCHEMA, Compute, ShardConfig
from wsis.engine.per_image import Failure, Tolerant, empty_record, read_failures, write_records
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, StageContext
from wsis.errors import InputError

IDS = [f"img{i:03d}" for i in range(12)]
BAD = {"img001": DataError, "img005": InputError, "img006": DataError, "img008": DataError}
MESSAGES = {
    "img001": "img001: cut short",
    "img005": "img005: shape: expected [H, W]",  # the id comes first where the error does not name it
    "img006": "img006: cut short",
    "img008": "img008: cut short",
}


class Fragile:
    """The toy's records; raises at some images, after what it has computed before in the same call."""

    def __init__(self, errors: dict[str, type[Exception]] = BAD) -> None:
        self.errors = errors

    def __call__(self, ids):
        found = []
        for image_id in ids:
            if error := self.errors.get(image_id):
                raise error("shape: expected\n [H, W]" if error is InputError else f"{image_id}: cut short")
            found += Compute(ShardConfig())([image_id])
        return found


class Heard(Progress):
    def __init__(self):
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def log(self, message):
        self.lines.append(message)


def context_of(workdir, workers=1, progress=None):
    workdir.mkdir(exist_ok=True)
    return StageContext(workdir, 0, None, Execution(workers=workers), progress or Heard(), "toy")


def written(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_rest_of_the_shard_survives(tmp_path, workers, caplog):
    caplog.set_level(logging.DEBUG, "wsis")
    context = context_of(tmp_path / "w", workers)
    write_records(context, SCHEMA, IDS, Fragile(), workers, shard_size=4, tolerate=True)
    reader = RecordReader(tmp_path / "w", SCHEMA)
    assert reader.ids == IDS
    for image_id in IDS:
        record = reader[image_id]
        (expected,) = Compute(ShardConfig())([image_id])
        if image_id in BAD:
            assert record["values"].shape == (0, 3) and record["name"].shape == (0,)
        else:
            np.testing.assert_array_equal(record["values"], expected["values"])
            assert record["name"].tobytes() == image_id.encode()
    assert read_failures(tmp_path / "w") == MESSAGES
    assert [x for x in caplog.messages if "failed" in x] == [
        f"toy: failed: {message}" for message in MESSAGES.values()
    ]
    assert not [x for x in context.progress.lines if "failed" in x]  # the command lists them at the end
    lists = sorted(p.name for p in (tmp_path / "w").glob("failed-*"))
    assert lists == ["failed-00000.json", "failed-00001.json", "failed-00002.json"]


def test_no_failure_leaves_no_trace(tmp_path):
    for name, tolerate in (("a", True), ("b", False)):
        write_records(context_of(tmp_path / name), SCHEMA, IDS, Fragile({}), shard_size=4, tolerate=tolerate)
    assert read_failures(tmp_path / "a") == {}
    assert written(tmp_path / "a") == written(tmp_path / "b")


def test_a_resumed_stage_lists_the_same_failures(tmp_path):
    """Ended after a list of failures was written and before its shard was; the list of that try does not count."""
    write_records(context_of(tmp_path / "whole"), SCHEMA, IDS, Fragile(), shard_size=4, tolerate=True)
    ended = {**BAD, "img009": KeyboardInterrupt}
    with pytest.raises(KeyboardInterrupt):
        write_records(context_of(tmp_path / "w"), SCHEMA, IDS, Fragile(ended), shard_size=4, tolerate=True)
    assert set(read_failures(tmp_path / "w")) == {"img001", "img005", "img006"}
    (tmp_path / "w" / "failed-00002.json").write_text(json.dumps({"img011": "of a try before"}))
    write_records(context_of(tmp_path / "w"), SCHEMA, IDS, Fragile(), shard_size=4, tolerate=True)
    assert read_failures(tmp_path / "w") == MESSAGES
    assert written(tmp_path / "w") == written(tmp_path / "whole")

    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "failed-00001.json").write_text(json.dumps({"img005": "of a try before"}))
    write_records(context_of(tmp_path / "x"), SCHEMA, IDS, Fragile({}), shard_size=4, tolerate=True)
    assert read_failures(tmp_path / "x") == {}


@pytest.mark.parametrize(
    ("tolerate", "error"), [(False, DataError), (True, RuntimeError), (True, StoreFullError)]
)
def test_what_is_not_one_images_fault_ends_the_stage(tmp_path, tolerate, error):
    with pytest.raises(error, match="img005: cut short"):
        write_records(
            context_of(tmp_path / "w"),
            SCHEMA,
            IDS,
            Fragile({"img005": error}),
            shard_size=4,
            tolerate=tolerate,
        )
    assert [p.name for p in (tmp_path / "w").glob("shard-*")] == ["shard-00000.zarr"]
    assert read_failures(tmp_path / "w") == {}


def test_every_image_fails(tmp_path):
    context = context_of(tmp_path / "w")
    write_records(context, SCHEMA, IDS[:3], Fragile(dict.fromkeys(IDS, DataError)), tolerate=True)
    assert list(read_failures(tmp_path / "w")) == IDS[:3]
    assert all(one["values"].shape == (0, 3) for _, one in RecordReader(tmp_path / "w", SCHEMA))


def test_tolerant_gives_each_error_its_image():
    given = list(Tolerant(Fragile())(IDS[4:8]))
    assert [type(one) is Failure for one in given] == [False, True, True, False]
    assert given[1] == Failure("img005", MESSAGES["img005"])


def test_the_empty_record_fits_its_schema():
    record = empty_record(PROPOSALS)
    PROPOSALS.validate(record, "image x")
    assert record["num_superpixels"].tolist() == [0] and record["boxes"].shape == (0, 4)


def test_a_damaged_list_is_named(tmp_path):
    (tmp_path / "failed-00003.json").write_text('{"img')
    with pytest.raises(CorruptArtefactError, match=r"failed-00003\.json is no list of failures"):
        read_failures(tmp_path)
