"""What every section of a run's page is made of: HTML of a picture, a table, a note, a number."""

import base64
import hashlib
import html
import json
from collections.abc import Callable
from typing import Any

from data_contracts.errors import ContractError, CorruptArtefactError
from data_contracts.store import Artefact

ABSENT = "–"
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1c1c1c;background:#fff;max-width:1180px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px solid #ddd}
h3{font-size:1rem;margin:1.2rem 0 .3rem}p.note{color:#666}img{max-width:100%;display:block;margin:.5rem 0}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.88rem}th,td{padding:.25rem .7rem;text-align:left;
border-bottom:1px solid #e4e4e4;vertical-align:top}th{background:#f5f5f5}.number{text-align:right;
font-variant-numeric:tabular-nums}code,pre{font:.82rem ui-monospace,monospace}pre{background:#f7f7f7;padding:.7rem;
overflow:auto;max-height:32rem}summary{cursor:pointer}
"""


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


def number(value: float | None) -> str:
    """Three decimals below 1, else one; a dash for None."""
    return ABSENT if value is None else (f"{value:.3f}" if value < 1 else f"{value:.1f}")


def picture(data: bytes, kind: str, description: str) -> str:
    """An image file of a media type, `image/png`, within the page."""
    encoded = base64.b64encode(data).decode()
    return f'<img alt="{html.escape(description, quote=True)}" src="data:{kind};base64,{encoded}">'


def wide(table: str) -> str:
    """A table that may be wider than the page."""
    return f'<div class="wide">{table}</div>'


def note(text: str) -> str:
    """A grey line."""
    return f'<p class="note">{html.escape(text)}</p>'
