"""Pseudo labels as the files of annotation tools: YOLO's polygons, labelme, Label Studio."""

import json
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, get_args
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
import yaml

from data_contracts.errors import ConfigError
from data_contracts.paths import safe_relative, write_file
from wsis.apps.labelled_images import LabelledImage, LabelledInstance, chosen_images, labelled_images
from wsis.apps.output_paths import check_folder
from wsis.method.masks import rle
from wsis.method.masks.outlines import joined, mask_polygons
from wsis.readers.formats.label_studio_brush import encode_brush
from wsis.runs.runner import Runner
from wsis.views.dataset import class_names

ToolFormat = Literal["yolo-seg", "labelme", "label-studio"]
TOOL_FORMATS: tuple[ToolFormat, ...] = get_args(ToolFormat)
LOCAL_FILES = "/data/local-files/?d="  # how Label Studio calls files of its own machine


@dataclass
class Export:
    """What is to be written, and how much of it has been.

    Attributes:
        made_by: who made the labels, in words.
        image_path: what stands before an image's file name, for tools that keep a path; None: the tool's usual.
        with_images: whether the images are written too.
        images, instances: written so far.
    """

    out: Path
    classes: Sequence[str]
    made_by: str
    image_path: str | None = None
    with_images: bool = False
    images: int = 0
    instances: int = 0

    def __post_init__(self) -> None:
        self._taken: dict[str, str] = {}

    def path(self, image: LabelledImage, name: str) -> Path:
        """A place below `out` for an image.

        Raises:
            ConfigError: another image has it, whose name differs by its ending alone.
        """
        before = self._taken.setdefault(safe_relative(name).casefold(), image.file_name)
        if before != image.file_name:
            raise ConfigError(
                f"--format: expected images of different names, got {before} and {image.file_name}, which are both "
                f"{name}; coco takes them"
            )
        return self.out / name

    def write_image(self, image: LabelledImage, name: str) -> None:
        """The image's file below `out`, if images are wanted."""
        if self.with_images:
            write_file(self.path(image, name), image.encoded)


def export_for_tool(
    runner: Runner,
    out: Path,
    tool: ToolFormat,
    names: Iterable[str] = (),
    worst: int | None = None,
    iteration: int | None = None,
    image_path: str | None = None,
    with_images: bool = False,
) -> tuple[Path, int, int]:
    """Write the most frequent label set of training images as a tool's files.

    Args:
        names, worst: which images; see :func:`wsis.apps.labelled_images.chosen_images`.
        image_path, with_images: see :class:`Export`.

    Returns:
        What to open, the number of images and that of instances.

    Raises:
        ConfigError: the run has no such pseudo labels, a name means no image, or two images would be one file.
        CorruptArtefactError: an artefact is damaged. StoreError: `out` cannot be written.
    """
    labels = runner.latest("pseudo_labels", iteration)
    ids = chosen_images(runner, labels, names, worst)
    check_folder(out)
    runner.progress.log(f"pseudo labels of {runner.choice(labels, iteration)}")
    classes = class_names(runner.artefact("dataset"))
    made_by = f"wsis {runner.record.name}, outer iteration {labels.manifest.outer_iteration}"
    export = Export(out, classes, made_by, image_path, with_images)
    path = _WRITERS[tool](labelled_images(runner, labels, ids, classes), export)
    return path, export.images, export.instances


def write_yolo(images: Iterator[LabelledImage], export: Export) -> Path:
    """data.yaml and labels/: a line an instance, its parts joined by bridges without width; holes are filled."""
    for image in images:
        parts = [part for part in PurePosixPath(image.file_name).parts if part != "images"]
        plain = posixpath.join(*parts)  # Ultralytics puts `labels` in the place of the last folder `images`
        lines = []
        for one in image.instances:
            points = joined(_polygons(image, one)) / image.size[::-1]
            shares = " ".join(f"{value:.6f}" for value in points.ravel().tolist())
            lines.append(f"{export.classes.index(one.name)} {shares}\n")
        label = posixpath.join("labels", str(PurePosixPath(plain).with_suffix(".txt")))
        write_file(export.path(image, label), "".join(lines).encode())
        export.write_image(image, posixpath.join("images", plain))
        export.images, export.instances = export.images + 1, export.instances + len(lines)
    path = export.out / "data.yaml"
    tree = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(export.classes))}
    write_file(path, yaml.safe_dump(tree, allow_unicode=True, sort_keys=False).encode())
    return path


