"""What a run on a data set will cost, for `wsis check`."""

import statistics
from typing import Any

from wsis.readers.files.images import decode_image
from wsis.readers.inventory import Inventory
from wsis.readers.shared.records import DatasetSource
from wsis.runs.config import RunConfig
from wsis.runs.costs import FACTOR, run_cost, unmeasured
from wsis.runs.data_size import SAMPLE, DataSize, all_alike, small_side, smooth_share, spread


def cost_of(
    source: DatasetSource, found: Inventory, config: RunConfig, speed: float | None, ready: bool
) -> dict[str, Any]:
    """Seconds (likely, least, most), bytes of disk and memory on this machine; or why there is no estimate.

    Args: ready: nothing keeps a run from starting; else superpixels are not counted, which needs the contours' model.
    """
    reason = unmeasured(config)
    if reason is not None or not found.of("train"):
        return {"seconds": None, "why": reason or "no train images"}
    some = [source.image(one) for one in spread([one.image_id for one in found.images], SAMPLE) if ready]
    pixels = [decode_image(one.encoded, one.file_name) for one in some]
    estimate = run_cost(config, _size(found, smooth_share(pixels, config.proposals)), speed)
    if estimate is None:
        return {"seconds": None, "why": "no train images"}
    return {
        "seconds": estimate.seconds,
        "least_seconds": estimate.seconds / FACTOR,
        "most_seconds": estimate.seconds * FACTOR,
        "disk_bytes": estimate.disk_bytes,
        "memory_bytes": estimate.memory_bytes,
        "outer_iterations": config.outer_iterations,
    }


def _size(found: Inventory, smooth: float) -> DataSize:
    train, images = found.of("train"), found.images
    negatives = sum(not len(one.labels) for one in train)
    return DataSize(
        train=len(train) - negatives,
        negatives=negatives,
        val=len(found.of("val")),
        with_masks=sum(one.has_masks for one in images),
        megapixels=statistics.fmean(one.height * one.width / 1e6 for one in images),
        file_bytes=statistics.fmean(one.file_bytes for one in images),
        boxes=sum(len(one.boxes) for one in train),
        small_side=small_side([one.boxes for one in train], [(one.height, one.width) for one in train]),
        alike=all_alike([one.labels for one in train]),
        smooth=smooth,
    )
