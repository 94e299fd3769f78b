"""Takes the pictures of the page of a run that docs/howto shows, in a headless Chromium.

    python docs/page_pictures.py runs/reports/demo/report.html IMAGE CORRECTED_PAGE CORRECTED_IMAGE

IMAGE is shown in its view, CORRECTED_IMAGE in the view of the page of another run, which went on with `wsis correct`.
The browser is $WSIS_CHROMIUM, else `chromium`.
"""

import argparse
import io
import os
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

PICTURES = Path(__file__).with_name("pictures")
DESKTOP, PHONE = (1280, 800), (390, 844)
_SHRUNK = 0.8  # of the desktop's: text is read, and no picture has more than 150 kB
_LAID_OUT = 500  # milliseconds after the pictures are drawn: fonts, canvases of all panels


def write(page: Page, name: str, scale: float = _SHRUNK) -> None:
    """What the window shows, as a JPEG of docs/pictures."""
    page.wait_for_timeout(_LAID_OUT)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    size = round(scale * shot.width), round(scale * shot.height)
    shot.resize(size, Image.Resampling.LANCZOS).save(PICTURES / name, quality=75, optimize=True)


def view(page: Page, report: Path, image: str) -> None:
    """Open the view of one image."""
    page.goto(f"{report.resolve().as_uri()}#image={image}")
    page.reload()
    page.wait_for_function("() => document.querySelector('.main canvas')?.width > 20")


def main() -> None:
    """Write page-*.jpg into docs/pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path)
    parser.add_argument("image")
    parser.add_argument("corrected_report", type=Path)
    parser.add_argument("corrected_image")
    given = parser.parse_args()
    browser = os.environ.get("WSIS_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        desktop = chromium.new_page(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
        desktop.goto(given.report.resolve().as_uri())
        write(desktop, "page-first.jpg")
        desktop.select_option(".tools [name=sort]", "disagreement")
        desktop.evaluate("document.querySelector('#gallery').scrollIntoView()")
        desktop.wait_for_function("() => document.querySelector('.tile canvas')?.width > 20")
        write(desktop, "page-gallery.jpg")
        view(desktop, given.report, given.image)
        write(desktop, "page-image.jpg")
        view(desktop, given.corrected_report, given.corrected_image)
        desktop.evaluate(
            "document.querySelector('.panels section:last-child').scrollIntoView({block: 'end'})"
        )
        write(desktop, "page-corrected.jpg")
        phone = chromium.new_page(viewport={"width": PHONE[0], "height": PHONE[1]}, device_scale_factor=2)
        phone.goto(given.report.resolve().as_uri())
        write(phone, "page-phone.jpg", 0.45)
        chromium.close()


if __name__ == "__main__":
    main()
