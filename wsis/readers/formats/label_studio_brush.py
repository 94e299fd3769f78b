"""Label Studio's brush strokes: run lengths over the bits of an RGBA image (thi-ng's rle-pack). Suffix: H W image.

A stream of bits, the first one highest: the number of values (32 bits), bits of a value - 1 (5), bits of each of four
kinds of length - 1 (4 each). Then blocks: 1 and a length and one value, or 0 and a length and as many values; a length
is the number of its kind (2 bits) and length - 1. Values go through the rows, four a pixel; the fourth is how opaque it
is.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError

_CHANNELS = 4
_VALUE_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)  # those of label-studio-sdk
_OPAQUE = 128  # of 255: half of the pixel is covered


def brush_bytes(values: Any, where: str) -> bytes:
    """The stream from a JSON list of bytes.

    Raises:
        DataError: it is no list of whole numbers 0..255.
    """
    if isinstance(values, list) and all(type(value) is int and 0 <= value < 256 for value in values):
        return bytes(values)
    raise DataError(f"{where}: field 'rle': expected a list of whole numbers 0 to 255, got {values!r:.80}")


def decode_brush(data: bytes, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """Mask bool [H, W] of brush strokes.

    Raises:
        DataError: not of an image of this size, or cut short.
    """
    place, wanted = f"{where}: field 'rle'", size[0] * size[1] * _CHANNELS
    bits = _Bits(data, place)
    count, value_bits = bits.read(32), bits.read(5) + 1
    if count != wanted or value_bits != _VALUE_BITS:
        raise DataError(
            f"{place}: expected {wanted} values of 8 bits for the image of {size[1]} x {size[0]}, "
            f"got {count} of {value_bits}"
        )
    length_bits = [bits.read(4) + 1 for _ in range(4)]
    values = np.zeros(count, np.uint8)
    at = 0
    while at < count:
        repeated = bits.read(1)
        length = bits.read(length_bits[bits.read(2)]) + 1
        if at + length > count:
            raise DataError(f"{place}: expected {count} values, got a run that ends at {at + length}")
        if repeated:
            values[at : at + length] = bits.read(_VALUE_BITS)
        else:
            several = bits.read(length * _VALUE_BITS).to_bytes(length)
            values[at : at + length] = np.frombuffer(several, np.uint8)
        at += length
    return values.reshape(*size, _CHANNELS)[:, :, 3] >= _OPAQUE


class _Bits:
    """Numbers from a stream of bits, which is a text of 0 and 1: Python slices it faster than anything else."""

    def __init__(self, data: bytes, where: str) -> None:
        self.bits, self.at, self.where = f"{int.from_bytes(data):0{len(data) * 8}b}", 0, where

    def read(self, width: int) -> int:
        end = self.at + width
        if end > len(self.bits):
            raise DataError(f"{self.where}: expected more after {len(self.bits) // 8} bytes: it is cut short")
        found = int(self.bits[self.at : end], 2)
        self.at = end
        return found


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """The stream, a list of bytes 0..255, of a mask [H, W]: its pixels are 255 in all four channels."""
    flat = np.asarray(mask, bool).ravel()
    ends = np.flatnonzero(np.concatenate([flat[1:] != flat[:-1], [True]])) + 1
    lengths = np.diff(ends, prepend=0) * _CHANNELS
    text = [f"{flat.size * _CHANNELS:032b}", f"{_VALUE_BITS - 1:05b}"]
    text += [f"{width - 1:04b}" for width in _LENGTH_BITS]
    for end, length in zip(ends.tolist(), lengths.tolist(), strict=True):
        value = "1" * _VALUE_BITS if flat[end - 1] else "0" * _VALUE_BITS
        text += [f"1{_length(part)}{value}" for part in _parts(length)]
    return _bytes("".join(text))


def _parts(length: int) -> Sequence[int]:
    most = 1 << _LENGTH_BITS[-1]
    whole, rest = divmod(length, most)
    return [most] * whole + [rest] * (rest > 0)


def _length(length: int) -> str:
    kind = next(kind for kind, width in enumerate(_LENGTH_BITS) if length <= 1 << width)
    return f"{kind:02b}{length - 1:0{_LENGTH_BITS[kind]}b}"


def _bytes(bits: str) -> list[int]:
    padded = bits.ljust(-(-len(bits) // 8) * 8, "0")
    return list(int(padded, 2).to_bytes(len(padded) // 8))
