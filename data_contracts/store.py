"""The artefact store: `<store>/<stage>/<fingerprint>/` with a manifest written last.

A store is a local folder or a URL of an object store. Stages always work in a local folder that survives a kill;
`commit` renames it, and behind a URL uploads it and creates the manifest last, where none is: so an artefact exists
whole or not at all, once, and is never overwritten. A URL store is mirrored artefact by artefact in a local cache.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from data_contracts.atomic import (
    fsync_directory,
    fsync_tree,
    full_disk_named,
    remove_temporaries,
    write_atomic,
)
from data_contracts.errors import ArtefactMissingError, CorruptArtefactError, StoreError
from data_contracts.fingerprint import seal, sha256_file
from data_contracts.leases import Alone, Lease
from data_contracts.locks import exclusive
from data_contracts.manifest import MANIFEST_NAME, FileEntry, Manifest, damaged_files, parse_manifest
from data_contracts.objects import FolderObjects, Found, Objects, plain_bytes
from data_contracts.paths import default_store, make_folder, names_in, plain_name
from data_contracts.records import RecordReader
from data_contracts.remote import Remote, cache_folder, local_folder
from data_contracts.remote_layout import ATTEMPTS, SHARDS, new_attempt
from data_contracts.repair import repair_of
from data_contracts.schemas import Schema
from data_contracts.shards import SharedShards

_LOGGER = logging.getLogger("wsis.store")
_CHANGES = 50  # tries to change a file that others change too
PRIVATE = ".work"
"""Folder of a stage in which artefacts are made."""


class Artefact:
    """A committed artefact on local disk."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    def records(self, schema: Schema) -> RecordReader:
        """Per-image records.

        Raises:
            SchemaError, CorruptArtefactError: see RecordReader.
        """
        return RecordReader(self.path, schema)

    def file(self, name: str) -> Path:
        """Path of a file of the artefact.

        Raises:
            ArtefactMissingError: the manifest lists no such file.
        """
        if name not in self.manifest.files:
            raise ArtefactMissingError(
                f"{self.path} holds no '{name}'; it holds {sorted(self.manifest.files)[:10]}"
            )
        return self.path / name


