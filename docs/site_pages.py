"""Pages that MkDocs adds to docs/: all settings, made from the models, two texts of the root, docker/README.

mkdocs.yml names this file as a hook.
"""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from wsis.runs.config import load_config
from wsis.runs.settings_text import settings_of

ROOT = Path(__file__).parents[1]


def settings_lines() -> Iterator[str]:
    """The page: every key of `voc_lite` with its value, what is allowed and what it means."""
    yield "# All settings\n\nThe values are those of `voc_lite`. `wsis configs voc_lite` prints the same.\n"
    found = settings_of(load_config("voc_lite"))
    for section, settings in groupby(found, lambda one: one.key.split(".")[0]):
        yield f"## {section}\n\n| key | value | allowed | meaning |\n|---|---|---|---|"
        for one in settings:
            cells = (f"`{one.key}`", f"`{one.value}`", one.allowed, " ".join(one.meaning.split()))
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        yield ""


def on_files(files: Files, *, config: Any) -> Files:
    """Adds the pages, with links as they are from docs/."""
    files.append(File.generated(config, "all-settings.md", content="\n".join(settings_lines())))
    for name in ("ARCHITECTURE.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text().replace("](docs/", "](").replace("](ARCHITECTURE", "](architecture")
        files.append(File.generated(config, name.lower(), content=text))
    files.append(File.generated(config, "docker.md", content=(ROOT / "docker" / "README.md").read_text()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page, with the link to docker/README.md leading to the page made of it."""
    return markdown.replace("](../../docker/README.md)", "](../docker.md)")
