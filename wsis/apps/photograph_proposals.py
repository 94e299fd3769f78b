"""Commands on a folder of the user's own photographs, which need neither labels nor training."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, ConfigDict

from data_contracts.errors import ConfigError
from data_contracts.paths import write_file
from data_contracts.printable import counted
from data_contracts.records import RecordReader
from data_contracts.schemas import DATASET, PROPOSALS, array_to_text
from data_contracts.store import Artefact, Store
from stages.data import photographs
from stages.proposals import proposals
from wsis.apps.coco_identities import Identities, identities
from wsis.apps.output_paths import output_names
from wsis.engine.per_image import Compute, Pool, computing, read_failures
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, execute
from wsis.method.proposals import ProposalSet
from wsis.method.proposals.contours.detectors import build_detector
from wsis.method.proposals.imports.coco_results import coco_results
from wsis.method.proposals.maps import contour_map
from wsis.readers.files.images import decode_image
from wsis.readers.files.photographs import Photograph, list_photographs
from wsis.reporting.pictures.pictures import encode
from wsis.reporting.pictures.proposal_sheet import proposal_sheet
from wsis.runs.config import validated
from wsis.views.image_names import near_names
from wsis.views.run import spread

_IN_MEMORY = 64  # images whose COCO results wait to be written


class Settings(BaseModel):
    """What `--set` reaches."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    proposals: proposals.Config
    execution: Execution = Execution()


def build_settings(overrides: Iterable[str], workers: int | None = None) -> Settings:
    """Validated settings; a photograph that fails is tolerated unless they say otherwise.

    Raises:
        ConfigError: naming key, expected and got for everything that is wrong.
    """
    if workers is not None:
        overrides = [*overrides, f"execution.workers={workers}"]
    return validated(Settings, {"proposals": {"tolerate_failures": True}}, "settings", overrides)


def find_photographs(images: Path, progress: Progress) -> list[Photograph]:
    """The photographs, how many they are said.

    Raises:
        DataError: no such folder, or no photograph in it.
    """
    found, others = list_photographs(images)
    left_out = f"; {counted(others, 'other file')} left out" if others else ""
    progress.log(f"{counted(len(found), 'photograph')} in {images}{left_out}")
    return found


# -- proposals --------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Made:
    """The artefacts of `wsis proposals`, and why images failed (image id -> message)."""

    photographs: Artefact
    proposals: Artefact
    identities: Identities
    reused: bool
    failed: Mapping[str, str]

    @property
    def ids(self) -> list[str]:
        """Images with proposals."""
        return [i for i in self.proposals.records(PROPOSALS).ids if i not in self.failed]


def make_proposals(
    store: Store, images: Path, settings: Settings, progress: Progress, ids_file: Path | None = None
) -> Made:
    """Proposals of every photograph; what is intact in the store is reused.

    Args:
        ids_file: COCO file whose ids of images `write_coco` takes.

    Raises:
        DataError: no photographs, one is bad and failures are not tolerated, or `ids_file` does not fit them.
    """
    proposals.check(settings.proposals)
    options: dict[str, Any] = {"execution": settings.execution, "progress": progress}
    data = execute(photographs.STAGE, photographs.Config(root=images), {}, store, **options).artefact
    names = identities(ids_file, None, data, ())
    outcome = execute(proposals.STAGE, settings.proposals, {"dataset": data}, store, **options)
    artefact = outcome.artefact
    return Made(data, artefact, names, outcome.reused, read_failures(artefact.path))


# -- as COCO results --------------------------------------------------------------------------------------
def write_coco(made: Made, path: Path, settings: Settings, progress: Progress) -> int:
    """Write all proposals as COCO results, image by image, best first; their number.

    Masks are in the frame of the photograph after its EXIF rotation. `image_id` is the photograph's file name, or
    its id in the COCO file that was named.

    Raises:
        StoreError: `path` cannot be written; StoreFullError: no space left. An older file is then kept.
    """
    records = made.proposals.records(PROPOSALS)
    lines = _CocoLines(made.photographs.records(DATASET), records, made.identities)
    return write_results(lines, made.ids, path, settings.execution.workers, progress)


