"""The gallery as a part of a run's page: with all its data within the page, or with data that a server gives."""

from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from typing import Any, NamedTuple

from markupsafe import Markup

from wsis.reporting.gallery.chunks import Gallery, index_of, inert
from wsis.reporting.pictures.image_sets import SURE
from wsis.views.run import Run

MOST = 2000
"""Images of a page on disk, unless another number is asked for: some 40 MB."""
_SCRIPTS = ("gallery_data.js", "gallery_draw.js", "gallery_grid.js", "gallery_viewer.js", "gallery_start.js")

Track = Callable[[Iterable[int], int], Iterable[int]]


class GalleryPart(NamedTuple):
    """What `gallery.html` shows.

    Attributes:
        contents: JSON that lists the images. chunks: JSON of their pictures and details, `chunks` says how.
        notes: lines above the grid. sure: least score of the detections shown.
        live: whether a server gives the chunks, and new numbers.
    """

    contents: Markup
    chunks: Sequence[Markup]
    notes: Sequence[str]
    live: bool
    scripts: Sequence[Markup]
    sure: float = SURE


def no_track(numbers: Iterable[int], total: int) -> Iterable[int]:
    """Progress that nobody sees."""
    return numbers


def embedded_gallery(run: Run, images: int | None, track: Track = no_track) -> GalleryPart | None:
    """The gallery with all its data; None where the run has no images yet or none are asked for.

    Args:
        images: at most so many, evenly spread; None: `MOST`.
        track: wraps the numbers of the chunks, and how many they are, for a progress bar.

    Raises:
        CorruptArtefactError, ArtefactMissingError: the data set is damaged or gone.
    """
    if images == 0 or "dataset" not in run.record.entries:
        return None
    gallery = Gallery(run, MOST if images is None else images)
    rows: list[dict[str, Any]] = []
    chunks = []
    for number in track(range(len(gallery)), len(gallery)):
        entries = gallery.entries(number)
        rows += [one.row for one in entries]
        chunks.append(Markup(gallery.chunk(number, entries).decode("ascii")))
    return part_of(gallery, rows, chunks)


def part_of(gallery: Gallery, rows: list[dict[str, Any]], chunks: Sequence[Markup]) -> GalleryPart:
    """The gallery with its data. rows: one for each image. chunks: their JSON."""
    index = Markup(inert(index_of(gallery, rows)))
    return GalleryPart(index, chunks, gallery.sources.unreadable, False, scripts())


def served_gallery(gallery: Gallery | None, rows: list[dict[str, Any]], version: str) -> GalleryPart:
    """The gallery of a page whose server gives the chunks, and says by a version when they are others.

    gallery: None of a run that has no images yet.
    """
    index = Markup(inert({**index_of(gallery, rows), "version": version}))
    return GalleryPart(index, (), [] if gallery is None else gallery.sources.unreadable, True, scripts())


def scripts() -> list[Markup]:
    """The gallery's JavaScript, in the order in which it runs."""
    folder = resources.files("wsis.reporting.page").joinpath("templates")
    return [Markup(folder.joinpath(name).read_text(encoding="utf-8")) for name in _SCRIPTS]
