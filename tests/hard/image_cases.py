"""Bytes of image files: formats, kinds of pixels, bombs, damage."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.hard.case import Case, Facts
from wsis.readers.files.images import decode_again, decode_image, image_size

RGB = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
Expected = tuple[str, ...] | Facts | None
FINE = {"shape": [8, 12, 3], "same": True}


def saved(pixels: Any, kind: str, mode: str | None = None, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def _read(data: bytes) -> Callable[[Path], Facts]:
    def run(folder: Path) -> Facts:
        pixels = decode_image(data, "x.img")
        again = decode_again(data, "x.img")
        return {
            "shape": list(pixels.shape),
            "same": image_size(data, "x.img") == pixels.shape[:2] and again.shape == pixels.shape,
            "dark": bool(pixels.max() < 16),
        }

    return run


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes, depth: int = 8, colour: int = 0, *more: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *more, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(RGB, "JPEG", exif=exif)


PNG, JPEG = saved(RGB, "PNG"), saved(RGB, "JPEG")
FRAMES = [Image.fromarray(np.roll(RGB, k, 1)) for k in range(3)]
SIXTEEN = (np.arange(96, dtype=np.uint16) * 600).reshape(8, 12)
GREY = bytes([0, *range(12)]) * 8
OF: dict[str, tuple[bytes, Expected]] = {
    "PNG": (PNG, FINE),
    "JPEG": (JPEG, FINE),
    "progressive JPEG": (saved(RGB, "JPEG", progressive=True), FINE),
    "BMP": (saved(RGB, "BMP"), FINE),
    "TIFF": (saved(RGB, "TIFF"), FINE),
    "TIFF LZW": (saved(RGB, "TIFF", compression="tiff_lzw"), FINE),
    "WebP": (saved(RGB, "WEBP"), FINE),
    "GIF": (saved(RGB, "GIF"), FINE),
    "PPM": (saved(RGB, "PPM"), FINE),
    "grey": (saved(RGB, "PNG", "L"), FINE),
    "grey JPEG": (saved(RGB, "JPEG", "L"), FINE),
    "grey and alpha": (saved(RGB, "PNG", "LA"), FINE),
    "alpha": (saved(RGB, "PNG", "RGBA"), FINE),
    "palette": (saved(RGB, "PNG", "P"), FINE),
    "palette with transparency": (saved(RGB, "PNG", "P", transparency=0), FINE),
    "one bit": (saved(RGB, "PNG", "1"), FINE),
    "CMYK": (saved(RGB, "JPEG", "CMYK"), FINE),
    "YCbCr": (saved(RGB, "TIFF", "YCbCr"), None),
    "LAB": (saved(RGB, "TIFF", "LAB"), None),
    "16 bits": (saved(SIXTEEN, "PNG"), {"shape": [8, 12, 3], "dark": False}),
    "32 bits": (saved(SIXTEEN.astype(np.int32), "TIFF"), None),
    "floats": (saved(RGB[..., 0].astype(np.float32), "TIFF"), ("x.img",)),
    "animated GIF": (saved(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), FINE),
    "animated WebP": (saved(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]), FINE),
    "animated PNG": (saved(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), FINE),
    "pages of TIFF": (saved(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:]), FINE),
    **{
        f"EXIF {n}": (turned(n), {"shape": [12, 8, 3] if n > 4 else [8, 12, 3], "same": True})
        for n in range(1, 9)
    },
    "EXIF 0": (turned(0), None),
    "EXIF 99": (turned(99), None),
    "EXIF of noise": (saved(RGB, "JPEG", exif=b"Exif\0\0" + bytes(range(200))), None),
    "EXIF endless": (saved(RGB, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08" + b"\xff" * 60), None),
    "one pixel": (saved(RGB[:1, :1], "PNG"), {"shape": [1, 1, 3]}),
    "strip": (saved(np.zeros((1, 4000, 3), np.uint8), "PNG"), None),
    "bomb": (png(60_000, 60_000, bytes(1 << 20)), ("pixels",)),
    "bomb beyond Pillow": (png(2_000_000_000, 2, b""), ("x.img",)),
    "no pixels": (png(0, 0, b""), ("x.img",)),
    "fewer rows": (png(12, 8, GREY[:40]), ("x.img", "cut short or damaged")),
    "more rows": (png(12, 8, GREY * 4), None),
    "no data": (png(12, 8, b""), ("x.img",)),
    "text bomb": (
        png(12, 8, GREY, 8, 0, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80 << 20)))),
        None,
    ),
    "profile bomb": (
        png(12, 8, GREY, 8, 0, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(80 << 20)))),
        None,
    ),
    "depth 3": (png(12, 8, GREY, 3), ("x.img",)),
    "colour 5": (png(12, 8, GREY, 8, 5), ("x.img",)),
    "palette without palette": (png(12, 8, GREY, 8, 3), None),
    "empty": (b"", ("x.img", "empty")),
    "one byte": (b"\x89", ("x.img", "got 1 bytes")),
    "signature alone": (PNG[:8], ("x.img",)),
    "PNG half": (PNG[: len(PNG) // 2], ("x.img",)),
    "JPEG half": (JPEG[: len(JPEG) - 40], ("x.img", "cut short")),
    "JPEG without end": (JPEG[:-2], None),
    "JPEG head": (JPEG[:20], ("x.img",)),
    "GIF half": (saved(RGB, "GIF")[:-60], ("x.img",)),
    "BMP half": (saved(RGB, "BMP")[:-60], ("x.img",)),
    "TIFF half": (saved(RGB, "TIFF")[:60], ("x.img",)),
    "WebP half": (saved(RGB, "WEBP")[:-30], ("x.img",)),
    "checksum": (PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:], ("x.img",)),
    "noise behind": (PNG + bytes(100), FINE),
    "text": (b"hello, I am no image", ("x.img", "expected an image")),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", ("x.img", "expected an image")),
    "PDF": (b"%PDF-1.4\n", ("x.img", "expected an image")),
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(40), ("x.img", "expected an image", "HEIC")),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ("x.img", "expected an image")),
    "git-lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        ("expected an image",),
    ),
    "HTML": (b"<!doctype html><title>404</title>", ("x.img", "expected an image")),
}


def _case(name: str, run: Callable[[Path], Facts], expected: Expected) -> Case:
    words = expected if isinstance(expected, tuple) else ()
    return Case(name, run, words=words, facts=expected if isinstance(expected, dict) else {})


CASES = [_case(f"image/{name}", _read(data), expected) for name, (data, expected) in OF.items()]
