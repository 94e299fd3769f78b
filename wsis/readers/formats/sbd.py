"""SBD, the Semantic Boundaries Dataset: instance annotations for VOC images that VOC itself left unsegmented.

    img/<id>.jpg   inst/<id>.mat (GTinst)   cls/<id>.mat (GTcls)   train.txt   val.txt

Hariharan et al., "Semantic Contours from Inverse Detectors", ICCV 2011. Suffixes: H W image, N instances.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from wsis.errors import InputError
from wsis.method.proposals.imports.mat_files import load_struct, whole_numbers
from wsis.readers.files.folder_files import Problems, inside, read_bytes, sha256
from wsis.readers.files.images import MAX_PIXELS
from wsis.readers.formats.voc_format import VOC_CLASSES, read_split
from wsis.readers.shared.annotations import DeclaredObject

_LARGEST = 2 * MAX_PIXELS  # bytes of a decompressed annotation: the map, and boundaries that we do not read
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
        instances, categories = _instances_and_categories(data, where)
        if instances.ndim != 2 or instances.size == 0:
            raise DataError(
                f"{where}: field 'Segmentation': expected numbers [H, W], got {list(instances.shape)}"
            )
        if instances.min() < 0 or instances.max() > len(categories) or len(categories) > 254:
            raise DataError(
                f"{where}: field 'Segmentation': expected instances 0..{len(categories)} (one for each of "
                f"'Categories', at most 254), got {instances.min()}..{instances.max()}"
            )
        present = np.unique(instances)
        classes = {int(i): int(categories[i - 1]) for i in present.tolist() if i > 0}
        if strange := [category for category in classes.values() if not 1 <= category <= len(VOC_CLASSES)]:
            raise DataError(f"{where}: field 'Categories': expected 1..{len(VOC_CLASSES)}, got {strange[0]}")
        return instances.astype(np.uint8), classes, where


def _instances_and_categories(data: bytes, where: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The instance map and the class index of each instance.

    Raises:
        DataError: no such MAT file, or anything but whole numbers in it.
    """
    names = ("Segmentation", "Categories")
    try:
        found = load_struct(data, "GTinst", names, where, largest=_LARGEST)
        instances, categories = (whole_numbers(found[name], f"{where}: field '{name}'") for name in names)
    except InputError as error:
        raise DataError(str(error)) from error
    return instances, categories.ravel()
