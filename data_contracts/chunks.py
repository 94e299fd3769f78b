"""Fast reading of the one zarr v3 layout that `records.py` writes: one-dimensional chunks, bytes (little
endian), zstd, crc32c. Opening ten small arrays through zarr costs an image reader tens of milliseconds; the
layout is fixed, so a chunk is read, checked and decoded here directly. Any zarr v3 library reads the same files.

Unlike zarr, a chunk file that is missing is an error and never read as the fill value.
"""

import json
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numcodecs.zstd import Zstd  # type: ignore[import-untyped]

from data_contracts.errors import CorruptArtefactError

_CODECS = ("bytes", "zstd", "crc32c")
_CRC_BYTES = 4
_KEPT_BYTES = 1 << 14
_zstd = Zstd()


class ChunkedArray:
    """A zarr array [L] or [L, D] chunked along its first axis alone. One of at most 16 KiB stays in memory once read.

    Raises:
        CorruptArtefactError: its metadata is missing, cannot be read, or describes another layout.
    """

    def __init__(self, root: Path, dtype: str) -> None:
        self.root, self.dtype = root, np.dtype(dtype).newbyteorder("<")
        metadata = root / "zarr.json"
        try:
            tree = json.loads(metadata.read_bytes())
            self.shape = tuple(int(n) for n in tree["shape"])
            self._chunk = tuple(int(n) for n in tree["chunk_grid"]["configuration"]["chunk_shape"])
            got = (tree["data_type"], *(codec["name"] for codec in tree["codecs"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(metadata, f"{type(error).__name__} {error}") from error
        if got != (np.dtype(dtype).name, *_CODECS) or not self.shape or self._chunk[1:] != self.shape[1:]:
            raise _damaged(metadata, f"expected {dtype} in chunks of {_CODECS}, got {got} in {self._chunk}")
        if self._chunk[0] < 1:
            raise _damaged(metadata, f"expected chunks of at least one row, got {self._chunk}")
        self._whole: np.ndarray | None = None

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows start..stop-1 as a new array.

        Raises:
            CorruptArtefactError: a chunk is missing, its crc32c is wrong, or it has another size.
        """
        if not 0 <= start <= stop <= self.shape[0]:
            raise _damaged(self.root, f"rows {start}:{stop} of {self.shape[0]} are asked for")
        if start == stop:
            return np.empty((0, *self.shape[1:]), self.dtype)
        size = self._chunk[0]
        first, last = start // size, (stop - 1) // size
        parts = [
            self._decoded(k)[max(0, start - k * size) : min(size, stop - k * size)]
            for k in range(first, last + 1)
        ]
        return np.concatenate(parts)

    def _decoded(self, k: int) -> np.ndarray:
        if self._whole is not None:
            return self._whole
        data = self._read(k)
        if self._chunk == self.shape and data.nbytes <= _KEPT_BYTES:
            self._whole = data
        return data

    def _read(self, k: int) -> np.ndarray:
        path = self.root.joinpath("c", str(k), *("0" for _ in self.shape[1:]))
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise _damaged(path, str(error.strerror)) from error
        body, checksum = raw[:-_CRC_BYTES], int.from_bytes(raw[-_CRC_BYTES:], "little")
        if len(raw) < _CRC_BYTES or (got := google_crc32c.value(body)) != checksum:
            found = "a cut file" if len(raw) < _CRC_BYTES else f"{got:#010x}"
            raise _damaged(path, f"expected crc32c {checksum:#010x}, got {found}")
        try:
            return np.frombuffer(_zstd.decode(body), self.dtype).reshape(self._chunk)
        except (RuntimeError, ValueError) as error:
            raise _damaged(path, str(error)) from error


def _damaged(path: Path, what: Any) -> CorruptArtefactError:
    return CorruptArtefactError(f"{path} is damaged: {what}", (str(path),))
