"""What people call the images of a data set: names to show, to draw files by, and to choose images with.

Ids belong to the store (a run made by an older version may hold `train_17`); the user's own file is in the record.
"""

import difflib
import fnmatch
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import PurePosixPath

from data_contracts.errors import ConfigError
from data_contracts.records import RecordReader
from data_contracts.schemas import array_to_text

SHOWN = 40  # characters of a name in a title or a table
_FILE_BYTES = 160  # of a name in a file's name: file systems take 255 bytes, what stands before it included
_LISTED = 3
_ALIKE = 0.75  # difflib's ratio from which a name is much like another
_BEGINNING = 3  # characters that a name begins or ends with to be meant by them


class ImageNames:
    """Names of images by their id.

    A name is the end of the file's path, without its ending, as short as no other image shares it: `IMG_1`, or
    `cat/1` beside `dog/1`, or `1.png` beside `1.jpg`. Images of one path are named by their ids.

    Args:
        files: image id -> path of its file, with "/".
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = dict(files)

    @classmethod
    def of(cls, dataset: RecordReader) -> "ImageNames":
        """Of a dataset artefact."""
        return cls({i: array_to_text(dataset.read(i, ("file_name",))["file_name"]) for i in dataset.ids})

    def __call__(self, image_id: str) -> str:
        """The name; the id itself of an image that the data set does not have."""
        return self._names.get(image_id, image_id)

    def shown(self, image_id: str) -> str:
        """The name, a long one cut in its middle."""
        return shortened(self(image_id))

    def file_name(self, prefix: str, image_id: str) -> str:
        """Name of a PNG file about an image: folders and odd characters become "_", no two images share one."""
        return f"{_safe(prefix)}_{self._stems.get(image_id) or _bounded(_safe(image_id))}.png"

    @cached_property
    def _names(self) -> dict[str, str]:
        ends = {i: list(_ends(path)) or [i] for i, path in self.files.items()}
        shared = Counter(end for of_one in ends.values() for end in dict.fromkeys(of_one))
        return {i: next((end for end in of_one if shared[end] == 1), i) for i, of_one in ends.items()}

    @cached_property
    def _stems(self) -> dict[str, str]:
        stems = {i: _bounded(_safe(name)) for i, name in self._names.items()}
        shared = Counter(stem.casefold() for stem in stems.values())  # file systems may not tell case apart
        return {
            i: f"{stem}-{_digest(self._names[i])}" if shared[stem.casefold()] > 1 else stem
            for i, stem in stems.items()
        }

    def chosen(self, texts: Iterable[str], option: str = "--image") -> list[str]:
        """Ids of the images that are meant, each once, in the order asked for.

        Args:
            texts: ids, names, file names with or without folder and ending, or patterns such as `IMG_1*`.

        Raises:
            ConfigError: a text means no image (names near ones) or, without being a pattern, several.
        """
        return list(dict.fromkeys(i for text in texts for i in self._meant(text, option)))

    def _meant(self, text: str, option: str) -> Sequence[str]:
        found: list[str] = []
        for same in self._readings(text):
            if found := [i for i in self.files if same(i)]:
                break
        if len(found) == 1:
            return found
        if not found and re.search(r"[*?\[]", text):
            found = [i for i, path in self.files.items() if _fits(text, i, path)]
            if found:
                return found
        raise ConfigError(
            f"{option}: expected the name of one of {len(self.files)} images, or a pattern, got {text!r}"
            + self._hint(text, found)
        )

    def _hint(self, text: str, found: Sequence[str]) -> str:
        """Names of the images that a text may have meant: those it fits, those like it, else some that there are."""
        for names, form in (
            ([self(i) for i in found], "; it could be {}?"),
            (near_names(text, self._names.values()), "; did you mean {}?"),
            (near_names(text, self.files.values()), "; did you mean {}?"),
            ([self(i) for i in self.files], "; there are {}, which the gallery of `wsis report` lists"),
        ):
            if names:
                more = ", …" if len(names) > _LISTED else ""
                return form.format(", ".join(names[:_LISTED]) + more)
        return ""

    def _readings(self, text: str) -> Sequence[Callable[[str], bool]]:
        """How a text may mean an image, the strictest first."""
        end = PurePosixPath(text)
        return (
            lambda i: text in (i, self.files[i]),
            lambda i: text == self(i),
            lambda i: _ends_with(PurePosixPath(self.files[i]), end),
            lambda i: _ends_with(PurePosixPath(self.files[i]).with_suffix(""), end),
        )


def near_names(text: str, known: Iterable[str]) -> list[str]:
    """Names that a text may have meant, whatever the case, the nearest first: the same number with other zeros before
    it, a name that begins or ends with the text, a slip in its letters. Another number is another image."""
    wanted = text.casefold()
    nearness = {name: _nearness(wanted, name.casefold()) for name in known}
    return sorted((name for name in nearness if nearness[name]), key=lambda name: -nearness[name])


def _nearness(text: str, name: str) -> float:
    """How near two texts are; 0 where they are not."""
    if text.isdecimal() and name.isdecimal():
        return 2.0 * (int(text) == int(name))
    short, long = sorted((text, name), key=len)
    if len(short) >= _BEGINNING and (long.startswith(short) or long.endswith(short)):
        return 1.0 + len(short) / len(long)
    if re.findall(r"\d", text) != re.findall(r"\d", name):
        return 0.0
    alike = difflib.SequenceMatcher(None, text, name).ratio()
    return alike if alike >= _ALIKE else 0.0


def shortened(name: str, limit: int = SHOWN) -> str:
    """`name`, of more than `limit` characters cut in its middle: its beginning and its end tell it from others."""
    if len(name) <= limit:
        return name
    head = (limit - 1) // 2
    return f"{name[:head]}…{name[len(name) - (limit - 1 - head) :]}"


def _ends(path: str) -> Iterable[str]:
    """Names that a file could have, shortest first: with more and more folders, without and with its ending."""
    parts = PurePosixPath(path).parts
    for count in range(1, len(parts) + 1):
        end = PurePosixPath(*parts[-count:])
        yield str(end.with_suffix(""))
        yield str(end)


def _ends_with(path: PurePosixPath, end: PurePosixPath) -> bool:
    return bool(end.parts) and path.parts[-len(end.parts) :] == end.parts


def _fits(pattern: str, image_id: str, path: str) -> bool:
    return any(fnmatch.fnmatchcase(text, pattern) for text in (image_id, *_ends(path)))


def _safe(name: str) -> str:
    return re.sub(r"[^\w.@-]", "_", name)


def _bounded(stem: str) -> str:
    """Of few enough bytes for any file system; cut names keep a digest of the whole."""
    if len(stem.encode()) <= _FILE_BYTES:
        return stem
    return f"{stem.encode()[: _FILE_BYTES - 10].decode(errors='ignore')}-{_digest(stem)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
