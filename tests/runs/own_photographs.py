"""Folders of photographs as people have them: good ones, odd ones, broken ones."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

# Small and quick, and the same whatever the default detector is.
SMALL = [
    x
    for setting in ("max_side=64", "num_proposals=40", "max_regions=60", "contour=lab_gradient")
    for x in ("--set", f"proposals.{setting}")
]
TURNED = 6  # EXIF: to be shown turned by a quarter, clockwise


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise of one colour, a rectangle of another: uint8 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(60, 90, (height, width, 3)).astype(np.uint8)
    pixels[height // 4 : height // 2 + 1, width // 4 : width // 2 + 1] += np.uint8(100)
    return pixels


def encoded(pixels: np.ndarray, kind: str = "PNG", orientation: int | None = None) -> bytes:
    buffer, exif = io.BytesIO(), Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(buffer, kind, exif=exif)
    return buffer.getvalue()


def good_folder(root: Path, count: int) -> Path:
    root.mkdir(parents=True)
    for i in range(count):
        (root / f"p{i:02d}.png").write_bytes(encoded(scene(40, 60 + i, i)))
    return root


def odd_folder(root: Path) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    """Everything at once.

    Returns image id -> size after rotation of those that must work, and image id -> words of the message of
    those that must fail.
    """
    (root / "sub").mkdir(parents=True)
    colour, deep = scene(40, 60), scene(40, 60)[..., 0].astype(np.uint16) * 257
    alpha = np.dstack([colour, np.full((40, 60), 128, np.uint8)])
    files = {
        "alpha.png": encoded(alpha),
        "cut.jpg": encoded(colour, "JPEG")[:-200],
        "deep.png": encoded(deep),
        "empty.jpg": b"",
        "fake.png": b"%PDF-1.7\n",
        "float.tif": encoded(np.ones((4, 4), np.float32), "TIFF"),
        "grey.png": encoded(colour[..., 0]),
        "one.png": encoded(colour[:1, :1]),
        "phone.heic": b"\0\0\0\x18ftypheic",
        "strip.png": encoded(scene(3, 5000)),
        "sub/good.JPG": encoded(colour, "JPEG"),
        "turned.jpg": encoded(colour, "JPEG", TURNED),
        "uniform.png": encoded(np.full((30, 50, 3), 127, np.uint8)),
        "notes.txt": b"not one of them",
    }
    for name, data in files.items():
        (root / name).write_bytes(data)
    sizes = {
        **{name: (40, 60) for name in ("alpha", "deep", "grey", "sub/good")},
        **{"one": (1, 1), "turned": (60, 40), "uniform": (30, 50)},
    }
    words = {
        "cut": "cut.jpg: the image is cut short or damaged",
        "empty": "empty.jpg is empty (0 bytes)",
        "fake": "fake.png: expected an image (JPEG, PNG",
        "float": "float.tif: expected 8 or 16 bits a channel, got floating-point pixels",
        "phone": "phone.heic: expected an image (JPEG, PNG",
        "strip": "strip.png: expected an image whose sides are at most 40",
    }
    return sizes, words


def large_photograph(height: int = 3000, width: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """An ellipse on sensor noise, uint8 [H, W, 3], and its mask bool [H, W]."""
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width * 5 // 8, height // 3), (width // 6, height // 7), 20, 0, 360, 1, -1)
    colours = np.array([[70, 110, 60], [190, 80, 60]], np.uint8)[mask]
    noise = np.random.default_rng(0).integers(0, 25, (height, width, 1), dtype=np.uint8)
    return colours + noise, mask.astype(bool)
