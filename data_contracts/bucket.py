"""Objects behind a URL: S3, Google Cloud Storage, Azure and, for tests, memory; conditional writes by obstore.

A removed record stays as an empty object: not every store removes on a condition, but all that are accepted here
replace on one. What the driver raises becomes StoreError.
"""

import errno
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from data_contracts.bucket_address import PROTOCOLS, bucket_address, s3_server
from data_contracts.errors import ConfigError, StoreError
from data_contracts.objects import BLOCK, Found, Listed
from data_contracts.patience import answered

_LOGGER = logging.getLogger("wsis.store")
_R = TypeVar("_R")

_CONFLICT_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
PATIENCE_SECONDS = 180.0  # with a server that is gone, throttles or fails, for one request
_ROLES = ("169.254.169.254", "metadata.google.internal")  # who a machine in the cloud asks for its role
_MEMORY: dict[str, Any] = {}  # one for each name in this process, as a bucket is one for all machines
_GONE = b""
_ANSWER = re.compile(r"<\?xml.*?<Code>(.*?)</Code>.*?<Message>(.*?)</Message>.*", re.DOTALL)
_SAY_SECONDS = 5.0  # several requests that wait at once are one line


class BucketObjects:
    """The objects below a URL. See `data_contracts.objects.Objects`.

    Raises:
        ConfigError: a protocol without conditional writes, or its package is missing. StoreError: the driver refuses
            the URL or its settings.
    """

    def __init__(self, location: str) -> None:
        protocol, rest = bucket_address(location)
        self.location = f"{protocol}://{rest}"
        try:
            import obstore
        except ImportError as error:
            raise ConfigError(
                f"store {location!r}: {protocol}:// needs the package obstore, which is not installed: "
                f"pip install 'wsis[{PROTOCOLS[protocol]}]'"
            ) from error
        self._driver = obstore
        server = s3_server() if PROTOCOLS[protocol] == "s3" and protocol != "memory" else None
        self._from = "" if server is None else f" from {server}"
        with self._errors():
            self._store, self._prefix = _opened(protocol, rest, server)
        self._said = -_SAY_SECONDS

    def url(self, key: str) -> str:
        return f"{self.location}/{key}"

    def create(self, key: str, data: bytes) -> bool:
        for seconds in _CONFLICT_SECONDS:
            if self._put_if(key, data, "create"):
                return True
            version, there = self._get(key)
            if there == data:
                return True
            if there:
                return False
            if there == _GONE and self._put_if(key, data, version):
                return True
            time.sleep(seconds)  # removed or replaced meanwhile, or a conflict (409) of two that came at once
        raise StoreError(f"{self.url(key)}: can neither be created nor read, {len(_CONFLICT_SECONDS)} times")

    def read(self, key: str) -> Found | None:
        version, data = self._get(key)
        return Found(data, version) if data else None

    def replace(self, key: str, data: bytes, version: Any) -> bool:
        return self._put_if(key, data, version) or self._get(key)[1] == data

    def delete(self, key: str, version: Any) -> bool:
        return self._put_if(key, _GONE, version) or not self._get(key)[1]

    def write(self, key: str, data: bytes) -> None:
        self.put(key, data)

    def put(self, key: str, source: Path | bytes | Iterator[bytes]) -> None:
        with self._errors():
            answered(lambda: self._driver.put(self._store, self._key(key), source))

    def stream(self, key: str) -> Iterator[bytes]:
        try:
            with self._errors():
                found = self._asked(lambda: self._driver.get(self._store, self._key(key)))
                pieces = iter(found.stream(min_chunk_size=BLOCK))
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise FileNotFoundError(errno.ENOENT, "no such object", self.url(key)) from error
            raise
        while True:
            with self._errors():
                piece = answered(lambda: next(pieces, None))
            if piece is None:
                return
            yield bytes(piece)

    def remove(self, key: str) -> None:
        with self._errors():
            try:
                self._asked(lambda: self._driver.delete(self._store, self._key(key)))
            except FileNotFoundError:  # memory says so, S3 does not
                return

    def folders(self, prefix: str) -> list[str]:
        with self._errors():
            below = self._key(prefix) or None
            found = self._asked(lambda: self._driver.list_with_delimiter(self._store, below))
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"])

    def list(self, prefix: str) -> dict[str, Listed]:
        with self._errors():
            batches = iter(self._driver.list(self._store, prefix=self._key(prefix) or None))
            found = {}
            while batch := self._asked(lambda: next(batches, None)):
                for one in batch:
                    found[self._name(one["path"])] = Listed(one["size"], one["last_modified"].timestamp())
            return found

    def _key(self, key: str) -> str:
        return "/".join(part for part in (self._prefix, key) if part)

    def _name(self, path: str) -> str:
        return path.removeprefix(f"{self._prefix}/") if self._prefix else path

    def _put_if(self, key: str, data: bytes, mode: Any) -> bool:
        """Put on a condition; False where the store says that it does not hold."""
        refusals = (self._driver.exceptions.AlreadyExistsError, self._driver.exceptions.PreconditionError)
        with self._errors():
            try:
                put, at = self._driver.put, self._key(key)
                self._asked(lambda: put(self._store, at, data, mode=mode, use_multipart=False))
            except (*refusals, FileNotFoundError):
                return False
        return True

    def _get(self, key: str) -> tuple[dict[str, Any], bytes | None]:
        """What lies there now with its version; an empty record is one that was removed, None one that never was."""
        with self._errors():
            try:
                found = self._asked(lambda: self._driver.get(self._store, self._key(key)))
            except FileNotFoundError:
                return {}, None
            tags = {"e_tag": found.meta["e_tag"], "version": found.meta["version"]}
            version = {name: tag for name, tag in tags.items() if tag is not None}
            return version, bytes(self._asked(found.bytes))

    def _asked(self, request: Callable[[], _R]) -> _R:
        """What a short request gives. Where it takes long, a line says so: whoever mistyped an address is waiting."""
        return answered(request, self._say)

    def _say(self, waited: float) -> None:
        now = time.monotonic()
        if now - self._said >= _SAY_SECONDS:
            self._said = now
            what = f"store {self.location!r}: no answer for {waited:.0f} s{self._from}"
            _LOGGER.warning("%s; it is asked again for up to %.0f s", what, PATIENCE_SECONDS)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:  # the driver's are of a family of their own; a panic is no Exception
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # the caller names it with the file that it wrote
            raise StoreError(f"store {self.location!r}: {_said(error)}") from error


