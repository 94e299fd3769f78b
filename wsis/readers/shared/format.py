"""What a data format is to those who look for one and open it; `wsis.readers.formats.FORMATS` has a row each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from wsis.readers.shared.folder import FolderOptions, FolderSource
from wsis.readers.shared.records import Role
from wsis.readers.shared.settings import DataSettings
from wsis.readers.shared.splits import SplitChoice


@dataclass(frozen=True)
class Given:
    """What the user says of the data root beside it.

    Attributes:
        names: name of the split that plays each part.
        annotations: the COCO files that the user names.
        table: whether the user names a table of labels.
    """

    names: Mapping[Role, str]
    annotations: Mapping[Role, str]
    table: bool = False


@dataclass(frozen=True)
class Format:
    """A data format.

    Attributes:
        layout: what lies in such a root, in words.
        look: (root, what the user says) -> what in the root says that it is of this format; None: nothing does.
        open: (section `data`, root, options, how images are divided) -> the reader; it reads nothing yet.
        boxes: whether its labels are boxes.
        home: root -> the folder in it that the format's own paths start from.
    """

    layout: str
    look: Callable[[Path, Given], str | None]
    open: Callable[[DataSettings, Path, FolderOptions, SplitChoice], FolderSource]
    boxes: bool = True
    home: Callable[[Path], Path] = Path
