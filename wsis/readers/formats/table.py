"""A table of images and labels (CSV), whatever separates its fields, with a header or without.

    file,labels            one row an image (labels divided by ; , | or a space) or one row an image and label
    file,cat,dog           one column a class, of 0 and 1
    a.jpg cat dog          a list: the image, a space, its labels

Which column is which is read from the header, else from what the fields hold; a column `split` is honoured, and so is
`confidence`, where 0 says that somebody looked and the image does not show the class (Open Images).
"""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_contracts.errors import DataError
from data_contracts.printable import counted
from wsis.readers.files.folder_files import is_number, number, read_text
from wsis.readers.shared.names import is_image

SEPARATORS = (",", ";", "\t", "|")
_FILE_WORDS = {
    *("file", "files", "filename", "filenames", "filepath", "fname", "image", "images", "img", "imagename", "imageid"),
    *("imagefile", "imagepath", "path", "name", "id", "photo", "photograph", "picture", "uri", "url"),
}  # fmt: skip
_LABEL_WORDS = {
    *("label", "labels", "class", "classes", "classname", "classnames", "category", "categories", "tag", "tags"),
    *("target", "targets", "labelname", "species", "object", "objects"),
}  # fmt: skip
_SPLIT_WORDS = {"split", "set", "subset", "partition"}
_CONFIDENCE = "confidence"
_EXCEL = re.compile(
    r'\A"?sep=."?\r?\n'
)  # a line for Excel alone; its place is kept, so that lines keep their numbers
_SINGLE = 0.2  # what a row of one field counts, an image that is there
_TRUE, _FALSE = {"1", "1.0", "true", "yes", "x"}, {"0", "0.0", "false", "no", ""}


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        labels: the field of labels as it stands, of several columns the classes marked; None: the image does not show
            what this row names.
        split: None where the table has no such column.
        where: file and line, for messages.
    """

    file: str
    labels: str | tuple[str, ...] | None
    split: str | None
    where: str


@dataclass(frozen=True)
class _Columns:
    file: int
    labels: int | None
    split: int | None
    header: list[str] | None
    one_hot: tuple[int, ...] = ()
    confidence: int | None = None


def read_table(
    path: Path, known: Callable[[str], bool], is_split: Callable[[str], bool], note: Callable[[str], None]
) -> list[Row]:
    """The rows of a table.

    Args:
        known: whether a field names an image that is there.
        is_split: whether a field names a split.
        note: is told what is not read.

    Raises:
        DataError: no such file, not UTF-8, no CSV, no column of images or labels, or a row of too few or too many
            fields; names file, line and what was expected.
    """
    lines = _rows(path, known)
    columns = _columns(path, lines, known, is_split)
    body = lines[1:] if columns.header is not None else lines
    used = {columns.file, columns.labels, columns.split, columns.confidence, *columns.one_hot}
    unread = [name for i, name in enumerate(columns.header or ()) if name and i not in used]
    if unread:
        shown = ", ".join(unread[:8]) + (", ..." if len(unread) > 8 else "")
        note(f"{path.name}: not read: {counted(len(unread), 'column')} beside image and labels: {shown}")
    return [_row(f"{path}: line {number}", fields, columns) for number, fields in body]


def _rows(path: Path, known: Callable[[str], bool]) -> list[tuple[int, list[str]]]:
    """(line, fields) of each row that is not blank, by the separator that makes most sense of the table."""
    text = _without_comments(_EXCEL.sub("\n", read_text(path, "table of labels")), known)
    best: tuple[tuple[float, int], list[tuple[int, list[str]]]] | None = None
    failure = None
    for separator in SEPARATORS:
        try:
            rows = _parsed(text, separator)
        except csv.Error as error:
            failure = failure or f"{path}: no CSV: {error}"
            continue
        sense = (_sense([fields for _, fields in rows], known), -SEPARATORS.index(separator))
        if rows and (best is None or sense > best[0]):
            best = sense, rows
    if (best is None or best[0][0] <= _SINGLE) and (listed := _listed(text, known)):
        return listed
    if best is None or (failure is not None and best[0][0] <= _SINGLE):
        raise DataError(failure or f"{path}: expected rows of an image and its labels, got none")
    return best[1]


def _without_comments(text: str, known: Callable[[str], bool]) -> str:
    """Lines that begin with `#` above the table are made blank, so that the others keep their numbers."""
    lines = text.splitlines(keepends=True)
    for i, line in enumerate(lines):
        fields = [field.strip() for field in re.split(r"[,;\t|]", line)]
        is_header = any(_word(field) in _FILE_WORDS | _LABEL_WORDS for field in fields)
        if line.strip() and (
            not line.startswith("#") or is_header or any(known(f) or is_image(f) for f in fields)
        ):
            break
        lines[i] = "\n"
    return "".join(lines)


def _word(field: str) -> str:
    """A field of the header as the words above have it."""
    return re.sub(r"[^a-z]", "", field.casefold())


def _parsed(text: str, separator: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True
    )
    rows = []
    for fields in reader:
        if any(field.strip() for field in fields):
            rows.append((reader.line_num, [field.strip() for field in fields]))
    return rows


def _listed(text: str, known: Callable[[str], bool]) -> list[tuple[int, list[str]]]:
    """The rows of a list, an image that is there and its labels behind a space; none where a line is another."""
    rows = [(number, line.split(None, 1)) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    whole = all(known(fields[0]) for _, fields in rows) and any(len(fields) > 1 for _, fields in rows)
    return [(number, [*fields, ""][:2]) for number, fields in rows] if whole else []


def _sense(rows: Sequence[Sequence[str]], known: Callable[[str], bool]) -> float:
    """Share of rows with two fields or more, one of which is an image that is there; names alone count a little."""
    score = 0.0
    for fields in rows[:1000]:
        several = len(fields) > 1
        if any(known(field) for field in fields if field):
            score += 1.0 if several else _SINGLE
        elif any(is_image(field) for field in fields):
            score += 0.5 if several else 0.1
        else:
            score += 0.3 if several else 0.0
    return score / max(1, min(len(rows), 1000))


def _columns(
    path: Path,
    lines: Sequence[tuple[int, list[str]]],
    known: Callable[[str], bool],
    is_split: Callable[[str], bool],
) -> _Columns:
    first = lines[0][1]
    words = [_word(field) for field in first]
    has_header = not any(known(f) or is_image(f) for f in first if f) and any(
        word in _FILE_WORDS | _LABEL_WORDS | _SPLIT_WORDS for word in words
    )
    rows = [fields for _, fields in (lines[1:] if has_header else lines)]
    if not rows:
        raise DataError(f"{path}: expected rows of an image and its labels, got a header alone")
    file = _file_column(path, rows, known, words if has_header else [])
    width = max(len(fields) for fields in rows)
    others = [i for i in range(len(first) if has_header else width) if i != file]
    split = _split_column(rows, others, words if has_header else [], is_split)
    others = [i for i in others if i != split]
    if not others:
        raise DataError(
            f"{path}: line {lines[0][0]}: expected an image and its labels, got one field: {first[0]!r:.80}; "
            f"fields may be separated by , ; | or a tab"
        )
    if not has_header:
        _refuse_mixed(path, rows, others)
        return _Columns(file, min(others), split, None)
    return _Columns(file, *_label_columns(path, rows, others, words, first, split))


def _refuse_mixed(path: Path, rows: Sequence[Sequence[str]], others: Sequence[int]) -> None:
    """Without header all fields but the image are labels; numbers beside text are something else, such as corners.

    Raises:
        DataError: some columns are numbers and others are not.
    """
    fields = [[row[i] for row in rows if i < len(row) and row[i]] for i in others]
    numbers = [bool(some) and all(map(is_number, some)) for some in fields]
    if any(numbers) and any(some and not number for some, number in zip(fields, numbers, strict=True)):
        raise DataError(
            f"{path}: expected labels behind the image, or a header that names the columns, got numbers beside text: "
            f"{', '.join(rows[0])!r:.80}; write a header such as file,x1,y1,x2,y2,label"
        )


def _file_column(
    path: Path, rows: Sequence[Sequence[str]], known: Callable[[str], bool], words: Sequence[str]
) -> int:
    """The column whose fields are images: most of those that are there, else the header's word, else endings."""
    width = max(len(fields) for fields in rows)
    hits = [sum(known(f[i]) for f in rows if i < len(f) and f[i]) for i in range(width)]
    if any(hits):
        return hits.index(max(hits))
    named = [i for i, word in enumerate(words) if word in _FILE_WORDS]
    endings = [sum(is_image(f[i]) for f in rows if i < len(f)) for i in range(width)]
    if named or any(endings):
        return named[0] if named else endings.index(max(endings))
    first = rows[0][0]
    spaces = "; where names hold spaces, a comma or tab stands behind them" if " " in first else ""
    raise DataError(
        f"{path}: expected a column of image names, got no image that is there: {first!r:.80}{spaces}"
    )


