"""Label Studio's JSON export: tasks with the shapes that were drawn and the choices that were made.

    tasks.json, images/            one file or several; of train.json and val.json each is a split

Polygons, ellipses and brush strokes are masks, rectangles are boxes, key points and choices are labels alone. Of
several annotations of a task the one marked as ground truth counts, else the last; skipped ones and predictions never
do. Tasks without annotation are left out; with an empty one they are negatives. Suffix: H W image.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlsplit

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import (
    Problems,
    class_name,
    clean_text,
    finite_number,
    flag,
    inside,
    parse_json,
    read_bytes,
)
from wsis.readers.files.image_files import KnownImages
from wsis.readers.files.json_files import annotation_files, find_written_by, objects_in, refuse_broken
from wsis.readers.formats.label_studio_shapes import shape_of
from wsis.readers.shared.drawn import Drawn, DrawnImage, DrawnSource
from wsis.readers.shared.folder import FolderOptions
from wsis.readers.shared.format import Format, Given
from wsis.readers.shared.labelled import NEGATIVES, is_negative_name
from wsis.readers.shared.names import NameIndex, is_image
from wsis.readers.shared.settings import DataSettings
from wsis.readers.shared.splits import SplitChoice, known_splits

_IMAGE_KEYS = ("image", "img", "photo", "picture", "url", "image_url")
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the name of an uploaded file
_LABELS = ("rectanglelabels", "polygonlabels", "brushlabels", "ellipselabels", "keypointlabels", "labels")


@dataclass(frozen=True)
class _Choice:
    """A choice for a whole image: which tag made it, and what was chosen."""

    tag: str
    name: str
    where: str


class LabelStudio(DrawnSource):
    """A folder with the JSON of Label Studio.

    Args:
        negatives: choices that mean "none of the classes".
        tag: name of the `<Choices>` tag whose choices are classes; None: there is but one.
    """

    def __init__(
        self,
        root: Path,
        options: FolderOptions,
        choice: SplitChoice,
        negatives: tuple[str, ...] = NEGATIVES,
        tag: str | None = None,
    ) -> None:
        super().__init__(root, options, choice)
        self.negatives, self.tag = negatives, tag
        self._left_out: Counter[str] = Counter()

    def _drawn(self, problems: Problems) -> Iterator[DrawnImage]:
        index, found = self._known or self._names(), []
        for name in self._files():
            with problems.collect():
                path = inside(self.root, name, "annotations")
                tasks = parse_json(read_bytes(path, "annotations"), str(path))
                for position, task in enumerate(objects_in(tasks, str(path))):
                    with problems.collect():
                        found.append(self._image(name, position, task, index))
        for what, count in sorted(self._left_out.items()):
            self.note(f"{count} {what}")
        self._check_tags([choice for one in found if one is not None for choice in one[1]])
        return iter([self._whole(*one) for one in found if one is not None])

    def _files(self) -> list[str]:
        splits = known_splits(self.choice.names)
        found = self._named_files or find_written_by(self.root, "label_studio", splits)
        if not found:
            expected = f"{self.root}: expected Label Studio's export JSON (a list of tasks with data and annotations)"
            refuse_broken(annotation_files(self.root, ".json", splits), expected)
            raise DataError(f"{expected}, got none; of its other exports COCO and YOLO are read")
        return found

    def _image(
        self, file: str, position: int, task: dict[str, Any], index: NameIndex | KnownImages
    ) -> tuple[DrawnImage, list[_Choice]] | None:
        where = f"{self.root / file}: task {task.get('id', position)!r:.40}"
        annotation = self._chosen(task, where)
        if annotation is None:
            return None
        path = _image_of(task, index, where)
        drawn, choices, sizes = [], [], set()
        place = f"{where}: result"
        results = list(objects_in(annotation.get("result"), place))
        shaped = [one.get("id") for one in results if one.get("type") in _LABELS and one.get("id")]
        for number, result in enumerate(results):
            at = f"{place}[{number}]"
            if result.get("type") == "choices" and result.get("id") not in shaped:
                choices += _choices(result, at)
            elif result.get("type") in _LABELS:
                size = _size(result, at)
                sizes.add(size)
                drawn.append(shape_of(result, _label(result, at), size, at))
        if unread := sorted({_kind_of(one) for one in results if _is_unread(one, shaped)}):
            self._left_out[
                f"tasks have shapes without class, or of a kind that is not read ({', '.join(unread)}): left out"
            ] += 1
            if not drawn and not choices:  # something is there, so it is no negative
                return None
        if len(sizes) > 1:
            raise DataError(f"{where}: expected shapes on one image, got sizes {sorted(sizes)!r:.120}")
        own = f"{PurePosixPath(file).with_suffix('')}/"  # train.json is of train
        split = self._split_of(path, f"{own}{path}")
        return DrawnImage(path, tuple(drawn), where, split, next(iter(sizes), None)), choices

    def _chosen(self, task: dict[str, Any], where: str) -> dict[str, Any] | None:
        """The annotation that counts; None where there is none."""
        listed = task.get("annotations", task.get("completions")) or []
        made = [
            one
            for one in objects_in(listed, f"{where}: field 'annotations'")
            if not flag(one.get("was_cancelled"), f"{where}: field 'was_cancelled'")
        ]
        if not made:
            self._left_out[
                "tasks without annotation are left out (predictions count once they are submitted)"
            ] += 1
            return None
        if len(made) > 1:
            self._left_out["tasks have several annotations: ground truth, else the last one, counts"] += 1
        sure = [one for one in made if flag(one.get("ground_truth"), f"{where}: field 'ground_truth'")]
        return (sure or made)[-1]

    def _check_tags(self, choices: list[_Choice]) -> None:
        """Choices of several tags are several questions: which are classes must be said."""
        tags = sorted({one.tag for one in choices})
        if self.tag is None and len(tags) > 1:
            raise DataError(
                f"{self.root}: expected choices of one tag, got {', '.join(tags)}; data.label_attribute names that of "
                "the classes"
            )
        if self.tag is not None and choices and self.tag not in tags:
            raise DataError(f"data.label_attribute: expected one of {', '.join(tags)}, got {self.tag!r}")

    def _whole(self, image: DrawnImage, choices: list[_Choice]) -> DrawnImage:
        """The image with its choices, of classes that no shape has."""
        mine = {one.name: one for one in choices if self.tag in (None, one.tag)}
        drawn = {one.name for one in image.objects}
        nothing = [n for n in mine if is_negative_name(n, self.negatives, self.options.classes)]
        if nothing and len(mine.keys() | drawn) > len(nothing):
            raise DataError(
                f"{image.where}: expected classes or none, got {', '.join(sorted(mine.keys() | drawn))}"
            )
        labels = [
            Drawn(one.name, None, one.where) for one in mine.values() if one.name not in {*drawn, *nothing}
        ]
        return DrawnImage(
            image.file_name, (*image.objects, *labels), image.where, image.split, image.size, image.void
        )


def _image_of(task: dict[str, Any], index: NameIndex | KnownImages, where: str) -> str:
    """The file of a task's image, which is called by its path, a URL, or with what an upload puts before its name."""
    data = task.get("data")
    if not isinstance(data, dict):
        raise DataError(f"{where}: field 'data': expected an object with the image, got {data!r:.80}")
    texts = {key: _path(value) for key, value in data.items() if isinstance(value, str)}
    usual = [key for key in _IMAGE_KEYS if key in texts]
    keys = usual[:1] or [key for key, path in texts.items() if is_image(path)]
    if len(keys) != 1:
        raise DataError(
            f"{where}: field 'data': expected one image, got {', '.join(keys) or list(data)!r:.120}"
        )
    written = texts[keys[0]]
    plain = PurePosixPath(written)
    own = str(plain.with_name(_UPLOADED.sub("", plain.name, count=1))) if plain.name else written
    place = f"{where}: field 'data': {keys[0]}"
    return index.find(own if own != written and not index.knows(written) else written, place)


