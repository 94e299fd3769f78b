"""What every section of a run's page is made of: HTML of a picture, a table, a note, a number."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup

from data_contracts.errors import ContractError, CorruptArtefactError
from data_contracts.store import Artefact
from wsis.reporting.tables.tables import ABSENT


def guarded(make: Callable[[], str]) -> str:
    """A section, or what kept it from being made: a damaged artefact must not hide the others."""
    try:
        return make()
    except ContractError as error:
        return note(f"Not readable: {error}")


def json_of(artefact: Artefact, name: str) -> Any:
    """A JSON file of an artefact.

    Raises:
        CorruptArtefactError: the file is missing or changed (the artefact was opened without hashing).
    """
    path = artefact.file(name)
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != artefact.manifest.files[name].sha256:
        raise CorruptArtefactError(f"{path} is missing or damaged: wsis verify", (str(path),))
    return json.loads(data)


def share(value: float | None) -> str:
    """Something from 0 to 1, with three decimals; a dash for None."""
    return ABSENT if value is None else f"{value:.3f}"


def amount(value: float | None, decimals: int = 1) -> str:
    """Something without an upper end, such as a mean of counts; a dash for None."""
    return ABSENT if value is None else f"{value:.{decimals}f}"


def picture(data: bytes, kind: str, description: str) -> str:
    """An image file of a media type, `image/png`, within the page."""
    encoded = base64.b64encode(data).decode()
    return str(
        Markup('<img alt="{}" decoding="async" src="data:{};base64,{}">').format(description, kind, encoded)
    )


def unscaled(shown: str) -> str:
    """A picture with text in it: at its own size, so that the text stays legible, in a part that moves sideways."""
    return f'<div class="pictures">{shown}</div>'


def wide(table: str) -> str:
    """A table that may be wider than the page."""
    return f'<div class="wide">{table}</div>'


def note(text: str) -> str:
    """A grey line."""
    return str(Markup('<p class="note">{}</p>').format(text))


def terms(meanings: Mapping[str, str]) -> str:
    """Grey lines, each a term and what it means."""
    lines = (Markup("<li><b>{}</b>: {}</li>").format(term, text) for term, text in meanings.items())
    return f'<ul class="note">{"".join(lines)}</ul>'