def _split_column(
    rows: Sequence[Sequence[str]],
    others: Sequence[int],
    words: Sequence[str],
    is_split: Callable[[str], bool],
) -> int | None:
    for i in others:
        named = i < len(words) and words[i] in _SPLIT_WORDS
        if named or (not words and len(others) > 1 and all(i < len(f) and is_split(f[i]) for f in rows)):
            return i
    return None


def _label_columns(
    path: Path,
    rows: Sequence[Sequence[str]],
    others: Sequence[int],
    words: Sequence[str],
    header: list[str],
    split: int | None,
) -> tuple[int | None, int | None, list[str], tuple[int, ...], int | None]:
    """(column of labels, column of the split, header, columns of classes, column of the confidence)."""
    named = [i for i in others if words[i] in _LABEL_WORDS]
    if named:
        sure = next((i for i in others if words[i] == _CONFIDENCE), None)
        return named[0], split, header, (), sure
    marks = all(f[i].casefold() in _TRUE | _FALSE for f in rows for i in others if i < len(f))
    if marks and any(f[i].casefold() in _TRUE for f in rows for i in others if i < len(f)):
        return None, split, header, tuple(others), None
    if len(others) == 1:
        return others[0], split, header, (), None
    raise DataError(
        f"{path}: line 1: expected a column 'labels', or one column a class of 0 and 1, got "
        f"{', '.join(header[i] for i in others)!r:.200}"
    )


