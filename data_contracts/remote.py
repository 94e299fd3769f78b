"""Where a store lies: a local folder, or a folder behind a URL that fsspec knows.

What drivers raise becomes StoreError.
"""

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec

from data_contracts.errors import ConfigError, StoreError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.:-]*)://")
_EXTRAS = ("s3",)  # protocols whose package is an extra of wsis
_BLOCK = 1 << 20


def local_folder(text: str) -> Path | None:
    """The folder of a path or a `file://` URL (whose escapes are undone); None for another URL.

    Raises:
        ConfigError: a `file://` URL of another machine, or a path that the system cannot name.
    """
    url = _URL.match(text)
    if url and url[1].lower() != "file":
        return None
    if url:
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise ConfigError(f"store {text!r}: expected file:///PATH, got the machine {parts.netloc!r}")
        text = unquote(parts.path)
    try:
        return Path(text).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"store {text!r}: no path that can be followed: {error}") from error


def cache_folder(location: str) -> Path:
    """Where the artefacts of a URL store are mirrored.

    Raises:
        ConfigError: neither $WSIS_CACHE nor a home folder is there.
    """
    given = os.environ.get("WSIS_CACHE")
    try:
        base = Path(given) if given else Path.home() / ".cache" / "wsis"
    except RuntimeError as error:
        raise ConfigError(
            f"store {location!r}: this user has no home folder to mirror it in; set WSIS_CACHE to a folder"
        ) from error
    return base / hashlib.sha256(location.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class Remote:
    """A folder behind a URL. Every method raises StoreError where the other side or its driver fails.

    Raises:
        ConfigError: fsspec does not know the protocol, or a package for it is missing.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        protocol = location.partition("://")[0].rpartition("::")[2].lower()
        try:
            self.fs, self.root = fsspec.core.url_to_fs(location, use_listings_cache=False)
        except ImportError as error:
            missing = getattr(error.__cause__ or error, "name", None) or f"the driver of {protocol}"
            package = f"wsis[{protocol}]" if protocol in _EXTRAS else missing
            raise ConfigError(
                f"store {location!r}: {protocol}:// needs the package {missing}, which is not installed: "
                f"pip install '{package}'"
            ) from error
        except Exception as error:  # drivers raise what they like
            if protocol not in fsspec.available_protocols():
                raise ConfigError(
                    f"store {location!r}: expected a folder or a URL such as file:///PATH or s3://BUCKET/PATH, "
                    f"got the unknown protocol {protocol!r}"
                ) from error
            raise StoreError(f"store {location!r} cannot be opened: {_said(error)}") from error

    def url(self, *parts: str | None) -> str:
        """The driver's name of a file or folder of the store."""
        return "/".join(part for part in (self.root, *parts) if part)

    def exists(self, *parts: str) -> bool:
        with self._errors():
            return bool(self.fs.exists(self.url(*parts)))

    def read(self, name: str) -> bytes | None:
        """Bytes of a small file, None if there is none."""
        with self._errors():
            return bytes(self.fs.cat_file(self.url(name))) if self.fs.exists(self.url(name)) else None

    def write(self, name: str, data: bytes) -> None:
        with self._errors():
            self.fs.makedirs(os.path.dirname(self.url(name)), exist_ok=True)
            self.fs.pipe_file(self.url(name), data)

    def put(self, source: Path, *parts: str) -> None:
        """Upload a file."""
        with self._errors():
            self.fs.makedirs(os.path.dirname(self.url(*parts)), exist_ok=True)
            self.fs.put_file(str(source), self.url(*parts))

    def get(self, target: Path, *parts: str) -> bool:
        """Download a file; whether it is there."""
        with self._errors():
            try:
                self.fs.get_file(self.url(*parts), str(target))
            except FileNotFoundError:
                return False
        return True

    def remove(self, *parts: str) -> None:
        """Remove a folder if it is there."""
        with self._errors():
            if self.fs.exists(self.url(*parts)):
                self.fs.rm(self.url(*parts), recursive=True)

    def names(self, folder: str) -> list[str]:
        """Names in a folder, which may be absent."""
        with self._errors():
            found = self.fs.ls(self.url(folder), detail=False) if self.fs.exists(self.url(folder)) else []
        return [os.path.basename(path.rstrip("/")) for path in found]

    def files(self, *parts: str) -> dict[str, int]:
        """Path below a folder -> bytes, of every file however deep."""
        base = self.url(*parts).rstrip("/") + "/"
        with self._errors():
            found = self.fs.find(base, detail=True) if self.fs.exists(self.url(*parts)) else {}
        return {
            name.removeprefix(base): int(info["size"])
            for name, info in found.items()
            if name.startswith(base)
        }

    def sha256(self, *parts: str) -> str:
        """Hex sha256 of the bytes that lie there now."""
        digest = hashlib.sha256()
        with self._errors(), self.fs.open(self.url(*parts), "rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (
            Exception
        ) as error:  # drivers raise what they like: botocore's errors are of a family of their own
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # the caller names it with the file that it wrote
            raise StoreError(f"store {self.location!r}: {_said(error)}") from error


def _said(error: Any) -> str:
    """A driver's error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
