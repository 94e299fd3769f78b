"""What a run on a data set will cost, for `wsis check`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsis.errors import MissingWeightsError
from wsis.readers.files.images import decode_image
from wsis.readers.inventory import Inventory
from wsis.readers.shared.records import ROLES, DatasetSource
from wsis.runs.config import RunConfig
from wsis.runs.costs import FACTOR, run_cost, unmeasured
from wsis.runs.data_size import DataSize, SizedImage, sized


def cost_of(source: DatasetSource, found: Inventory, config: RunConfig) -> dict[str, Any]:
    """Seconds (likely, least, most), bytes of disk and memory on this machine; or why there is no estimate."""
    reason = unmeasured(config)
    if reason is not None or not found.of("train"):
        return {"seconds": None, "why": reason or "no train images"}
    try:
        size = _size(source, found, config)
    except MissingWeightsError as error:  # of the contours, without which superpixels cannot be counted
        return {"seconds": None, "why": str(error)}
    estimate = run_cost(config, size)
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


def _size(source: DatasetSource, found: Inventory, config: RunConfig) -> DataSize:
    images = {one.image_id: one for one in found.images}

    def read(image_id: str) -> SizedImage:
        one = images[image_id]
        return SizedImage((one.height, one.width), one.file_bytes, one.boxes)

    def decode(image_id: str) -> NDArray[np.uint8]:
        return decode_image(source.image(image_id).encoded, images[image_id].file_name)

    ids = {role: [one.image_id for one in found.of(role)] for role in ROLES}
    labels = [one.labels for one in found.of("train")]
    with_masks = sum(one.has_masks for one in found.images)
    return sized(ids, labels, with_masks, read, decode, config.proposals)
