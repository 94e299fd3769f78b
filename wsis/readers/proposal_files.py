"""Files of imported proposals, looked at before anything is computed: whether they fit the data set's images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from data_contracts.errors import DataError
from wsis.errors import InputError
from wsis.method.proposals.imports.mat_files import load_variables
from wsis.readers.files.folder_files import Problems, inside, read_bytes
from wsis.readers.proposal_results import Target, index_results

SUFFIX = ".mat"
_LOOKED_INTO = 3  # of the .mat files; that each is there is checked of all
_VARIABLES = {"mcg_mat": ("superpixels", "labels", "scores"), "cob_mat": ("maskmat",)}
_MERGE = (
    "expected one JSON list with the entries of all images, each with image_id or file_name, "
    "segmentation {size, counts} and score"
)


def check_results_file(file: Path) -> None:
    """Whether a path can be COCO results at all.

    Raises:
        DataError: no file, or what Segment Anything writes as it is: a folder of a file an image, or one such file.
    """
    if file.is_dir():
        count = len(list(file.glob("*.json")))
        raise DataError(
            f"proposals.file: {_MERGE}, got the folder {file} with {count} JSON files{_sam(count > 0)}"
        )
    if not file.is_file():
        raise DataError(f"proposals.file: expected a COCO results JSON, got {file}")
    with file.open("rb") as stream:
        start = stream.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"{"):
        raise DataError(
            f"proposals.file: {_MERGE}, got {file} with one JSON object{_sam(b'annotations' in start)}"
        )


def _sam(likely: bool) -> str:
    if not likely:
        return ""
    return (
        " (as Segment Anything writes, one for each image: put its annotations into one list, with file_name, and "
        "predicted_iou as score)"
    )


def file_of(folder: Path, image_id: str) -> Path:
    """The `.mat` file of an image; in a folder of its own where the id, a COCO image's name, has one.

    Raises:
        DataError: the id leads out of the folder.
    """
    return inside(folder, f"{image_id}{SUFFIX}", "image id")


def check_folder(folder: Path, image_ids: Sequence[str]) -> None:
    """Whether each image has its `.mat` file.

    Raises:
        DataError: listing those that are missing.
    """
    problems = Problems()
    for image_id in image_ids:
        path = file_of(folder, image_id)
        if not path.is_file():
            problems.add(f"image {image_id}: the file {path} is missing")
    problems.raise_if_any(f"proposals.folder {folder}")


def check_imported(
    source: Literal["mcg_mat", "cob_mat", "coco_results"], place: Path, targets: Sequence[Target]
) -> None:
    """Whether imported proposals fit the images that need some: names, fields and, of COCO results, sizes.

    Runs of COCO results are not decoded, and of `.mat` files some are looked into: what is wrong inside others the
    stage finds.

    Args:
        place: the folder, or the file of `coco_results`.

    Raises:
        DataError: listing what is missing, malformed or of another size.
    """
    if source == "coco_results":
        index_results(place, targets)
        return
    ids = [target.image_id for target in targets]
    check_folder(place, ids)
    problems = Problems()
    for image_id in ids[:: max(1, len(ids) // _LOOKED_INTO)]:
        path = file_of(place, image_id)
        with problems.collect():
            try:
                load_variables(
                    read_bytes(path, f"proposals of image {image_id}"), _VARIABLES[source], str(path)
                )
            except InputError as error:
                raise DataError(f"proposals of image {image_id}: {error}") from error
    problems.raise_if_any(f"proposals.folder {place}")
