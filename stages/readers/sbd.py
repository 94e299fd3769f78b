"""SBD, the Semantic Boundaries Dataset: instance annotations for VOC images that VOC itself left unsegmented.

    img/<id>.jpg   inst/<id>.mat (GTinst)   cls/<id>.mat (GTcls)   train.txt   val.txt

Hariharan et al., "Semantic Contours from Inverse Detectors", ICCV 2011. Suffixes: H W image, N instances.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from data_contracts.errors import DataError
from stages.readers.annotations import DeclaredObject
from stages.readers.files import Problems, inside, read_bytes, sha256
from stages.readers.voc_format import VOC_CLASSES, read_split

Annotation = tuple[tuple[int, int], tuple[DeclaredObject, ...], str, str]


class SbdFolder:
    """The folder `dataset` of SBD.

    Raises:
        DataError: it is no folder, or inst/ is missing.
    """

    def __init__(self, root: Path) -> None:
        if not (root / "inst").is_dir():
            raise DataError(f"data.sbd_root: expected SBD's folder `dataset` with inst/ inside, got {root}")
        self.root = root

    def ids(self) -> tuple[str, ...]:
        """Ids of SBD's train and val, in that order."""
        problems = Problems()
        lists = [
            read_split(self.root / f"{name}.txt", f"SBD's {name}", problems) for name in ("train", "val")
        ]
        problems.raise_if_any(f"split lists of {self.root}")
        return tuple(dict.fromkeys(lists[0] + lists[1]))

    def has(self, image_id: str) -> bool:
        """Whether SBD annotates the image."""
        return self._path("inst", image_id).is_file()

    def image_path(self, image_id: str) -> Path | None:
        """The image file, None if SBD has no such image."""
        path = inside(self.root, f"img/{image_id}.jpg", f"img of image {image_id}")
        return path if path.is_file() else None

    def annotation(self, image_id: str) -> Annotation:
        """Size, objects (class names, tight boxes), file and digest, for an image without XML."""
        path = self._path("inst", image_id)
        data = read_bytes(path, f"image {image_id}")
        instances, categories, where = self._parse(data, path)
        objects = []
        for instance, category in categories.items():
            if not 1 <= category <= len(VOC_CLASSES):
                raise DataError(f"{where}: field 'Categories': expected 1..20, got {category}")
            rows, columns = np.nonzero(instances == instance)
            box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
            objects.append(DeclaredObject(VOC_CLASSES[category - 1], box, f"{where}: instance {instance}"))
        height, width = instances.shape
        return (height, width), tuple(objects), where, sha256(data)

    def instances(self, image_id: str) -> tuple[NDArray[np.uint8], dict[int, int], str]:
        """Instance map uint8 [H, W], class index of each instance, and the file (evaluation only)."""
        path = self._path("inst", image_id)
        return self._parse(read_bytes(path, f"masks of image {image_id}"), path)

    def truth_bytes(self, image_id: str) -> Iterator[bytes]:
        """Everything that `instances` reads."""
        yield read_bytes(self._path("inst", image_id), f"masks of image {image_id}")

    def _path(self, folder: str, image_id: str) -> Path:
        return inside(self.root, f"{folder}/{image_id}.mat", f"{folder} of image {image_id}")

    def _parse(self, data: bytes, path: Path) -> tuple[NDArray[np.uint8], dict[int, int], str]:
        where = str(path)
        found = _struct_fields(data, "GTinst", ("Segmentation", "Categories"), where)
        instances = np.atleast_2d(np.asarray(found["Segmentation"]))
        categories = np.atleast_1d(np.asarray(found["Categories"])).ravel()
        if instances.ndim != 2 or instances.dtype.kind not in "uif" or instances.size == 0:
            raise DataError(
                f"{where}: field 'Segmentation': expected numbers [H, W], got {instances.dtype} {instances.shape}"
            )
        if instances.min() < 0 or instances.max() > len(categories) or len(categories) > 254:
            raise DataError(
                f"{where}: field 'Segmentation': expected instances 0..{len(categories)} (one for each of "
                f"'Categories', at most 254), got {instances.min()}..{instances.max()}"
            )
        if categories.dtype.kind not in "uif":
            raise DataError(f"{where}: field 'Categories': expected numbers, got {categories.dtype}")
        present = np.unique(instances)
        classes = {int(i): int(categories[int(i) - 1]) for i in present if i > 0}
        return instances.astype(np.uint8), classes, where


def _struct_fields(data: bytes, variable: str, fields: tuple[str, ...], where: str) -> dict[str, Any]:
    """Fields of a MATLAB struct. scipy reads numbers and structs; it runs no code from the file."""
    try:
        content = loadmat(io.BytesIO(data), variable_names=[variable], simplify_cells=True)
    except Exception as error:  # scipy's parser raises whatever the damaged bytes lead it to
        raise DataError(f"{where}: expected a MATLAB 5 file, got {error}") from error
    struct = content.get(variable)
    if not isinstance(struct, dict) or any(field not in struct for field in fields):
        got = sorted(struct) if isinstance(struct, dict) else type(struct).__name__
        raise DataError(f"{where}: expected a struct {variable} with fields {', '.join(fields)}, got {got}")
    return {field: struct[field] for field in fields}
