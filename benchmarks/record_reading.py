"""What opening an artefact of many images takes, and reading one image's record of it.

    python benchmarks/record_reading.py                 # 100,000 images
    python benchmarks/record_reading.py --images 10000

The artefact is synthetic: one shard is written and linked under the names of all others, which would take an hour to
write. Records are read at random, each in a shard that was not open before. With --limits the exit code is 1 where
opening takes above 2 s or a record above 10 ms.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from data_contracts.fingerprint import seal
from data_contracts.record_shards import shard_files, shard_name
from data_contracts.records import SHARD_SIZE, RecordReader, RecordWriter
from data_contracts.schemas import Field, Schema

_SCHEMA = Schema(
    "bench", 1, {"scores": Field("float32", ("P",), "scores"), "codes": Field("uint8", ("N",), "bytes")}
)


def write(root: Path, images: int) -> list[str]:
    """An artefact of as many records of 10 kB; the ids."""
    ids = [f"{i:012d}" for i in range(images)]
    rng = np.random.default_rng(0)
    first = RecordWriter(root, _SCHEMA, ids[:SHARD_SIZE])
    record = {
        "scores": rng.random(300, np.float32),
        "codes": rng.integers(0, 256, 9000, np.uint8),
    }
    first.write(0, [record] * min(images, SHARD_SIZE))
    plan = {"schema": "bench", "schema_version": 1, "shard_size": SHARD_SIZE, "image_ids": ids}
    (root / "records.json").write_bytes(seal(plan))
    names = [Path(name).relative_to(shard_name(0)) for name in shard_files(root, 0)]
    for shard in range(1, -(-images // SHARD_SIZE)):
        for name in names:
            target = root / shard_name(shard) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(root / shard_name(0) / name, target)
    return ids


def measure(images: int, reads: int) -> tuple[float, np.ndarray]:
    """CPU seconds of opening; of each read."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        ids = write(root, images)
        began = time.process_time()
        reader = RecordReader(root, _SCHEMA)
        opening = time.process_time() - began
        taken = []
        for at in np.random.default_rng(1).choice(images // SHARD_SIZE, reads, replace=False).tolist():
            began = time.process_time()
            reader[ids[at * SHARD_SIZE]]
            taken.append(time.process_time() - began)
        return opening, np.array(taken)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--reads", type=int, default=200)
    parser.add_argument("--limits", action="store_true")
    arguments = parser.parse_args()
    opening, taken = measure(arguments.images, min(arguments.reads, arguments.images // SHARD_SIZE))
    median, worst = 1000 * float(np.median(taken)), 1000 * float(taken.max())
    print(
        f"{arguments.images} images: opening {opening:.2f} s; a record {median:.1f} ms, at most {worst:.1f} ms (CPU)"
    )
    return int(arguments.limits and (opening > 2 or median > 10))


if __name__ == "__main__":
    sys.exit(main())
