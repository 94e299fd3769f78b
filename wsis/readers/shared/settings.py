"""The fields of the `data` section of a run's configuration, as the formats read them."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from wsis.engine.settings import StageConfig, execution_only
from wsis.readers.files.folder_files import class_name
from wsis.readers.formats.scenes import SceneSettings
from wsis.readers.shared.folder import OnEmpty
from wsis.readers.shared.labelled import NEGATIVES
from wsis.readers.shared.records import Role

Name = Annotated[str, Field(min_length=1)]


class DataSettings(StageConfig):
    """What data a run learns from; :class:`wsis.readers.config.DataConfig` knows which formats there are.

    Attributes:
        format: name of a format.
        root: folder of the data. Not part of any fingerprint; the content of the files is.
        train_split, val_split: names of the splits; null leaves the part out. VOC's `trainaug` merges SBD in; `val` is
            also found as `valid` or `validation`.
        train_list, val_list: text files of the images of a part, one name a line, below the root or anywhere, or the
            name of a list that ships (voc_animals_train); the rest is the other part, of voc what the devkit's own
            list says. (folders, csv, yolo, voc; coco where one file holds all images)
        val_share: share of the train images of each class to hold out as val, to measure on: 0.1 is a tenth. Only where
            the data have no val part of their own (else it is refused; `null` uses that part).
        val_seed: which images `val_share` holds out.
        folds: cross-validation in so many parts: images fold, fold + folds, ... of the train part are val, the others
            train; the data's own val is not read.
        fold: which part of `folds` is val, from 0.
        classes: class names in order; null takes those that are annotated.
        limit: train images to use, spread evenly over the split, every class kept; of val a quarter, at least 8.
        supervision: what training learns from: image-level labels, or boxes too. Never masks. Images and image-level
            labels are the same artefact under both.
        sbd_root: SBD's folder `dataset`, for `trainaug`.
        labels_file: csv: the table, where it is not the only one in `root`.
        label_attribute: via, label_studio: the attribute, or the tag of choices, that holds the class, where there are
            several.
        negatives: folders, csv, label_studio: names of folders, labels or choices that mean "none of the classes", with
            or without "_" before.
        on_empty: a train image without annotated class is a negative (it shows none of the classes, which teaches the
            classifier and nothing else), is left out, or is an error.
        on_unknown_class: an object of a class that is not in `classes` is an error, or is ignored.
        masks: files or folders with the masks of some training images, all instances of each: what a person has drawn
            or corrected; these images are certain. COCO, labelme, Label Studio, YOLO, VIA or instance images.
        masks_after: outer iterations that do not take `masks` yet.
        strict: a box that reaches outside of its image or has no area is an error; else it is clipped or dropped.
        train_annotations, val_annotations, train_images, val_images: COCO: paths below the root where they are not
            annotations/instances_<split>.json and <split>/, images/<split>/ or images/. Beside train labels of another
            format, val_annotations (below the root or anywhere) gives val and its masks. csv: train_images is the
            folder of the images.
        scenes: the look of generated scenes.
    """

    format: str = "auto"
    root: Path | None = execution_only(None)
    train_split: Name | None = "train"
    val_split: Name | None = "val"
    train_list: Path | None = execution_only(None)
    val_list: Path | None = execution_only(None)
    val_share: float | None = Field(default=None, gt=0, lt=1)
    val_seed: int = Field(default=0, ge=0, lt=2**31)
    folds: int | None = execution_only(None, ge=2, le=100)  # the content of the parts says it
    fold: int = execution_only(0, ge=0)
    classes: tuple[Name, ...] | None = Field(default=None, min_length=1)
    limit: int | None = Field(default=None, ge=1)
    supervision: Literal["image", "box"] = execution_only("image")  # whether there is a stage `boxes`
    masks: tuple[Path, ...] = execution_only(())  # the stage `corrections` reads them
    masks_after: int = execution_only(0, ge=0, le=20)  # the plan says which nodes read it
    sbd_root: Path | None = execution_only(None)
    labels_file: Path | None = execution_only(None)
    label_attribute: Name | None = execution_only(None)  # the labels themselves say it
    negatives: tuple[Name, ...] = NEGATIVES
    on_empty: OnEmpty = "negative"
    on_unknown_class: Literal["error", "ignore"] = "error"
    strict: bool = execution_only(False)  # whether it fails, not what comes out
    train_annotations: Name | None = None
    val_annotations: Name | None = None
    train_images: Name | None = None
    val_images: Name | None = None
    scenes: SceneSettings = SceneSettings()

    @field_validator("masks", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        if value is None:
            return ()
        return (value,) if isinstance(value, str | Path) else value

    @field_validator("classes")
    @classmethod
    def _as_annotations_are_read(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if value is None else tuple(class_name(name, "classes") for name in value)

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        if self.train_split is None and self.val_split is None:
            raise ValueError("train_split, val_split: expected at least one split, got two nulls")
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes: expected each class once, got {list(self.classes)}")
        if self.format == "scenes" and self.classes is not None:
            raise ValueError("classes: generated scenes take theirs from data.scenes.classes")
        if self.val_share is not None and (self.val_split is None or self.train_split is None):
            raise ValueError("val_share: expected both splits, of which it makes one, got a null")
        if self.val_share is not None and (self.val_list or self.train_list):
            raise ValueError("val_share: expected a share or lists, got both")
        if self.fold >= (self.folds or 1):
            raise ValueError(f"fold: expected one below folds, got {self.fold} of {self.folds}")
        if self.folds is not None and (self.train_split is None or self.val_split is None or self.val_share):
            raise ValueError("folds: expected both splits and no val_share, since folds of train are val")
        return self

    def splits(self) -> dict[Role, str]:
        """Part -> name of its split, for the parts that are read."""
        named: dict[Role, str | None] = {"train": self.train_split, "val": self.val_split}
        return {role: name for role, name in named.items() if name is not None}
