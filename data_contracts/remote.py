"""Where a store lies: a local folder, or objects behind a URL; and artefacts there, each committed exactly once."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from data_contracts.bucket import BucketObjects
from data_contracts.errors import ConfigError, CorruptArtefactError, StoreError
from data_contracts.fingerprint import seal
from data_contracts.manifest import FileEntry, Manifest, parse_manifest
from data_contracts.objects import Found, Listed, clock, probe
from data_contracts.paths import user_path
from data_contracts.patience import many
from data_contracts.remote_layout import (
    ATTEMPTS,
    PLAN_NAME,
    SHARDS,
    ShardRecord,
    by_object,
    file_key,
    linked,
    manifest_key,
    new_attempt,
    parts_of,
    same_bytes,
    write_pieces,
)

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.:-]*)://")
_BROKEN_URL = re.compile(r"(?:file|local|memory|s3|gs|az|abfs):(?!//)", re.IGNORECASE)
_FOLDERS = ("file", "local")
GRACE_SECONDS = 24 * 3600.0
"""How long data stays that no record names any more: whoever began to read it before has that long."""


def local_folder(text: str) -> Path | None:
    """The folder of a path or a `file://` URL (whose escapes are undone; `local://` is the same); None for another URL.

    Raises:
        ConfigError: a `file://` URL of another machine, a file, or a path that the system cannot name.
    """
    url = _URL.match(text)
    if url and url[1].lower() not in _FOLDERS:
        return None
    if url:
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost") or not parts.path:
            got = f"the machine {parts.netloc!r}" if parts.netloc else "no path"
            raise ConfigError(f"store {text!r}: expected file:///PATH, got {got}")
        text = unquote(parts.path)
    elif _BROKEN_URL.match(text):
        raise ConfigError(f"store {text!r}: expected a folder or a URL such as s3://BUCKET/PATH, got no //")
    if text.startswith("~"):  # no shell has read it: of a file, a variable, or behind --store=
        text = str(user_path(text, "store"))
    try:
        folder = Path(text).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"store {text!r}: no path that can be followed: {error}") from error
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise ConfigError(
            f"store: expected a folder or a URL, got {folder}, which is a file and cannot be one"
        )
    return folder


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


@dataclass(frozen=True)
class Leftover:
    """Data behind a URL that no record names, and that nobody can be reading or writing any more."""

    stage: str
    place: str
    keys: tuple[str, ...]
    bytes: int


class Remote:
    """Artefacts behind a URL, laid out as `data_contracts.remote_layout` says.

    One record makes an artefact known, its manifest, which the first writer creates. Data is never overwritten or
    moved, and not removed while a record names it nor in the hours after. Methods raise StoreError where the other
    side fails.

    Raises:
        ConfigError, StoreError: see `BucketObjects`.
    """

    def __init__(self, location: str) -> None:
        self.objects = BucketObjects(location)
        self.location = self.objects.location

    def check(self) -> None:
        """Refuse a server that ignores conditions; it is asked once a process.

        Raises:
            StoreError: it does, or it cannot be written.
        """
        probe(self.objects, self.location)

    def record(self, stage: str, fingerprint: str) -> Found | None:
        """The manifest's record, None where the artefact is not committed."""
        return self.objects.read(manifest_key(stage, fingerprint))

    def manifest(self, stage: str, fingerprint: str, record: Found) -> Manifest:
        """The manifest in a record.

        Raises:
            CorruptArtefactError: it is damaged.
        """
        where = self.objects.url(manifest_key(stage, fingerprint))
        return parse_manifest(record.data, where, fingerprint)

    def commit(self, stage: str, fingerprint: str, folder: Path, manifest: Manifest) -> bytes | None:
        """Upload an artefact's files and create its manifest's record.

        Args:
            manifest: with the files in `folder`; what it says of places does not count.

        Returns:
            The record; None if another has committed the artefact: this one has then left nothing.
        """
        shared = self.shard_files(stage, fingerprint)
        files = dict(manifest.without_places().files)
        files |= {n: shared[n] for n, e in files.items() if n in shared and same_bytes(shared[n], e)}
        placed = manifest.model_copy(update={"files": files, "attempt": new_attempt()})
        own = {file_key(placed, n, e): folder / n for n, e in files.items() if e.attempt is None}
        many(lambda key: self.objects.put(key, own[key]), own)
        record = seal(placed.model_dump(mode="json"))
        if self.objects.create(manifest_key(stage, fingerprint), record):
            return record
        many(self.objects.remove, own)  # no record has ever named them
        return None

    def discard(self, stage: str, fingerprint: str, seen: Found | None) -> None:
        """Remove the manifest's record if it is still the one that was seen, then those of the shards. The data
        stays for those who are reading it, see `leftovers`."""
        if seen is not None and not self.objects.delete(manifest_key(stage, fingerprint), seen.version):
            return  # another has done so, and committed again
        for key in self._records(f"{stage}/{fingerprint}/{SHARDS}"):
            if (record := self.objects.read(key)) is not None:
                self.objects.delete(key, record.version)

    def download(self, manifest: Manifest, target: Path, like: Path) -> None:
        """Fetch an artefact's files into a folder.

        Args:
            like: a former copy, which may be absent: files that are the same there are linked.

        Raises:
            CorruptArtefactError: a file is missing on the other side.
        """
        files = manifest.files.items()
        wanted = {n: e for n, e in files if not linked(like / n, target / n, e)}
        many(lambda item: self._fetch(item[0], item[1], target), by_object(manifest, wanted).items())

    def _fetch(self, key: str, files: list[tuple[str, FileEntry]], target: Path) -> None:
        try:
            for name, pieces in parts_of(files, self.objects.stream(key)):
                write_pieces(target / name, pieces)
        except FileNotFoundError as error:
            url = self.objects.url(key)
            raise CorruptArtefactError(f"{url}: missing in {self.location}", (url,)) from error

    def shard_files(self, stage: str, fingerprint: str) -> dict[str, FileEntry]:
        """The files of all shards that have a record. One that is damaged counts as none."""
        found: dict[str, FileEntry] = {}
        keys = self._records(f"{stage}/{fingerprint}/{SHARDS}")
        for key, record in zip(keys, many(self.objects.read, keys), strict=True):
            try:
                found |= ShardRecord.read(record.data, key).files if record is not None else {}
            except StoreError:
                continue
        return found

    def artefacts(self) -> list[tuple[str, str]]:
        """Stage and fingerprint of every committed artefact."""
        pairs = self._folders()
        there = many(lambda pair: self.record(*pair) is not None, pairs)
        return [pair for pair, committed in zip(pairs, there, strict=True) if committed]

    def leftovers(self) -> list[Leftover]:
        """Attempts that were lost, discarded or killed.

        Only where nothing was written, and no record of the artefact changed, for `GRACE_SECONDS`.
        """
        before = clock(self.objects) - GRACE_SECONDS
        return [left for pair in self._folders() for left in self._leftovers_of(*pair, before)]

    def _leftovers_of(self, stage: str, fingerprint: str, before: float) -> list[Leftover]:
        base = f"{stage}/{fingerprint}"
        listed = self.objects.list(base)
        records = {
            k for k in listed if k == manifest_key(stage, fingerprint) or k.startswith(f"{base}/{SHARDS}/")
        }
        try:
            named = self._named(stage, fingerprint)
        except StoreError:
            return []  # a damaged record: nobody knows what it names
        if any(listed[key].modified >= before for key in records):
            return []
        groups: dict[str, dict[str, Listed]] = {}
        for key in set(listed) - records:
            parts = key.removeprefix(f"{base}/").split("/")
            place = f"{base}/{ATTEMPTS}/{parts[1].removesuffix('.pack')}" if parts[0] == ATTEMPTS else base
            groups.setdefault(place, {})[key] = listed[key]
        return [
            Leftover(stage, place, tuple(sorted(some)), sum(one.bytes for one in some.values()))
            for place, some in sorted(groups.items())
            if not named & set(some) and all(one.modified < before for one in some.values())
        ]

    def _named(self, stage: str, fingerprint: str) -> set[str]:
        """Keys that the records of an artefact name."""
        keys = self._records(f"{stage}/{fingerprint}/{SHARDS}")
        found = self.record(stage, fingerprint)
        named: set[str] = set()
        if found is not None:
            manifest = self.manifest(stage, fingerprint, found)
            named |= {file_key(manifest, name, entry) for name, entry in manifest.files.items()}
        for key, record in zip(keys, many(self.objects.read, keys), strict=True):
            if record is not None and key.rpartition("/")[2] != PLAN_NAME:
                attempt = ShardRecord.read(record.data, key).attempt
                named.add(f"{stage}/{fingerprint}/{ATTEMPTS}/{attempt}.pack")
        return named

    def _records(self, prefix: str) -> list[str]:
        return sorted(key for key, one in self.objects.list(prefix).items() if one.bytes)

    def _folders(self) -> list[tuple[str, str]]:
        stages = [name for name in self.objects.folders("") if name != "runs" and not name.startswith(".")]
        return [(stage, name) for stage in stages for name in self.objects.folders(stage)]
