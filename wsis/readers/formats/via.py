"""VIA, the VGG Image Annotator (versions 1 and 2): a project, its export of annotations, or its table (CSV).

    via_project.json, images/                            for all images
    train/via_region_data.json, train/a.jpg, val/...     or one a split, in its folder or called like it

Polygons, circles and ellipses are masks, rectangles are boxes, points and lines are labels alone. The class is the
attribute that all regions have (`data.label_attribute` where there are several); where none has any, all objects are of
one class. An image without regions has the label that its own attribute of that name gives it, else it is a negative.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import Problems, class_name, inside
from wsis.readers.files.image_files import ImageFiles, KnownImages
from wsis.readers.files.json_files import annotation_files, find_written_by, refuse_broken
from wsis.readers.formats.via_format import ViaImage, ViaRegion, drawn_of, is_via_table, read_via
from wsis.readers.shared.drawn import Drawn, DrawnImage, DrawnSource, only_class
from wsis.readers.shared.folder import FolderOptions
from wsis.readers.shared.format import Format, Given
from wsis.readers.shared.names import is_image
from wsis.readers.shared.settings import DataSettings
from wsis.readers.shared.splits import SplitChoice, known_splits

_USUAL = ("class", "label", "name", "category", "type", "object", "species")


class Via(DrawnSource):
    """A folder with files of VIA.

    Args:
        attribute: that holds the class; None: the one that all regions have.
    """

    def __init__(
        self, root: Path, options: FolderOptions, choice: SplitChoice, attribute: str | None = None
    ) -> None:
        super().__init__(root, options, choice)
        self.attribute = attribute

    def _drawn(self, problems: Problems) -> Iterator[DrawnImage]:
        splits = known_splits(self.choice.names)
        files = self._named_files or find_files(self.root, splits)
        if not files:
            expected = f"{self.root}: expected a project or export of VIA (JSON or CSV)"
            refuse_broken(annotation_files(self.root, ".json", splits), expected)
            raise DataError(f"{expected}, got none in the usual places")
        images: list[tuple[str, ViaImage]] = []
        for name in files:
            with problems.collect():
                images += [(name, one) for one in read_via(inside(self.root, name, "annotations"))]
        attribute = self._attribute([region for _, one in images for region in one.regions])
        folder = "images" if (self.root / "images").is_dir() else "."
        for name, one in images:
            with problems.collect():
                beside = str(PurePosixPath(name).parent)
                place = folder if beside == "." else beside
                finder = self._known or ImageFiles(self.root, place, ".", self.options.strict)
                yield self._image(name, one, attribute, finder)

    def _attribute(self, regions: list[ViaRegion]) -> str | None:
        """The attribute that holds the class; None where no region has any."""
        held = [{key for key, value in one.attributes.items() if value not in ("", None)} for one in regions]
        if self.attribute is not None or not any(held):
            return self.attribute
        common = set.intersection(*held)
        usual = [name for name in _USUAL if name in common]
        found = usual[:1] or sorted(common)
        if len(found) == 1:
            return found[0]
        some = sorted(set.union(*held))
        raise DataError(
            f"{self.root}: expected one attribute that all {len(held)} regions have, got {', '.join(found) or 'none'} "
            f"of {', '.join(some)!r:.200}; data.label_attribute names that of the class"
        )

    def _image(
        self, file: str, one: ViaImage, attribute: str | None, finder: ImageFiles | KnownImages
    ) -> DrawnImage:
        where = f"{one.where}: field 'filename'"
        path = finder.find(one.name, where)
        if not is_image(path):
            raise DataError(f"{where}: expected an image, got {path!r}")
        objects = [drawn_of(region, self._class_of(region, attribute)) for region in one.regions]
        if not objects and attribute is not None and one.attributes.get(attribute):
            place = f"{one.where}: file_attributes"
            objects = [
                Drawn(name, None, place) for name in _names(one.attributes[attribute], attribute, place)
            ]
        own = f"{PurePosixPath(file).with_suffix('')}/"  # train.json is of train
        return DrawnImage(path, tuple(objects), one.where, self._split_of(path, f"{own}{path}"))

    def _class_of(self, region: ViaRegion, attribute: str | None) -> str:
        if attribute is None:
            return only_class(self.options, self.note, "no region has attributes")
        names = _names(region.attributes.get(attribute), attribute, region.where)
        if len(names) != 1:
            raise DataError(
                f"{region.where}: attribute {attribute!r}: expected one class, got {', '.join(names) or 'none'}"
            )
        return names[0]


def _names(value: Any, attribute: str, where: str) -> list[str]:
    """Classes that an attribute holds: text, or an object of options with those that are chosen true."""
    place = f"{where}: attribute {attribute!r}"
    if isinstance(value, dict):
        value = [name for name, chosen in value.items() if chosen is True]
    found = value if isinstance(value, list) else [] if value in (None, "") else [value]
    if not all(isinstance(name, str) and name.strip() for name in found):
        raise DataError(f"{place}: expected text, got {value!r:.80}")
    return [class_name(name, place) for name in found]


def find_files(root: Path, splits: set[str]) -> list[str]:
    """The files of VIA in the usual places, below the root: those of JSON, else tables."""
    tables = (path for path in annotation_files(root, ".csv", splits) if is_via_table(path))
    return find_written_by(root, "via", splits) or [path.relative_to(root).as_posix() for path in tables]


def _look(root: Path, given: Given) -> str | None:
    return ", ".join(find_files(root, known_splits(given.names))) or None


def _open(config: DataSettings, root: Path, options: FolderOptions, choice: SplitChoice) -> Via:
    return Via(root, options, choice, config.label_attribute)


FORMAT = Format("VIA (its project, or JSON or CSV export)", _look, _open)
