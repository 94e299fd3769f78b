"""16-bit images: how many of their bits cameras and microscopes use, and the 8 of them that are kept.

A camera of 12 bits writes 0..4095 into a file of 16: its upper 8 bits would be black. The bits in use are the fewest of
`STEPS` that hold the largest value, of one image or, so that brightness compares, of a whole data set.

Suffixes: H W image.
"""

from collections.abc import Callable, Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_contracts.errors import DataError

STEPS = (8, 10, 12, 14, 16)
MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # Pillow's for one channel of more than 8 bits
Pixels = NDArray[np.uint16]

_TURNED: dict[int, Callable[[Pixels], Pixels]] = {  # by EXIF orientation
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}


def is_sixteen_bit(image: Image.Image) -> bool:
    """Whether an image that was opened, not yet loaded, has more than 8 bits a channel."""
    if image.mode in MODES:
        return True
    tiles: Any = getattr(image, "tile", None)  # of images that come from a file
    layout = tiles[0][3] if tiles else ""
    return ";16" in str(layout if isinstance(layout, str) else layout[:1])


def bits_used(pixels: Pixels) -> int:
    """The fewest of `STEPS` bits that hold every value."""
    return next(bits for bits in STEPS if int(pixels.max()) < 1 << bits)


def depth_mark(bits: int, names: Iterable[str]) -> bytes:
    """What stands in a digest for how images of more than 8 bits are read: the bits in use; of TIFF also that it is
    turned once, since earlier versions turned colours twice."""
    turned = any(name.lower().endswith((".tif", ".tiff")) for name in names)
    return repr(("bits", bits)).encode() + (b"TIFF turned once" if turned else b"")


def upper_eight(pixels: Pixels, bits: int) -> NDArray[np.uint8]:
    """The upper 8 of `bits` bits; larger values are white."""
    return np.minimum(pixels >> (bits - 8), 255).astype(np.uint8)


def grey_samples(pixels: NDArray[Any], where: str) -> Pixels:
    """One channel of any integers as uint16 [H, W].

    Raises:
        DataError: values below 0 or above 65535.
    """
    if pixels.min() < 0 or pixels.max() > 0xFFFF:
        raise DataError(
            f"{where}: expected 8 or 16 bits a channel, got values {pixels.min()} to {pixels.max()}"
        )
    return pixels.astype(np.uint16)


def colour_samples(data: bytes, orientation: int, where: str) -> Pixels:
    """RGB or RGBA uint16 [H, W, 3 or 4], turned as EXIF says, of a file that Pillow has read to its end: it would keep
    the upper 8 of 16 bits.

    Raises:
        DataError: a layout that OpenCV does not read.
    """
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise DataError(f"{where}: expected 16-bit colours in a usual layout, got another; save it as PNG")
    code = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    turned = _TURNED.get(orientation, lambda same: same)
    return turned(cv2.cvtColor(pixels, code).astype(np.uint16, copy=False))
