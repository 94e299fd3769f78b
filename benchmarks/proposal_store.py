"""What proposals take on disk and how long a record takes to read, from a store that the stage has written."""

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from proposal_cases import Case, Figure

from data_contracts.schemas import PROPOSALS
from data_contracts.store import Artefact, Store
from stages.data import photographs
from stages.proposals import proposals
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, execute

_PASSES = 5


def _written(chosen: Sequence[Path], config: proposals.Config, folder: Path) -> Artefact:
    """The artefact of the stage for the photographs."""
    images = folder / "images"
    images.mkdir()
    for one in chosen:
        shutil.copy(one, images)
    store, progress = Store(folder / "store"), Progress(quiet=True)
    execution = Execution(device="cpu", workers=1, threads=1)
    data = execute(
        photographs.STAGE,
        photographs.Config(root=images),
        {},
        store,
        execution=execution,
        progress=progress,
    )
    made = execute(
        proposals.STAGE, config, {"dataset": data.artefact}, store, execution=execution, progress=progress
    )
    return made.artefact


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _read_milliseconds(artefact: Artefact) -> tuple[list[float], list[float]]:
    """Of every image's record with a reader that has been used, several times in random order; of one image with
    a new reader, which also reads the lists of images and chunks."""
    ids = list(artefact.records(PROPOSALS).ids)
    fresh = []
    for image_id in ids:
        start = time.perf_counter()
        artefact.records(PROPOSALS)[image_id]
        fresh.append(1000 * (time.perf_counter() - start))
    records, warm = artefact.records(PROPOSALS), []
    records[ids[0]]
    for image_id in np.random.default_rng(0).permutation(ids * _PASSES):
        start = time.perf_counter()
        records[str(image_id)]
        warm.append(1000 * (time.perf_counter() - start))
    return warm, fresh


def run(case: Case) -> list[Figure]:
    """Print the part; its figures to reach."""
    with tempfile.TemporaryDirectory() as folder:
        artefact = _written(case.voc_sized, case.voc_config, Path(folder))
        records = artefact.records(PROPOSALS)
        ids = records.ids
        found = [len(records[image_id]["scores"]) for image_id in ids]
        superpixels = [int(records[image_id]["num_superpixels"][0]) for image_id in ids]
        shards = list(artefact.path.glob("shard-*"))
        fields = {name: sum(_bytes_of(shard / name) for shard in shards) for name in PROPOSALS.fields}
        in_shards = sum(_bytes_of(shard) for shard in shards)
        rest = _bytes_of(artefact.path) - in_shards
        warm, fresh = _read_milliseconds(artefact)
    size = in_shards / len(ids) / 1000
    print(f"\n## Store\n\n{len(ids)} photographs of 500x375 ({case.voc_origin}).\n")
    print("| | |\n|---|---:|")
    print(f"| proposals an image | {np.mean(found):.0f} |")
    print(f"| superpixels an image | {np.mean(superpixels):.0f} |")
    print(f"| kB an image | {size:.1f} |")
    for name, taken in sorted(fields.items(), key=lambda item: -item[1]):
        print(f"| of which {name} | {taken / len(ids) / 1000:.2f} |")
    print(f"| kB of an artefact beside its images | {rest / 1000:.1f} |")
    print(f"| ms to read the record of one image, median of {len(warm)} | {np.median(warm):.2f} |")
    print(f"| slowest | {max(warm):.2f} |")
    print(f"| ms with a new reader, median of {len(fresh)} | {np.median(fresh):.2f} |")
    return [
        Figure("an image in the store", size, 40, unit=" kB"),
        Figure("reading an image's record", float(np.median(warm)), 5, unit=" ms"),
    ]
