"""The `data` section of a run's configuration, and the reader that it asks for."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from data_contracts.errors import ConfigError
from stages.readers.coco import CocoPaths, CocoSource
from stages.readers.folder import FolderOptions, OnEmpty
from stages.readers.records import DatasetSource, Role
from stages.readers.scenes import SceneSet, SceneSource
from stages.readers.voc import VocSource
from stages.settings import StageConfig, execution_only
from wsis.errors import InputError
from wsis.scenes import DEFAULT_CLASSES, SceneConfig

Name = Annotated[str, Field(min_length=1)]


class SceneSettings(StageConfig):
    """Generated scenes; the fields below `seed` are those of `wsis.scenes.SceneConfig`."""

    train: int = Field(default=96, ge=1, le=100_000, description="train images")
    val: int = Field(default=40, ge=1, le=100_000, description="val images")
    seed: int = Field(default=0, ge=0, lt=2**31, description="of what is drawn")
    height: int = Field(default=128, ge=32, le=4096, description="pixels")
    width: int = Field(default=160, ge=32, le=4096, description="pixels")
    classes: tuple[Name, ...] = Field(
        default=DEFAULT_CLASSES, description="what is drawn; class j + 1 is the j-th"
    )
    max_instances: int = Field(default=4, ge=1, le=16, description="objects of an image at most")
    max_classes: int = Field(default=2, ge=1, description="classes of an image at most")
    size: tuple[float, float] = Field(
        default=(0.4, 0.85),
        description="least and largest length of an object, as a share of the image's shorter side",
    )
    min_visible: float = Field(default=0.4, ge=0, le=0.9, description="least share of an object that is seen")
    min_share: float = Field(
        default=0.01, ge=0, le=0.05, description="least share of the image that an object covers"
    )
    clutter: int = Field(
        default=4, ge=0, le=64, description="stones and twigs at most, which belong to no class"
    )
    noise: float = Field(
        default=4.0, ge=0, le=64, description="standard deviation of the sensor noise in grey levels"
    )

    @model_validator(mode="after")
    def _look_is_possible(self) -> Self:
        try:
            self.scene_set()
        except InputError as error:
            raise ValueError(str(error)) from error
        return self

    def scene_set(self) -> SceneSet:
        """The same as the method's own settings."""
        look = self.model_dump(exclude={"train", "val", "seed"})
        return SceneSet(train=self.train, val=self.val, seed=self.seed, look=SceneConfig(**look))


class DataConfig(StageConfig):
    """What data a run learns from.

    Attributes:
        format: voc (a devkit), coco (instances JSON) or scenes (generated).
        root: folder of the data: VOCdevkit/VOC2012, or the folder that holds annotations/ and the images.
            Not part of any fingerprint; the content of the files is.
        train_split, val_split: names of the splits; null leaves the part out. VOC's `trainaug` merges SBD in.
        classes: class names in order; null takes those that are annotated.
        limit: train images to use, spread evenly over the split, every class kept; of val a quarter, at least 8.
        supervision: what training learns from: image-level labels, or boxes too. Never masks. Images and image-level
            labels are the same artefact under both.
        sbd_root: SBD's folder `dataset`, for `trainaug`.
        on_empty: a train image without annotated class is a negative (it shows none of the classes, which teaches the
            classifier and nothing else), is left out, or is an error.
        on_unknown_class: an object of a class that is not in `classes` is an error, or is ignored.
        strict: a box that reaches outside of its image or has no area is an error; else it is clipped or dropped.
        train_annotations, val_annotations, train_images, val_images: COCO: paths below the root where they are not
            annotations/instances_<split>.json and <split>/, images/<split>/ or images/.
        scenes: the look of generated scenes.
    """

    format: Literal["voc", "coco", "scenes"]
    root: Path | None = execution_only(None)
    train_split: Name | None = "train"
    val_split: Name | None = "val"
    classes: tuple[Name, ...] | None = Field(default=None, min_length=1)
    limit: int | None = Field(default=None, ge=1)
    supervision: Literal["image", "box"] = execution_only("image")  # whether there is a stage `boxes`
    sbd_root: Path | None = execution_only(None)
    on_empty: OnEmpty = "negative"
    on_unknown_class: Literal["error", "ignore"] = "error"
    strict: bool = execution_only(False)  # whether it fails, not what comes out
    train_annotations: Name | None = None
    val_annotations: Name | None = None
    train_images: Name | None = None
    val_images: Name | None = None
    scenes: SceneSettings = SceneSettings()

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        if self.train_split is None and self.val_split is None:
            raise ValueError("train_split, val_split: expected at least one split, got two nulls")
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes: expected each class once, got {list(self.classes)}")
        if self.format == "scenes" and self.classes is not None:
            raise ValueError("classes: generated scenes take theirs from data.scenes.classes")
        return self

    def splits(self) -> dict[Role, str]:
        """Part -> name of its split, for the parts that are read."""
        named: dict[Role, str | None] = {"train": self.train_split, "val": self.val_split}
        return {role: name for role, name in named.items() if name is not None}


def open_source(config: DataConfig) -> DatasetSource:
    """The reader that `config` asks for; files are first read when it is used.

    Raises:
        ConfigError: `root` is needed and not given.
        DataError: `root` is no folder.
    """
    splits = config.splits()
    if config.format == "scenes":
        return SceneSource(config.scenes.scene_set(), config.limit, tuple(splits))
    if config.root is None:
        raise ConfigError(f"data.root: expected the folder of the {config.format} data, got nothing")
    options = FolderOptions(
        splits=splits,
        classes=config.classes,
        limit=config.limit,
        on_empty=config.on_empty,
        on_unknown_class=config.on_unknown_class,
        boxes_required=config.supervision == "box",
        strict=config.strict,
    )
    root = config.root.expanduser()
    if config.format == "voc":
        return VocSource(root, options, config.sbd_root and config.sbd_root.expanduser())
    given: list[tuple[Role, str | None, str | None]] = [
        ("train", config.train_annotations, config.train_images),
        ("val", config.val_annotations, config.val_images),
    ]
    paths = CocoPaths(
        annotations={role: name for role, name, _ in given if name is not None},
        images={role: name for role, _, name in given if name is not None},
    )
    return CocoSource(root, options, paths)
