"""The `data` section of a run's configuration, and the reader that it asks for."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import configs
from data_contracts.errors import ConfigError
from data_contracts.paths import user_path
from wsis.readers.combined import CombinedSource, check_same_classes
from wsis.readers.detect import Found, find_format
from wsis.readers.files.folder_files import require_folder
from wsis.readers.folds import FoldSource
from wsis.readers.formats import FORMATS
from wsis.readers.formats.coco import CocoPaths, CocoSource, paths_of
from wsis.readers.formats.scenes import SceneSource
from wsis.readers.shared.folder import FolderOptions, FolderSource
from wsis.readers.shared.format import Given
from wsis.readers.shared.records import DatasetSource, Role
from wsis.readers.shared.settings import DataSettings
from wsis.readers.shared.splits import NOTHING_APART, Apart, SplitChoice

SHIPPED_LISTS = Path(configs.__path__[0]) / "splits"
if TYPE_CHECKING:
    FormatName = str
else:
    FormatName = Literal["auto", *FORMATS, "scenes"]


class DataConfig(DataSettings):
    """The section `data`, with the formats that there are.

    Attributes:
        format: folders (a folder a class), csv, yolo (Ultralytics, Roboflow), voc (a devkit), coco (instances JSON),
            labelme, via (VGG Image Annotator), label_studio, instances (masks as image files), scenes (generated);
            auto: what lies in `root` says it.
    """

    format: FormatName = "auto"

    def identity(self) -> dict[str, Any]:
        """As of every stage, with the format that `auto` finds: it does not matter who named it.

        Raises:
            ConfigError, DataError: as :func:`resolved`.
        """
        found = resolved(self)
        return super().identity() if found is self else found.identity()


def resolved(config: DataConfig) -> DataConfig:
    """`config` with the format that lies in its root in place of `auto`.

    Raises:
        ConfigError: no root.
        DataError: the root is no folder, or holds no format, or several.
    """
    return config if config.format != "auto" else _with_format(config, _found(config))


def found_line(config: DataConfig) -> str | None:
    """What `auto` has found, for the user; None where the format is given."""
    return None if config.format != "auto" else _line_of(config, _found(config))


def _with_format(config: DataConfig, found: Found) -> DataConfig:
    return config.model_copy(update={"format": found.format})


def _line_of(config: DataConfig, found: Found) -> str:
    return f"data: {found.format} in {_root(config)}: {found.what} (data.format={found.format})"


def _found(config: DataConfig) -> Found:
    annotations = paths_of(config).annotations
    return find_format(_root(config), Given(config.splits(), annotations, config.labels_file is not None))


def open_source(config: DataConfig) -> DatasetSource:
    """The reader that `config` asks for; but for its format, files are first read when it is used.

    Raises:
        ConfigError: `root` is needed and not given, or a key does not fit the format.
        DataError: `root` is no folder, or its format cannot be found.
    """
    if config.folds is not None:
        whole = resolved(config).model_copy(update={"folds": None, "fold": 0, "val_split": None})
        return FoldSource(open_source(whole), config.fold, config.folds)
    detected = _found(config) if config.format == "auto" else None
    found = config if detected is None else _with_format(config, detected)
    splits = config.splits()
    if found.format == "scenes":
        return SceneSource(found.scenes, found.limit, tuple(splits))
    _check_keys(found)
    options = FolderOptions(
        splits=splits,
        classes=found.classes,
        limit=found.limit,
        on_empty=found.on_empty,
        on_unknown_class=found.on_unknown_class,
        boxes_required=found.supervision == "box",
        strict=found.strict,
    )
    source = _combined(found, options) if _val_is_apart(found) else _single(found, options)
    if detected is not None:
        source.note(_line_of(config, detected))
    return source


def _single(config: DataConfig, options: FolderOptions, apart: Apart = NOTHING_APART) -> FolderSource:
    """The reader of one format."""
    row = FORMATS[config.format]
    root = row.home(_root(config))
    choice = SplitChoice(
        options.splits,
        _lists(config, root),
        config.val_share,
        config.val_seed,
        apart,
        options.limit,
    )
    return row.open(config, root, options, choice)


def _lists(config: DataConfig, root: Path) -> dict[Role, Path]:
    """The file of each list that is given: below the root or anywhere, else of those that ship."""
    named: dict[Role, Path | None] = {"train": config.train_list, "val": config.val_list}
    lists: dict[Role, Path] = {}
    for role, path in named.items():
        if path is not None:
            own, shipped = root / user_path(path, f"data.{role}_list"), SHIPPED_LISTS / f"{path}.txt"
            lists[role] = shipped if shipped.is_file() and not own.is_file() else own
    return lists


def _val_is_apart(config: DataConfig) -> bool:
    """Whether val comes from COCO's JSON beside train labels of another format."""
    return (
        config.val_annotations is not None
        and config.format not in ("voc", "coco")
        and config.val_split is not None
    )


