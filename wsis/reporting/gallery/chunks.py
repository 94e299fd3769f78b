"""The gallery as it travels: an index that lists every image, and chunks that hold their pictures and details.

A chunk is JSON: `pictures`, a small JPEG of each image in base64, and `details`, what their views show as JSON,
deflated, in base64. A page parses a chunk when one of its images comes into sight.
"""

import base64
import json
import zlib
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from wsis.method.evaluation.instance_quality import STATES
from wsis.reporting.gallery.entries import SIDE, Entry, entry_of, facts_of
from wsis.reporting.pictures.image_sets import SURE, TRAIN_PREDICTED, ImageSources
from wsis.reporting.pictures.overlays import instance_colours, size_for
from wsis.reporting.pictures.pictures import decode, encode
from wsis.views.run import Run, spread

CHUNK = 16
"""Images in one."""
_QUALITY = 68  # of the JPEGs: artefacts are not seen at this size
_COLOURS = 48  # things of an image beyond these share colours


class Gallery:
    """The images of a run for a page; what is asked for is computed then and not kept.

    Args:
        images: at most so many, evenly spread; None: all.

    Attributes:
        ids: the images, in the order of the data set. sources: what they are made of.

    Raises:
        ConfigError: the run has no data set yet. CorruptArtefactError, ArtefactMissingError: it cannot be read.
    """

    def __init__(self, run: Run, images: int | None = None) -> None:
        self.sources = ImageSources(run, tolerate=True)
        self.ids = spread(self.sources.dataset.ids, images)

    def __len__(self) -> int:
        """Number of chunks."""
        return -(-len(self.ids) // CHUNK)

    @cached_property
    def facts(self) -> list[dict[str, Any]]:
        """A row for each image, with what is known before it is measured."""
        return [facts_of(self.sources, image_id) for image_id in self.ids]

    def ids_of(self, chunk: int) -> list[str]:
        """The images of a chunk."""
        return self.ids[chunk * CHUNK : (chunk + 1) * CHUNK]

    def entries(self, chunk: int) -> list[Entry]:
        """The images of a chunk, measured."""
        return [entry_of(self.sources, image_id) for image_id in self.ids_of(chunk)]

    def chunk(self, number: int, entries: list[Entry]) -> bytes:
        """A chunk as JSON in ASCII, without "<", so that it can stand within a page."""
        details = json.dumps([one.detail for one in entries], separators=(",", ":"), allow_nan=False)
        pictures = [self._picture(image_id) for image_id in self.ids_of(number)]
        return json.dumps({"pictures": pictures, "details": deflated(details.encode())}).encode("ascii")

    def _picture(self, image_id: str) -> str:
        record = self.sources.dataset.read(image_id, ("encoded", "size"))
        size = size_for(SIDE, *record["size"].tolist())
        return base64.b64encode(small_jpeg(record["encoded"].tobytes(), image_id, size)).decode("ascii")


def index_of(gallery: Gallery | None, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What a page must know at once of a gallery, or of a run that has no images yet.

    Args:
        rows: one for each image, of `Gallery.facts` or measured (`Entry.row`).
    """
    return {
        "classes": [] if gallery is None else list(gallery.sources.classes),
        "total": 0 if gallery is None else len(gallery.sources.dataset),
        "colours": instance_colours(_COLOURS).tolist(),
        "states": list(STATES[:4]),
        "chunk": CHUNK,
        "drawn": [] if gallery is None else _drawn(gallery.sources),
        "last": {} if gallery is None else _last(gallery.sources),
        "sure": SURE,
        "train_predicted": TRAIN_PREDICTED,
        "images": rows,
    }


def _drawn(sources: ImageSources) -> list[str]:
    """What a run has of some image: `prediction`, `sample` (of pseudo labels)."""
    return [
        *(["prediction"] if any(sources.predicted.values()) else []),
        *(["sample"] if sources.labels else []),
    ]


def _last(sources: ImageSources) -> dict[str, int]:
    """The last outer iterations: of the samples, of the predictions of each split, that which has both on train."""
    found = {"sample": sources.labels, **sources.predicted}
    found["both"] = {t: records for t, records in sources.labels.items() if t in sources.predicted["train"]}
    return {name: max(readers) for name, readers in found.items() if readers}


def inert(value: Any) -> str:
    """JSON that may stand in a `<script type="application/json">`: nothing in it ends the element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def deflated(data: bytes) -> str:
    """Deflate in base64, as the browser's DecompressionStream("deflate") undoes it."""
    return base64.b64encode(zlib.compress(data, 9)).decode("ascii")


def small_jpeg(data: bytes, image_id: str, size: tuple[int, int]) -> bytes:
    """An image file as a JPEG of (h, w) `size`.

    Raises:
        DataError: the bytes are no image.
    """
    image = PillowImage.fromarray(decode(data, image_id, at_least=2 * SIDE))
    small = image.resize((size[1], size[0]), PillowImage.Resampling.LANCZOS, reducing_gap=2.0)
    return encode(np.asarray(small), "JPEG", quality=_QUALITY, optimize=True)