class Store:
    """Artefacts by stage and fingerprint.

    Args:
        location: a folder, or a URL: file://, s3://, gs://, az://, abfs://, memory://.

    Raises:
        ConfigError: a file; or a URL that cannot be used: see `data_contracts.bucket`. StoreError: its driver fails.
    """

    def __init__(self, location: str | Path | None = None) -> None:
        text = str(location or default_store())
        folder = local_folder(text)
        self._remote = None if folder is not None else Remote(text)
        self.location = text if self._remote is None else self._remote.location
        self.root = folder if folder is not None else cache_folder(self.location)
        self._texts: Objects = self._remote.objects if self._remote is not None else FolderObjects(self.root)
        self._seen: dict[tuple[str, str], Found] = {}  # manifests behind the URL, as they were opened
        self._leases: dict[tuple[str, str], Lease | None] = {}  # of what this process makes alone

    def __repr__(self) -> str:
        return f"Store({self.location!r})"

    @property
    def address(self) -> str:
        """Its location as another process, or another machine that shares it, can open it."""
        return str(self.root) if self._remote is None else self.location

    # -- looking ------------------------------------------------------------------------------------------
    def has(self, stage: str, fingerprint: str) -> bool:
        """Whether the artefact is committed (its bytes are not checked)."""
        return (self._path(stage, fingerprint) / MANIFEST_NAME).exists() or self._record(
            stage, fingerprint
        ) is not None

    def open(self, stage: str, fingerprint: str, verify: bool = True) -> Artefact:
        """A committed artefact, every file's size and sha256 checked unless `verify` is False.

        Of a URL store: an artefact whose upload was interrupted is uploaded now, and one that is damaged in the
        local cache is downloaded again.

        Raises:
            ArtefactMissingError: not committed.
            CorruptArtefactError: files are missing or changed; each is named.
        """
        asked = time.monotonic()
        record = self._record(stage, fingerprint)
        path = self._path(stage, fingerprint)
        if self._remote is None or record is None:
            if not path.exists():
                raise ArtefactMissingError(f"no artefact {stage}/{fingerprint} in {self.location}")
            artefact = self._open_local(stage, fingerprint, verify)
            if self._remote is not None:
                artefact = self._shared(self._remote, artefact)
        else:
            artefact = self._open_mirrored(self._remote, stage, fingerprint, record, verify)
        _LOGGER.debug(
            "opened %s: %d files, %s in %.2f s",
            artefact.path,
            len(artefact.manifest.files),
            "hashed" if verify else "not hashed",
            time.monotonic() - asked,
        )
        return artefact

    def _open_mirrored(
        self, remote: Remote, stage: str, fingerprint: str, record: Found, verify: bool
    ) -> Artefact:
        """The mirror of what lies behind the URL, fetched where there is none, or another, or a damaged one."""
        file = self._path(stage, fingerprint) / MANIFEST_NAME
        if file.is_file() and file.read_bytes() == record.data:
            try:
                return self._open_local(stage, fingerprint, verify)
            except CorruptArtefactError as error:
                _LOGGER.debug("%s is fetched again: %s", file.parent, error)
        manifest = remote.manifest(stage, fingerprint, record)
        aside = self._set_aside(stage, fingerprint)
        self._download(remote, manifest, record, aside)
        artefact = self._open_local(stage, fingerprint, verify)
        self.sweep(stage, fingerprint)
        return artefact

    def _open_local(self, stage: str, fingerprint: str, verify: bool) -> Artefact:
        path = self._path(stage, fingerprint)
        if not (path / MANIFEST_NAME).is_file():
            lost = f"{path / MANIFEST_NAME}: missing"
            raise self._damaged(stage, fingerprint, [lost])
        artefact = Artefact(path, self._read_manifest(path))
        if verify and (damaged := damaged_files(path, artefact.manifest)):
            raise self._damaged(stage, fingerprint, damaged)
        return artefact

    def _damaged(self, stage: str, fingerprint: str, files: list[str]) -> CorruptArtefactError:
        what = f"artefact {stage}/{fingerprint} is damaged: {'; '.join(files)}"
        return CorruptArtefactError(what, tuple(files), repair_of(self, stage, fingerprint))

    @property
    def remote(self) -> Remote | None:
        """The other side of a URL store."""
        return self._remote

    def stages(self) -> list[str]:
        """Stages with a folder in the local store."""
        if not self.root.exists():
            return []
        return sorted(p.name for p in self.root.iterdir() if p.is_dir() and p.name != "runs")

    def _read_manifest(self, path: Path) -> Manifest:
        file = path / MANIFEST_NAME
        return parse_manifest(plain_bytes(file) or b"", str(file), path.name)

    # -- writing ------------------------------------------------------------------------------------------
    @contextmanager
    def writing(
        self,
        stage: str,
        fingerprint: str,
        on_wait: Callable[[str], None] = lambda message: None,
        alone: Alone | None = None,
    ) -> Iterator[Path]:
        """Hold the artefact's lock and give its work folder, which a killed process leaves for the next one.

        Args:
            alone: of several machines at a URL store, too, one at a time; None: they share what they make.

        Raises:
            LeaseLostError: on entering again what was lost.
            StoreError: the store's folder cannot be created or written.
        """
        base = self._path(stage, PRIVATE)
        make_folder(base)
        if self._remote is not None:
            self._remote.check()
        with exclusive(base / f"{fingerprint}.lock", on_wait=on_wait):
            work = base / fingerprint
            make_folder(work)
            if self._remote is None or alone is None:
                yield work
                return
            committed = partial(self._remote.record, stage, fingerprint)
            with alone.held(
                self._remote.objects, f"{stage}/{fingerprint}", work, committed, on_wait
            ) as lease:
                self._leases[stage, fingerprint] = lease
                yield work

    def check_owner(self, stage: str, fingerprint: str) -> None:
        """Stop an owner that was silent for so long that another machine has its work; asks nobody.

        Raises:
            LeaseLostError: it has.
        """
        if (lease := self._leases.get((stage, fingerprint))) is not None:
            lease.check()

    def shared_shards(
        self, stage: str, fingerprint: str, by_others: bool = False, afresh: bool = False
    ) -> SharedShards | None:
        """Where other machines make shards of an artefact too; None in a folder, which has a lock.

        Args:
            by_others: others make them for this process, in a folder too; they lie there until `sweep`.
            afresh: nothing that has been made before is there.
        """
        if self._remote is not None:
            base = f"{stage}/{fingerprint}"
            return self.shards_below(f"{base}/{ATTEMPTS}/{new_attempt()}" if afresh else base)
        if not by_others:
            return None
        own = f"-{new_attempt()}" if afresh else ""
        return self.shards_below(f"{stage}/{PRIVATE}/{fingerprint}.{SHARDS}{own}")

    def shards_below(self, base: str) -> SharedShards:
        """The shards that lie below a key; see `SharedShards.base`."""
        return SharedShards(self._texts, base)

    def commit(self, stage: str, fingerprint: str, work: Path, manifest: Manifest) -> Artefact:
        """Turn a work folder into an artefact. The manifest's `files` are filled in here. If another machine
        has committed the same artefact to a URL store meanwhile, that one is kept and given.

        Raises:
            StoreError: the artefact exists already. LeaseLostError: the work is another machine's by now.
            StoreFullError: no space left.
        """
        if (lease := self._leases.get((stage, fingerprint))) is not None:
            lease.renew()
        final = self._path(stage, fingerprint)
        if final.exists():
            raise StoreError(f"{final} exists; artefacts are never overwritten")
        remove_temporaries(work)
        files = {
            str(p.relative_to(work)): FileEntry(sha256=sha256_file(p), bytes=p.stat().st_size)
            for p in sorted(work.rglob("*"))
            if p.is_file() and p != work / MANIFEST_NAME
        }
        manifest = manifest.model_copy(update={"files": files})
        with full_disk_named(final):
            write_atomic(work / MANIFEST_NAME, seal(manifest.model_dump(mode="json")))
            fsync_tree(work)
            work.rename(final)
            fsync_directory(final.parent)
        artefact = Artefact(final, manifest)
        if self._remote is not None:
            artefact = self._shared(self._remote, artefact)
        if lease is not None:
            lease.finished = True
        return artefact

    def _shared(self, remote: Remote, artefact: Artefact) -> Artefact:
        """Commit an artefact of this machine behind the URL; that of another machine where it was first."""
        remote.check()
        stage, fingerprint = artefact.manifest.stage, artefact.path.name
        if (record := remote.record(stage, fingerprint)) is None:
            if (mine := remote.commit(stage, fingerprint, artefact.path, artefact.manifest)) is not None:
                write_atomic(artefact.path / MANIFEST_NAME, mine)
                return Artefact(artefact.path, self._read_manifest(artefact.path))
            record = remote.record(stage, fingerprint)
        if record is None:
            raise StoreError(
                f"{stage}/{fingerprint} in {self.location}: another machine has just discarded it"
            )
        _LOGGER.info("%s/%s: another machine was first, and its artefact is taken", stage, fingerprint)
        return self._open_mirrored(remote, stage, fingerprint, record, verify=True)

    def discard(self, stage: str, fingerprint: str) -> None:
        """Move an artefact that is damaged or to be recomputed out of the way; the old bytes are kept under
        `.work/` until the next artefact is committed (see `sweep`). Behind a URL only its records go, if they are
        still those that were opened: others may be reading the data."""
        self._set_aside(stage, fingerprint)
        if self._remote is not None:
            seen = self._seen.pop((stage, fingerprint), None) or self._remote.record(stage, fingerprint)
            self._remote.discard(stage, fingerprint, seen)

    def _set_aside(self, stage: str, fingerprint: str) -> Path:
        path = self._path(stage, fingerprint)
        aside = self._path(stage, PRIVATE) / f"{fingerprint}.discarded-{time.time_ns()}"
        if path.exists():
            make_folder(aside.parent)
            path.rename(aside)
        return aside

    def sweep(self, stage: str, fingerprint: str) -> None:
        """Remove what `discard` set aside, and shards that others have made, once the artefact is committed."""
        for kind in ("discarded", SHARDS):
            for aside in (self.root / stage / PRIVATE).glob(f"{fingerprint}.{kind}*"):
                shutil.rmtree(aside, ignore_errors=kind == SHARDS)  # a late machine may be writing there

    # -- runs ---------------------------------------------------------------------------------------------
    def read_text(self, name: str) -> str | None:
        """Text of a small mutable file (a run record), or None.

        Raises:
            CorruptArtefactError: no plain file (a folder, a pipe, a link that leads nowhere), unreadable, or not UTF-8.
        """
        found = self._texts.read(name)
        try:
            return None if found is None else found.data.decode()
        except UnicodeDecodeError as error:
            raise CorruptArtefactError(f"{name} is damaged: {error}", (name,)) from error

    def write_text(self, name: str, text: str) -> None:
        """Replace a small mutable file atomically.

        Raises:
            StoreError: it cannot be written, because a folder lies there, say.
        """
        if self._remote is not None:
            self._remote.check()
        self._texts.write(name, text.encode())

    def change_text(self, name: str, change: Callable[[bytes | None], bytes]) -> None:
        """Replace a small mutable file by what `change` makes of it, and of what others have made of it meanwhile.

        Raises:
            StoreError: it cannot be written, or others change it all the time.
            What `change` raises: nothing is written then.
        """
        if self._remote is not None:
            self._remote.check()
        for _ in range(_CHANGES):
            found = self._texts.read(name)
            data = change(None if found is None else found.data)
            if found is None and self._texts.create(name, data):
                return
            if found is not None and self._texts.replace(name, data, found.version):
                return
        raise StoreError(f"{self._texts.url(name)}: changed by others {_CHANGES} times while it was written")

    def remove_text(self, name: str) -> None:
        """Remove a small mutable file, if it is there."""
        self._texts.remove(name)

    def names(self, folder: str, suffix: str) -> list[str]:
        """Names without suffix of the files in a folder of the store. Raises StoreError where it may not be read."""
        if self._remote is None:  # what is no file is named too, and its damage said where it is read
            found = names_in(self.root / folder)
        else:
            listed = self._remote.objects.list(folder).items()
            found = [key.removeprefix(f"{folder}/") for key, one in listed if one.bytes]
        return sorted(name.removesuffix(suffix) for name in found if name.endswith(suffix))

    # -- places -------------------------------------------------------------------------------------------
    def _path(self, stage: str, fingerprint: str) -> Path:
        return self.root / plain_name(stage) / plain_name(fingerprint)

    def _record(self, stage: str, fingerprint: str) -> Found | None:
        """The manifest behind the URL, remembered for `discard`."""
        record = None if self._remote is None else self._remote.record(stage, fingerprint)
        if record is not None:
            self._seen[stage, fingerprint] = record
        return record

    def _download(self, remote: Remote, manifest: Manifest, record: Found, like: Path) -> None:
        stage, fingerprint = manifest.stage, manifest.fingerprint
        with self.writing(stage, f"download-{fingerprint}") as target:
            if self._path(stage, fingerprint).exists():
                target.rmdir()
                return
            shutil.rmtree(target)
            target.mkdir()
            with full_disk_named(target):
                remote.download(manifest, target, like)
                write_atomic(target / MANIFEST_NAME, record.data)
                fsync_tree(target)
                target.rename(self._path(stage, fingerprint))