def _combined(config: DataConfig, options: FolderOptions) -> CombinedSource | CocoSource:
    """Val of COCO's JSON, and train of the format if it is wanted."""

    def val_of(classes: tuple[str, ...] | None) -> CocoSource:
        only_val = replace(options, splits={"val": config.val_split or ""}, classes=classes)
        return _coco_val(config, only_val)

    if config.train_split is None:
        return val_of(options.classes)
    probe = _coco_val(  # all of val, whatever the limit takes of it: none of it may be train
        config, replace(options, splits={"val": config.val_split or ""}, classes=None, limit=None)
    )

    def val_of_train(classes: tuple[str, ...]) -> CocoSource:
        check_same_classes(classes, probe.classes, config.on_unknown_class)
        return val_of(classes)

    apart = Apart(lambda: probe.files("val"), None if config.val_images is None else config.val_images)
    only_train = replace(options, splits={"train": config.train_split})
    return CombinedSource(_single(config, only_train, apart), val_of_train)


def _coco_val(config: DataConfig, options: FolderOptions) -> CocoSource:
    """COCO's JSON of val, wherever it lies; images are looked for in `val_images`, else in the data root."""
    root, file = _root(config), user_path(config.val_annotations or "", "data.val_annotations")
    images = None if config.val_images is None else user_path(config.val_images, "data.val_images")
    if images is not None and images.is_absolute():
        paths = CocoPaths({"val": str(root / file)}, {"val": "."})
        return CocoSource(images, options, paths)
    return CocoSource(
        root, options, CocoPaths({"val": str(file)}, {} if images is None else {"val": str(images)})
    )


def _root(config: DataConfig) -> Path:
    if config.root is None:
        what = "your" if config.format == "auto" else f"the {config.format}"
        raise ConfigError(
            f"data.root: expected the folder of {what} data, got nothing: --set data.root=FOLDER"
        )
    root = user_path(config.root, "data.root")
    require_folder(root, "data.root")
    return root


def _check_keys(config: DataConfig) -> None:
    """Refuse keys that the format cannot honour.

    Raises:
        ConfigError: naming the key.
    """
    dividing = {"val_share": config.val_share, "train_list": config.train_list, "val_list": config.val_list}
    used = [key for key, value in dividing.items() if value is not None]
    if used and _val_is_apart(config):
        raise ConfigError(f"data.{used[0]}: expected val from one place, got {used[0]} and val_annotations")
    if config.supervision == "box" and not FORMATS[config.format].boxes:
        raise ConfigError(
            f"data.supervision: expected image, because data of format {config.format} have no boxes, got box"
        )
    if config.label_attribute is not None and config.format not in ("via", "label_studio"):
        raise ConfigError(
            f"data.label_attribute: expected data of format via or label_studio, got {config.format}"
        )
    if config.labels_file is not None and config.format != "csv":
        raise ConfigError(f"data.labels_file: expected data of format csv, got {config.format}")