def _opened(protocol: str, rest: str, server: str | None) -> tuple[Any, str]:
    """The driver's store, and the prefix that its keys need; `server`: of S3, where it is not Amazon's."""
    from obstore import store

    if protocol == "memory":
        bucket, _, prefix = rest.partition("/")
        return _MEMORY.setdefault(bucket, store.MemoryStore()), prefix.strip("/")
    backoff = {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=5), "base": 2}
    patience = {"retry_timeout": timedelta(seconds=PATIENCE_SECONDS), "max_retries": 1000, "backoff": backoff}
    options: Any = {"retry_config": patience}
    if server is not None and server.lower().startswith("http://"):
        options["client_options"] = {"allow_http": True}  # it was said in so many words
    return store.from_url(f"{'gs' if protocol == 'gcs' else protocol}://{rest}", **options), ""


def _said(error: Any) -> str:
    """A driver's error in one line, without the dump of its insides, and of an answer in XML what it says."""
    text = re.split(r"\n\s*Debug source:", str(error))[0]
    if found := _ANSWER.search(text):
        text = f"{text[: found.start()]}{found[1]}: {found[2]}"
    said = f"{type(error).__name__}: {' '.join(text.split())}"[:500]
    if any(host in said for host in _ROLES):  # asked where the environment has no credentials
        return f"expected credentials in the environment, or a role of the machine, got neither ({said})"
    return said
