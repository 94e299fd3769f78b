"""A run as `wsis view` shows it while it is computed: a page and a gallery that follow its record.

All of it is read from the store, and only what the run uses. A thread looks at the record, makes the page anew where it
has changed, and measures the images of the gallery, which takes a while, as long as somebody looks.
"""

import hashlib
import json
import logging
import threading
import time
from collections import OrderedDict
from typing import Any

from data_contracts.errors import ArtefactMissingError, ContractError
from data_contracts.notes import notes_of
from wsis.reporting.gallery.chunks import CHUNK, Gallery, index_of
from wsis.reporting.page.gallery_part import served_gallery
from wsis.reporting.page.report import page_of, sections_of
from wsis.reporting.pictures.pictures import decode, encode
from wsis.views.run import Run

LOOKS = 2.0
"""Seconds between two looks at the record."""
WATCHED = 30.0
"""Seconds after the last request for which images are measured."""
_KEPT = 256  # chunks in memory
_SHOWN = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}  # as they are, by every browser
_USED = (
    "dataset",
    "boxes",
    "prm_seeds",
    "proposals",
    "corrected_proposals",
    "ground_truth",
    "prm_baseline",
    "pseudo_labels",
    "predictions",
)
_LOGGER = logging.getLogger("wsis.view")


class _Measured:
    """The gallery of one state of the images' artefacts, measured as far as it has come. Several threads may ask."""

    def __init__(self, run: Run, images: int | None) -> None:
        self.gallery = Gallery(run, images)
        self.rows = [{**row, "waiting": True} for row in self.gallery.facts]
        self._chunks: OrderedDict[int, bytes] = OrderedDict()
        self._done: set[int] = set()
        self._lock = threading.Lock()

    @property
    def done(self) -> int:
        """Chunks whose images are measured."""
        return len(self._done)

    def next(self) -> int | None:
        """The first chunk that is not measured yet."""
        return next((n for n in range(len(self.gallery)) if n not in self._done), None)

    def chunk(self, number: int) -> bytes:
        """A chunk as JSON; its images are measured then.

        Raises:
            ArtefactMissingError: there is no such chunk.
        """
        if not 0 <= number < len(self.gallery):
            raise ArtefactMissingError(f"gallery: expected a chunk below {len(self.gallery)}, got {number}")
        with self._lock:
            if number in self._chunks:
                self._chunks.move_to_end(number)
                return self._chunks[number]
        entries = self.gallery.entries(number)
        data = self.gallery.chunk(number, entries)
        with self._lock:
            first = number * CHUNK
            self.rows[first : first + len(entries)] = [one.row for one in entries]
            self._done.add(number)
            self._chunks[number] = data
            while len(self._chunks) > _KEPT:
                self._chunks.popitem(last=False)
        return data


class _Snapshot:
    """A run at one time: its page and its gallery, of which only the measures still grow."""

    def __init__(self, run: Run, version: str, images: int | None, before: "_Snapshot | None") -> None:
        self.run, self.version = run, version
        self.shown = [
            (key, entry.fingerprint)
            for key, entry in run.record.entries.items()
            if key.partition("@")[0].partition(".")[0] in _USED
        ]
        same = before is not None and before.shown == self.shown
        self.measured: _Measured | None = (
            before.measured if before is not None and same else self._gallery(images)
        )
        gallery, rows = (None, []) if self.measured is None else (self.measured.gallery, self.measured.rows)
        part = served_gallery(gallery, rows, version)
        self.page = page_of(run, sections_of(run), part).encode()

    def _gallery(self, images: int | None) -> _Measured | None:
        return _Measured(self.run, images) if "dataset" in self.run.record.entries and images != 0 else None


class LiveRun:
    """A run that is looked at.

    Args:
        run: finished or not.
        images: of the gallery, at most, evenly spread; None: all.

    Raises:
        CorruptArtefactError, ArtefactMissingError: its data set is damaged or gone.
    """

    def __init__(self, run: Run, images: int | None = None) -> None:
        self._images = images
        self._now = _Snapshot(run, _version(run), images, None)
        self._stop = threading.Event()
        self._asked = time.monotonic()
        self._thread = threading.Thread(target=self._follow, name="wsis-view", daemon=True)

    def __enter__(self) -> "LiveRun":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=60)

    # ------------------------------------------------------------------------------ what a server gives

    @property
    def version(self) -> str:
        """A digest of all that the page is made of."""
        return self._now.version

    def page(self) -> bytes:
        """The page as HTML in UTF-8."""
        return self._now.page

    def state(self) -> bytes:
        """JSON: `version`, `measured` (number of chunks), `status` of the run. A call counts as somebody looking."""
        self._asked = time.monotonic()
        now = self._now
        done = 0 if now.measured is None else now.measured.done
        return json.dumps(
            {"version": now.version, "measured": done, "status": now.run.record.status}
        ).encode()

    def index(self) -> bytes:
        """JSON that lists the images, see `wsis.reporting.gallery.chunks.index_of`."""
        measured = self._now.measured
        told = index_of(None, []) if measured is None else index_of(measured.gallery, measured.rows)
        return json.dumps(told).encode()

    def chunk(self, number: int) -> bytes:
        """A chunk of the gallery as JSON.

        Raises:
            ArtefactMissingError: the run has no images yet, or no such chunk.
        """
        return self._measured().chunk(number)

    def photograph(self, place: int) -> tuple[str, bytes]:
        """Media type and bytes of the photograph at a place of the index, as the user gave it where browsers show that.

        Raises:
            ArtefactMissingError: there is none. DataError: it does not decode.
        """
        gallery = self._measured().gallery
        if not 0 <= place < len(gallery.ids):
            raise ArtefactMissingError(f"photographs: expected a place below {len(gallery.ids)}, got {place}")
        image_id = gallery.ids[place]
        data = gallery.sources.dataset.read(image_id, ("encoded",))["encoded"].tobytes()
        shown = next((kind for begin, kind in _SHOWN.items() if data.startswith(begin)), None)
        if shown is not None:
            return shown, data
        return "image/jpeg", encode(decode(data, image_id), "JPEG", quality=90)

    def _measured(self) -> _Measured:
        if self._now.measured is None:
            raise ArtefactMissingError(f"run {self._now.run.name} holds no data set yet")
        return self._now.measured

    # ------------------------------------------------------------------------------ the thread

    def _follow(self) -> None:
        looked, said = time.monotonic(), ""
        while not self._stop.wait(0.2 if self._work() is None else 0.01):
            try:
                if time.monotonic() - looked >= LOOKS:
                    looked = time.monotonic()
                    self._renew()
                elif (number := self._work()) is not None and self._now.measured is not None:
                    self._now.measured.chunk(number)
                said = ""
            except ContractError as error:  # the run writes meanwhile; what is shown stays
                if str(error) != said:
                    said = str(error)
                    _LOGGER.warning("%s", said)
                self._stop.wait(LOOKS)

    def _work(self) -> int | None:
        """The next chunk to measure, while somebody looks."""
        watched = time.monotonic() - self._asked < WATCHED
        return self._now.measured.next() if watched and self._now.measured is not None else None

    def _renew(self) -> None:
        run = self._now.run.reloaded()
        version = _version(run)
        if version != self._now.version:
            self._now = _Snapshot(run, version, self._images, self._now)


def _version(run: Run) -> str:
    told: list[Any] = [
        run.record.model_dump(mode="json"),
        [one.text for one in notes_of(run.store, run.name)],
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
