"""Image bytes to pixels: one strict decoder for everything a user's folder may hold.

Suffixes: H height, W width.
"""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import read_bytes, seems
from wsis.readers.files.sample_depth import (
    MODES,
    bits_used,
    colour_samples,
    grey_samples,
    is_sixteen_bit,
    upper_eight,
)

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM")
_ORIENTATION = 0x0112  # the EXIF tag
_AXES_SWAPPED = (5, 6, 7, 8)
DEEP_SUFFIXES = (".png", ".tif", ".tiff", ".pgm", ".ppm")  # of files that may have more than 8 bits a channel
_BEGINS = 64  # bytes of a file that is no image, to tell text by
MAX_ASPECT = 40  # longer side to shorter: what all stages take at the smallest working sizes (64 pixels)
MAX_PIXELS = 64_000_000  # a photograph of 8000 x 8000; larger ones are refused before they are decoded


def decode_image(data: bytes, where: str, bits: int | None = None) -> NDArray[np.uint8]:
    """Decode an image file to RGB, rotated and mirrored as its EXIF orientation says.

    Grey is repeated over the channels; CMYK is converted (Adobe's inverted CMYK too); of 16 bits the upper 8 of those
    in use are kept (`sample_depth`); palettes are looked up; transparency is blended over white; of an animation the
    first frame counts.
    Decoded by Pillow: as fast as OpenCV with the same libjpeg-turbo and equal to the bit, but it reports a
    file that ends early, which OpenCV fills with grey rows.

    Args:
        data: the file's bytes.
        where: the file, for the message.
        bits: how many bits are in use, of an image of more than 8; None: those that the image itself uses.

    Returns:
        uint8 [H, W, 3].

    Raises:
        DataError: empty, no image, cut short or damaged, float pixels, or more than MAX_PIXELS.
    """
    if (samples := _samples(data, where)) is None:
        return np.ascontiguousarray(_guard(lambda: _to_rgb(_load(data, where), where), where))
    narrow = upper_eight(samples, bits or bits_used(samples))
    if narrow.ndim == 2:
        return np.repeat(narrow[:, :, None], 3, axis=2)
    if narrow.shape[2] == 4:
        return _over_white(Image.fromarray(np.ascontiguousarray(narrow)))
    return np.ascontiguousarray(narrow)


def sample_bits(data: bytes, where: str) -> int | None:
    """How many bits an image of more than 8 bits a channel uses; None for one of 8.

    Raises:
        DataError: as :func:`decode_image`.
    """
    samples = _samples(data, where)
    return None if samples is None else bits_used(samples)


def bits_of_file(path: Path) -> int | None:
    """`sample_bits` of a file; None, too, of one that cannot be read, which the stage that needs it says, and of a
    format of 8 bits, which is not read."""
    if path.suffix.lower() not in DEEP_SUFFIXES:
        return None
    try:
        return sample_bits(read_bytes(path, path.name), path.name)
    except DataError:
        return None


def eight_bit_png(data: bytes, where: str, bits: int) -> bytes:
    """An image of more than 8 bits a channel as RGB PNG of 8, EXIF applied; see :func:`decode_image`."""
    encoded: NDArray[np.uint8] = cv2.imencode(
        ".png", cv2.cvtColor(decode_image(data, where, bits), cv2.COLOR_RGB2BGR)
    )[1]
    return encoded.tobytes()


def _samples(data: bytes, where: str) -> NDArray[np.uint16] | None:
    """All bits of an image of more than 8 bits a channel; None of one of 8."""
    image = _open(data, where, FORMATS)
    if not is_sixteen_bit(image):
        return None
    orientation = 1 if image.format == "TIFF" else _orientation(image, where)  # OpenCV turns TIFF itself
    loaded = _load(data, where)
    if loaded.mode in MODES:
        return grey_samples(np.asarray(loaded), where)
    return colour_samples(data, orientation, where)


def decode_again(data: bytes, where: str) -> NDArray[np.uint8]:
    """BGR, else equal to `decode_image` of a file that was decoded by it before, and faster.

    The common JPEG goes through OpenCV, which has the same libjpeg-turbo but fills what is missing with grey.

    Raises:
        DataError: as :func:`decode_image`, but a JPEG that is cut short in its pixels is not told.
    """
    image = _open(data, where, FORMATS)
    if image.format == "JPEG" and image.mode == "RGB" and _orientation(image, where) == 1:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is not None:
            return pixels.astype(np.uint8, copy=False)
    return cv2.cvtColor(decode_image(data, where), cv2.COLOR_RGB2BGR).astype(np.uint8, copy=False)


def decode_indices(data: bytes, where: str) -> NDArray[np.uint8]:
    """Decode a palette (or grey) PNG of labels to its raw indices, uint8 [H, W].

    Raises:
        DataError: not a PNG, damaged, or of another kind of pixel than palette or 8-bit grey.
    """
    image = _load(data, where, formats=("PNG",), orient=False)
    if image.mode not in ("P", "L"):
        raise DataError(
            f"{where}: expected a palette PNG of label indices (mode P or L), got mode {image.mode}"
        )
    return np.asarray(image, dtype=np.uint8)


