"""Size of a run's page and time to its first view, with the run's images repeated until there are so many.

    python benchmarks/report_page.py --run mine --store runs --images 2000

Writes the page, then opens it from disk in a headless Chromium (playwright) at the widths of a desktop and of a phone:
`first view` is the browser's first contentful paint, `first tile` the time until a picture of the gallery is drawn when
the page is opened at the gallery. Each opening is a new context: nothing is cached but by the operating system.
"""

import argparse
import base64
import json
import os
import shutil
import statistics
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

from markupsafe import Markup

from data_contracts.store import Store
from wsis.reporting.gallery.chunks import Gallery
from wsis.reporting.page.gallery_part import part_of
from wsis.reporting.page.report import page_of, sections_of
from wsis.views.run import Run

WIDTHS = {"desktop": (1280, 800), "phone": (390, 844)}
OPENINGS = 5


def repeated_page(run: Run, images: int, path: Path) -> Path:
    """Write the page of a run whose gallery has so many images: the run's, repeated, each under a name of its own."""
    gallery = Gallery(run)
    gallery.ids = (gallery.ids * (1 + images // len(gallery.ids)))[:images]
    rows: list[dict[str, Any]] = []
    chunks = []
    for number in range(len(gallery)):
        entries = gallery.entries(number)
        rows += [dict(one.row) for one in entries]
        chunks.append(Markup(gallery.chunk(number, entries).decode("ascii")))
    for number, row in enumerate(rows):
        row["name"] = f"{row['name']}-{number}"
    page = page_of(run, sections_of(run), part_of(gallery, rows, chunks))
    path.write_text(page, encoding="utf-8")
    return path


def parts_of(run: Run) -> dict[str, float]:
    """Bytes an image of the gallery's parts, mean over the run's images: JPEG, and details before and after deflate."""
    gallery = Gallery(run)
    jpeg = plain = packed = 0
    for number in range(len(gallery)):
        chunk = json.loads(gallery.chunk(number, gallery.entries(number)))
        jpeg += sum(map(len, chunk["pictures"]))
        packed += len(chunk["details"])
        plain += len(zlib.decompress(base64.b64decode(chunk["details"])))
    return {
        name: total / len(gallery.ids)
        for name, total in (("JPEG", jpeg), ("details", packed), ("unpacked", plain))
    }


def first_views(path: Path) -> dict[str, dict[str, float]]:
    """Milliseconds to the first view and to the first tile, median of `OPENINGS`, by width."""
    from playwright.sync_api import sync_playwright

    browser_path = os.environ.get("WSIS_CHROMIUM") or shutil.which("chromium")
    found: dict[str, dict[str, float]] = {}
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for name, (width, height) in WIDTHS.items():
            views, tiles = [], []
            for _ in range(OPENINGS):
                views.append(_opened(browser, path.as_uri(), width, height, _PAINT))
                tiles.append(_opened(browser, f"{path.as_uri()}#gallery", width, height, _TILE))
            found[name] = {"first view": statistics.median(views), "first tile": statistics.median(tiles)}
        browser.close()
    return found


_PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
_TILE = "() => [...document.querySelectorAll('.tile canvas')].some(c => c.width > 20) && performance.now()"


def _opened(browser: Any, url: str, width: int, height: int, condition: str) -> float:
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.goto(url, wait_until="commit", timeout=120_000)
    value = page.wait_for_function(condition, timeout=120_000).json_value()
    context.close()
    return float(value)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True)
    parser.add_argument("--store", required=True)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="keep the page there")
    asked = parser.parse_args()
    run = Run.load(Store(asked.store), asked.run)
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        path = repeated_page(run, asked.images, asked.out or Path(folder) / "report.html")
        seconds = time.process_time() - start
        size = path.stat().st_size
        print(f"{asked.images} images: {size / 1e6:.1f} MB, {size / asked.images / 1e3:.1f} kB an image")
        print(f"made in {seconds:.0f} CPU seconds, {1e3 * seconds / asked.images:.0f} ms an image")
        for name, value in parts_of(run).items():
            print(f"  {name}: {value / 1e3:.1f} kB an image")
        for name, values in first_views(path).items():
            told = ", ".join(f"{what} {value:.0f} ms" for what, value in values.items())
            print(f"{name}: {told}")


if __name__ == "__main__":
    main()