def write_labelme(images: Iterator[LabelledImage], export: Export) -> Path:
    """A JSON an image, where the image lies below the data root: a polygon a part, those of an instance with one
    `group_id`; holes are filled."""
    for image in images:
        shapes = []
        for number, one in enumerate(image.instances, start=1):
            polygons = _polygons(image, one)
            for polygon in polygons:
                shapes.append(
                    {
                        "label": one.name,
                        "points": polygon.round(3).tolist(),
                        "group_id": number if len(polygons) > 1 else None,
                        "description": f"{export.made_by}; {_shares(image)}",
                        "shape_type": "polygon",
                        "flags": {},
                        "mask": None,
                    }
                )
        beside = PurePosixPath(image.file_name).name
        path = beside if export.image_path is None else f"{export.image_path}{image.file_name}"
        tree = {
            "version": "5.5.0",
            "flags": dict[str, bool](),
            "shapes": shapes,
            "imagePath": path,
            "imageData": None,
            "imageHeight": image.size[0],
            "imageWidth": image.size[1],
        }
        name = str(PurePosixPath(image.file_name).with_suffix(".json"))
        write_file(export.path(image, name), json.dumps(tree, ensure_ascii=False, indent=1).encode())
        export.write_image(image, image.file_name)
        export.images, export.instances = export.images + 1, export.instances + len(image.instances)
    return export.out


def write_label_studio(images: Iterator[LabelledImage], export: Export) -> Path:
    """tasks.json, each image a task with a prediction of brush strokes, which are the masks to the pixel; and
    label_config.xml, the project's labeling interface."""
    prefix = LOCAL_FILES if export.image_path is None else export.image_path

    def write(stream: BinaryIO) -> None:
        """A task at a time: the strokes of thousands of images are no thing to hold."""
        between = b"["
        for image in images:
            task = _task(image, f"{prefix}{quote(image.file_name)}", export.made_by)
            stream.write(between + json.dumps(task, allow_nan=False).encode())
            between = b",\n"
            export.write_image(image, posixpath.join("images", image.file_name))
            export.images, export.instances = export.images + 1, export.instances + len(image.instances)
        stream.write(b"]\n" if between != b"[" else b"[]\n")

    path = export.out / "tasks.json"
    write_file(path, write)
    labels = "\n".join(f"    <Label value={quoteattr(name)}/>" for name in export.classes)
    config = f"""<View>
  <Image name="image" value="$image" zoom="true"/>
  <BrushLabels name="label" toName="image">
{labels}
  </BrushLabels>
</View>
"""
    write_file(export.out / "label_config.xml", config.encode())
    return path


def _task(image: LabelledImage, url: str, made_by: str) -> dict[str, Any]:
    results = []
    for number, one in enumerate(image.instances, start=1):
        strokes = encode_brush(rle.decode(one.counts, image.size))
        results.append(
            {
                "id": f"instance{number}",
                "type": "brushlabels",
                "from_name": "label",
                "to_name": "image",
                "original_height": image.size[0],
                "original_width": image.size[1],
                "image_rotation": 0,
                "value": {"format": "rle", "rle": strokes, "brushlabels": [one.name]},
            }
        )
    prediction = {"model_version": made_by, "score": 1 - image.diversity, "result": results}
    return {"data": {"image": url, "labels": _shares(image)}, "predictions": [prediction]}


def _shares(image: LabelledImage) -> str:
    return f"{image.share:.0%} of the samples agree, mean 1 - IoU {image.diversity:.2f}"


def _polygons(image: LabelledImage, one: LabelledInstance) -> list[np.ndarray]:
    return mask_polygons(rle.decode(one.counts, image.size))


_WRITERS: dict[ToolFormat, Callable[[Iterator[LabelledImage], Export], Path]] = {
    "yolo-seg": write_yolo,
    "labelme": write_labelme,
    "label-studio": write_label_studio,
}