def decode_ids(data: bytes, where: str) -> NDArray[np.int64]:
    """Decode a PNG or TIFF of whole numbers (palette, black and white, grey of 8 to 32 bits), int64 [H, W] as stored;
    of colours that are all grey, their value.

    Raises:
        DataError: another format, damaged, or colours.
    """
    image = _load(data, where, formats=("PNG", "TIFF"), orient=False)
    if image.mode in ("RGB", "RGBA", "LA"):
        planes = np.asarray(image, dtype=np.int64)
        if image.mode == "LA" or (planes[:, :, :3] == planes[:, :, :1]).all():
            return planes[:, :, 0]
    if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L"):
        raise DataError(
            f"{where}: expected a grey or palette image of whole numbers, got colours (mode {image.mode})"
        )
    return np.asarray(image).astype(np.int64)


def image_size(data: bytes, where: str) -> tuple[int, int]:
    """Height and width as `decode_image` would give them, from the header alone.

    Raises:
        DataError: empty, no image, or more than MAX_PIXELS.
    """
    image = _open(data, where, FORMATS)
    width, height = image.size
    turned = (
        image.format != "TIFF" and _orientation(image, where) in _AXES_SWAPPED
    )  # of TIFF Pillow's size is turned
    return (width, height) if turned else (height, width)


def check_shape(size: tuple[int, int], where: str) -> None:
    """Refuse strips, of size (H, W), of which a network's working size would leave no pixel across.

    Raises:
        DataError: one side is more than MAX_ASPECT times the other.
    """
    if max(size) > MAX_ASPECT * min(size):
        raise DataError(
            f"{where}: expected an image whose sides are at most {MAX_ASPECT} : 1, got {size[1]} x {size[0]} pixels; "
            "crop it or cut it into pieces"
        )


def _orientation(image: Image.Image, where: str) -> int:
    """The EXIF orientation of an opened image: 1, as it lies, where there is none."""
    found: int = _guard(lambda: image.getexif().get(_ORIENTATION, 1), where)
    return found


def _open(data: bytes, where: str, formats: tuple[str, ...]) -> Image.Image:
    if not data:
        raise DataError(f"{where}: expected an image, got an empty file (0 bytes)")
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError as error:
        raise DataError(
            f"{where}: expected an image ({', '.join(formats)}), got {_what_else(data)}{seems(data)}; "
            "replace or remove it"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{where}: expected at most {MAX_PIXELS} pixels: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # as in `_guard`
        raise DataError(f"{where}: expected an image, got a damaged file: {error}") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(f"{where}: expected at most {MAX_PIXELS} pixels, got {width} x {height}")
    return image


def _what_else(data: bytes) -> str:
    """What a file is that no decoder takes, in words."""
    try:
        begins = " ".join(data[:_BEGINS].decode().split())
    except UnicodeDecodeError:
        begins = ""
    if begins.isprintable() and begins:
        return f"{len(data)} bytes of text that begin with {begins[:16]!r}"
    return f"{len(data)} bytes that are none of them"


def _guard(action: Callable[[], Any], where: str) -> Any:
    """Run a Pillow step; what a damaged file makes it raise becomes a DataError."""
    try:
        return action()
    except (MemoryError, DataError):
        raise
    except (
        Exception
    ) as error:  # Pillow's parsers raise whatever the damaged bytes lead them to, AssertionError too
        raise DataError(f"{where}: the image is cut short or damaged: {error}") from error


def _load(data: bytes, where: str, formats: tuple[str, ...] = FORMATS, orient: bool = True) -> Image.Image:
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise DataError(f"{where}: PIL.ImageFile.LOAD_TRUNCATED_IMAGES is on; cut images could not be told")
    image = _open(data, where, formats)
    with warnings.catch_warnings():
        # Pillow warns about odd metadata; pixels that are wrong or missing raise
        warnings.simplefilter("ignore", UserWarning)
        _guard(image.load, where)
        if orient:  # in place: most photographs need no turn, and would be copied
            _guard(lambda: ImageOps.exif_transpose(image, in_place=True), where)
        return image


def _to_rgb(image: Image.Image, where: str) -> NDArray[np.uint8]:
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return np.asarray(image, dtype=np.uint8)
    if mode == "F":
        raise DataError(
            f"{where}: expected 8 or 16 bits a channel, got floating-point pixels; scale them to 0..255 and save as PNG"
        )
    if image.has_transparency_data:
        return _over_white(image.convert("RGBA"))
    return np.asarray(_guard(lambda: image.convert("RGB"), where), dtype=np.uint8)


def _over_white(layer: Image.Image) -> NDArray[np.uint8]:
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, layer).convert("RGB"), dtype=np.uint8)