def _row(where: str, fields: list[str], columns: _Columns) -> Row:
    width = len(columns.header) if columns.header is not None else None
    last = columns.labels is not None and (width is None or columns.labels == width - 1)
    if columns.file >= len(fields) or not fields[columns.file]:
        raise DataError(f"{where}: field 'file': expected the name of an image, got nothing")
    if width is not None and len(fields) != width and not (last and len(fields) > width):
        raise DataError(
            f"{where}: expected {width} fields ({', '.join(columns.header or ())}), got {len(fields)}"
        )
    split = None if columns.split is None or columns.split >= len(fields) else fields[columns.split]
    sure = (
        None
        if columns.confidence is None
        else number(fields[columns.confidence], f"{where}: field 'confidence'")
    )
    labels = None if sure == 0 else _labels(fields, columns, last)
    return Row(fields[columns.file], labels, split, where)


def _labels(fields: list[str], columns: _Columns, last: bool) -> str | tuple[str, ...]:
    if columns.labels is None:
        header = columns.header or []
        return tuple(header[i] for i in columns.one_hot if fields[i].casefold() in _TRUE)
    if last:  # labels that the file's own separator divides
        rest = range(columns.labels, len(fields))
        return ";".join(fields[i] for i in rest if i not in (columns.file, columns.split) and fields[i])
    return fields[columns.labels]
