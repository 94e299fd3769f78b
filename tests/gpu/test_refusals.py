"""The pretended device finds mistakes that a GPU would, and counts what the host waits for."""

import json
from pathlib import Path

import pytest

from tests.gpu.mistakes import MISTAKES
from tests.gpu.pretended import Pretended, needed, pretended
from tests.runs.tiny_run import done

pytestmark = needed
HERE = Path(__file__).parent
TO, VALUE, SIZE = "copy to the device", "item, bool, int, equal", "size of a result"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str | None]]:
    folder = tmp_path_factory.mktemp("mistakes")
    done(pretended(folder, HERE / "mistakes.py", folder / "found.json").result)
    tried: dict[str, list[str | None]] = json.loads((folder / "found.json").read_text())
    return tried


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Pretended:
    found = pretended(tmp_path_factory.mktemp("counted"), HERE / "counted.py")
    done(found.result)
    return found


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_raises_as_on_cuda_and_the_right_way_passes(name: str, found: dict[str, list[str | None]]):
    wrong, right = found[name]
    assert wrong is not None and any(
        text in wrong for text in ("same device", "numpy", "indexed tensor", "generator", "pin")
    )
    assert right is None


@pytest.mark.parametrize(
    ("unit", "kinds"),
    {
        "nothing": {TO: 1},  # its index
        "item": {f"{VALUE}: _local_scalar_dense": 1},
        "if": {f"{VALUE}: _local_scalar_dense": 1},
        "tolist": {"copy to the host": 1},
        "cpu": {"copy to the host": 1},
        "to": {TO: 1},
        "to, non_blocking, pageable": {TO: 1},
        "to, non_blocking, pinned": {f"{TO}, non_blocking": 1},
        "to, non_blocking, view of pinned": {f"{TO}, non_blocking": 1},
        "cpu, non_blocking": {"copy to the host, non_blocking": 1},
        "tensor": {TO: 1},
        "zeros": {},
        "nonzero": {f"{SIZE}: nonzero": 1},
        "boolean index": {f"{SIZE}: boolean index": 1},
        "index of the CPU": {f"{TO}: index": 1},
        "fill of a mask": {},
        "scalar into indices": {TO: 1, f"{TO}: value of x[index] = value": 1},
        "unique": {f"{SIZE}: _unique2": 1},
        "bincount": {TO: 1, f"{SIZE}: bincount": 1, "sum without an order: bincount": 1},
        "equal": {f"{VALUE}: equal": 1},
        "copy_": {TO: 1},
        "synchronize": {"torch.cuda.synchronize": 1},
        "inference mode": {f"{SIZE}: boolean index": 1},
        "load": {"torch.load without map_location": 1},
        "load to the CPU": {},
        "draw": {"random numbers of the device: rand": 1},
        "unordered": {TO: 1, "sum without an order: index_add_": 1},
        "outer": {f"{VALUE}: _local_scalar_dense": 1},
        "inner": {"copy to the host": 1},
    }.items(),
)
def test_what_waits_is_counted(unit: str, kinds: dict[str, int], counted: Pretended):
    assert counted.kinds(unit) == kinds


def test_counts_name_the_line_of_ours(counted: Pretended):
    lines = (HERE / "counted.py").read_text().splitlines()
    for row in counted.report["places"]:
        file, line = row["place"].rsplit(":", 1)
        assert file == "tests/gpu/counted.py"
        if row["unit"] == "nonzero":
            assert ".nonzero()" in lines[int(line) - 1]


def test_it_needs_a_process_of_its_own(tmp_path: Path):
    import torch  # noqa: F401

    from tests.gpu.pretend import native

    with pytest.raises(ImportError, match="expected to be loaded before torch"):
        native.load()
