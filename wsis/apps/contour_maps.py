"""`wsis contours`: an 8-bit contour map for each photograph of a folder.

A map says in a text chunk what it was made of (`MARK`: a hash of settings and photograph). It is kept when that
is what would be made now and its pixels can be read; made anew when not; a file without the chunk is not ours and
is never overwritten.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image as PillowImage
from PIL import PngImagePlugin, UnidentifiedImageError

from data_contracts.atomic import write_atomic
from data_contracts.errors import DataError, StoreError
from data_contracts.paths import make_folder
from stages.proposals import proposals
from wsis.apps.output_paths import check_folder, output_names, write_names
from wsis.apps.photograph_proposals import Settings
from wsis.engine.per_image import Failure, Pool, Tolerant, computing
from wsis.engine.progress import Progress
from wsis.method.proposals.contours.detectors import ContourDetector, build_detector
from wsis.method.proposals.maps import contour_map
from wsis.readers.files.folder_files import read_bytes, sha256
from wsis.readers.files.images import decode_image
from wsis.readers.files.photographs import Photograph

MARK = "wsis-contours"
State = Literal["written", "kept"]


@dataclass(frozen=True)
class Drawn:
    """What `write_contours` did: numbers of files, and a message for each photograph that failed."""

    written: int
    kept: int
    failed: list[str]


def write_contours(found: Sequence[Photograph], out: Path, settings: Settings, progress: Progress) -> Drawn:
    """Write `out`/<image id>.png for each photograph: grey, its size after EXIF rotation, 255 = strength 1.

    Raises:
        MissingWeightsError, UnsupportedOpError: the contour detector cannot be built.
        StoreError: `out` cannot be written. WorkerDiedError: a worker process was killed.
    """
    proposals.check(settings.proposals)
    check_folder(out)
    by_id = {one.image_id: one for one in found}
    names = output_names(by_id)
    write_names(names, out)
    draw = Tolerant(_Draw(by_id, names, out, settings.proposals, _settings_digest(settings.proposals)))
    states: list[State | Failure] = []
    with (
        progress.bar(len(found), "contours", "img") as bar,
        computing(draw, Pool(settings.execution.workers, len(found), "contours"), {}, {}) as drawn,
    ):
        for state in drawn(list(by_id)):
            bar.update()
            states.append(state)
            if isinstance(state, Failure):
                progress.log(f"failed: {state.message}")
    failed = [state.message for state in states if isinstance(state, Failure)]
    return Drawn(states.count("written"), states.count("kept"), failed)


def _settings_digest(config: proposals.Config) -> str:
    """Digest of all that decides the map of a photograph, where files lie apart."""
    decides = {
        "version": proposals.ALGORITHM_VERSION,
        "contour": config.contour,
        "max_side": config.max_side,
        "content": proposals.content_digest(config),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Draw:
    """Image ids -> states. The detector is built once in each process."""

    photographs: Mapping[str, Photograph]
    names: Mapping[str, str]
    out: Path
    config: proposals.Config
    settings: str

    @cached_property
    def detector(self) -> ContourDetector:
        return build_detector(self.config)

    def __call__(self, image_ids: Sequence[str]) -> Iterator[State]:
        for image_id in image_ids:
            yield self._draw(self.photographs[image_id])

    def _draw(self, one: Photograph) -> State:
        data = read_bytes(one.path, one.file_name)
        mark = sha256(self.settings.encode() + sha256(data).encode())
        path = self.out / self.names[one.image_id]
        if path.exists() and _is_intact(path, mark, one.file_name):
            return "kept"
        strength = contour_map(decode_image(data, one.file_name), self.config, self.detector)
        picture = _png(np.rint(255 * strength).astype(np.uint8), mark)
        try:
            make_folder(path.parent)
            write_atomic(path, picture)
        except StoreError:
            raise
        except OSError as error:  # a name too long for this file system is one photograph's trouble
            raise DataError(f"{one.file_name}: {path} cannot be written: {error.strerror}") from error
        return "written"


def _is_intact(path: Path, mark: str, file_name: str) -> bool:
    """Whether the file is the map with this mark, whole.

    Raises:
        DataError: it is no map of ours.
    """
    foreign = f"{file_name}: {path} is there and was not written by wsis contours; it is left as it is, remove it first"
    try:
        with PillowImage.open(path, formats=("PNG",)) as image:
            found = image.info.get(MARK)
            if found is None:
                raise DataError(foreign)
            image.load()
    except (UnidentifiedImageError, PillowImage.DecompressionBombError) as error:
        raise DataError(foreign) from error
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        return False  # ours, and damaged
    return found == mark


def _png(pixels: np.ndarray, mark: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text(MARK, mark)
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()