def write_results(lines: Compute, ids: Sequence[str], path: Path, workers: int, progress: Progress) -> int:
    """Write a JSON list of the results of these images, image by image; their number.

    Args:
        lines: image ids -> number of results and their JSON with commas between them; see `computing`.

    Raises:
        StoreError: `path` cannot be written; StoreFullError: no space left. An older file is then kept.
    """
    title, written = f"writes {path.name}", 0
    workers = workers if len(ids) > _IN_MEMORY else 1  # starting them takes seconds

    def write(stream: BinaryIO) -> None:
        nonlocal written
        stream.write(b"[")
        for start in range(0, len(ids), _IN_MEMORY):
            for count, text in compute(ids[start : start + _IN_MEMORY]):
                stream.write((("," if written and count else "") + text).encode())
                written += count
                bar.update()
        stream.write(b"\n]\n")

    with (
        progress.bar(len(ids), title, "img") as bar,
        computing(lines, Pool(workers, len(ids), title), {}, {}) as compute,
    ):
        write_file(path, write)
    return written


@dataclass(frozen=True)
class _CocoLines:
    """Image ids -> number of proposals and their JSON, each on a line of its own."""

    photographs: RecordReader
    proposals: RecordReader
    identities: Identities

    def __call__(self, image_ids: Sequence[str]) -> Iterator[tuple[int, str]]:
        for image_id in image_ids:
            name = array_to_text(self.photographs.read(image_id, ("file_name",))["file_name"])
            found = ProposalSet.from_record(self.proposals[image_id])
            results = coco_results(found, self.identities.images[image_id], name)
            yield len(results), json_lines(results)


def json_lines(results: Iterable[Mapping[str, Any]]) -> str:
    """Results as `write_results` takes them."""
    return ",".join("\n" + json.dumps(one) for one in results)


# -- previews ---------------------------------------------------------------------------------------------
def chosen_for_preview(wanted: Sequence[str], found: Sequence[Photograph]) -> tuple[int, list[str]]:
    """What `--preview` asks for: a number of photographs, and ids of photographs named by path, file name or id.

    Raises:
        ConfigError: a name is that of no photograph, or of several.
    """
    number, ids = 0, []
    for text in wanted:
        named = [one for one in found if text in (one.image_id, one.file_name)]
        named = named or [one for one in found if Path(text).resolve() == one.path.resolve()]
        named = named or [one for one in found if text in (one.path.name, one.path.stem)]
        if text.isdecimal() and (int(text) <= len(found) or not named):
            number += int(text)  # there are as many: `8.jpg` is the photograph, `8` a number
            continue
        if len(named) != 1:
            near = [o.file_name for o in named] or near_names(text, [one.file_name for one in found])[:3]
            hint = f"; {'it could be' if named else 'near it:'} {', '.join(near)}" if near else ""
            raise ConfigError(
                f"--preview: expected a number or one of the {len(found)} photographs, got {text!r}{hint}"
            )
        ids.append(named[0].image_id)
    return number, ids


def write_previews(
    made: Made, number: int, named: Sequence[str], settings: Settings, out: Path, progress: Progress
) -> list[Path]:
    """A sheet for each named photograph and for `number` more, spread evenly; failed ones have none.

    Raises:
        StoreError: a file cannot be written.
    """
    ids = made.ids
    chosen = list(dict.fromkeys([*(i for i in named if i not in made.failed), *spread(ids, number)]))
    config = settings.proposals
    detector = build_detector(config)
    data, records = made.photographs.records(DATASET), made.proposals.records(PROPOSALS)
    paths, names = [], output_names(data.ids)
    for image_id in progress.track(chosen, len(chosen), "previews", "img"):
        record = data.read(image_id, ("encoded", "file_name"))
        image = decode_image(record["encoded"].tobytes(), image_id)
        sheet = proposal_sheet(
            image,
            contour_map(image, config, detector),
            ProposalSet.from_record(records[image_id]),
            array_to_text(record["file_name"]),
        )
        path = out / names[image_id]
        write_file(path, encode(sheet, "PNG"))
        paths.append(path)
    return paths