def _path(text: str) -> str:
    """The path that a text means: of a URL its path, of /data/local-files/?d=a/b.jpg what d says."""
    try:
        parts = urlsplit(text)
        return parse_qs(parts.query).get("d", [text])[0] if "?" in text else text
    except ValueError:  # no URL, as names with [ are
        return text


def _kind_of(result: dict[str, Any]) -> str:
    return clean_text(f"{result.get('type')!s:.40}", "type of a result")


def _is_unread(result: dict[str, Any], shaped: Collection[Any]) -> bool:
    """Whether a result is a shape that gives no object: no class was chosen for it, or it is of a film or skeleton."""
    value = result.get("value")
    if (
        result.get("type") in (*_LABELS, "choices")
        or result.get("id") in shaped
        or not isinstance(value, dict)
    ):
        return False
    return bool({"x", "points", "rle", "vertices", "sequence"} & value.keys())


def _size(result: dict[str, Any], where: str) -> tuple[int, int]:
    """(height, width) of the image that a shape was drawn on."""
    sides = []
    for key in ("original_height", "original_width"):
        value = result.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 1 or value % 1:
            raise DataError(f"{where}: field '{key}': expected pixels, at least 1, got {value!r:.80}")
        sides.append(int(value))
    if finite_number(result.get("image_rotation") or 0, f"{where}: field 'image_rotation'") != 0:
        raise DataError(
            f"{where}: field 'image_rotation': expected 0, got {result['image_rotation']!r:.40}: save the image turned"
        )
    return sides[0], sides[1]


def _label(result: dict[str, Any], where: str) -> str:
    """The one class of a shape."""
    value, kind = result.get("value"), result["type"]
    names = value.get(kind) if isinstance(value, dict) else None
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str) or not names[0]:
        raise DataError(f"{where}: field '{kind}': expected one label, got {names!r:.80}")
    return class_name(names[0], f"{where}: field '{kind}'")


def _choices(result: dict[str, Any], where: str) -> list[_Choice]:
    value = result.get("value")
    names = value.get("choices") if isinstance(value, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{where}: field 'choices': expected a list of names, got {names!r:.80}")
    tag = clean_text(str(result.get("from_name", "")), f"{where}: field 'from_name'")
    return [_Choice(tag, class_name(name, f"{where}: field 'choices'"), where) for name in names]


def _look(root: Path, given: Given) -> str | None:
    return ", ".join(find_written_by(root, "label_studio", known_splits(given.names))) or None


def _open(config: DataSettings, root: Path, options: FolderOptions, choice: SplitChoice) -> LabelStudio:
    return LabelStudio(root, options, choice, config.negatives, config.label_attribute)


FORMAT = Format("Label Studio (its JSON export)", _look, _open)
