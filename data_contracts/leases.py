"""One owner of work at a time among machines that share objects, and what it keeps there for the next one.

A lease is a record {owner, epoch, seconds, ...}: created where there is none, renewed and taken over only where it is
still what was read. Whoever waits takes it over once it has not changed for its duration by the waiting machine's own
clock, so no two clocks are compared. An owner that was stopped longer finds on its next renewal that it is none any
more. What it writes meanwhile lies under keys of its own epoch, which nobody reads: the record names what counts.
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from data_contracts.atomic import write_atomic
from data_contracts.errors import CorruptArtefactError, LeaseLostError, StoreError
from data_contracts.fingerprint import seal, sha256_file, unseal
from data_contracts.manifest import FileEntry
from data_contracts.objects import BLOCK, Found, Objects
from data_contracts.remote_layout import digest_of

_LOGGER = logging.getLogger("wsis.store")
LEASE_SECONDS = 90.0
"""How long an owner may say nothing."""
_RENEWALS = 3  # in that time
_SAY_AGAIN_SECONDS = 60.0


class LeaseRecord(BaseModel):
    """The record of a lease.

    Attributes:
        owner: process and machine, for people; `token` is what counts.
        epoch: one more for each owner.
        seconds: its duration.
        renewals: so that no two states are equal.
        released: it can be had at once.
        kept, file: key of what the owner keeps for the next one, and its size and sha256.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    owner: str
    token: str
    epoch: int
    seconds: float
    renewals: int = 0
    released: bool = False
    kept: str | None = None
    file: FileEntry | None = None

    @classmethod
    def read(cls, data: bytes, where: str) -> Self | None:
        """The record in an object's bytes; None where they are none, which is a lease that nobody renews."""
        try:
            return cls.model_validate(unseal(data, where))
        except (CorruptArtefactError, ValidationError):
            return None


class Lease:
    """A lease that this process has. See `held`.

    Args:
        keep: file that the owner keeps for the next one, whenever it has changed; it is written by renames.

    Attributes:
        finished: nobody is to go on with the work.
    """

    def __init__(self, place: Objects, base: str, record: LeaseRecord, keep: Path) -> None:
        self._place, self._base, self._keep = place, base, keep
        self._record, self._lost, self._lock = record, False, threading.Lock()
        self.finished = False
        self._kept_state: tuple[int, int] | None = _state(keep)

    @property
    def epoch(self) -> int:
        """Which owner this is, from 1."""
        return self._record.epoch

    def check(self) -> None:
        """Raises LeaseLostError where a renewal has found another owner; asks nobody."""
        if self._lost:
            raise LeaseLostError(
                f"{self._base}: this process said nothing for {self._record.seconds:.0f} s, and another one has taken "
                "the work over"
            )

    def renew(self) -> None:
        """Ask that it is still this process's, and keep the file where it has changed.

        Raises:
            LeaseLostError: another has it. StoreError: the other side fails.
        """
        with self._lock:
            self.check()
            before, state = self._record.kept, _state(self._keep)
            if state is None or state == self._kept_state:
                self._replace(renewals=self._record.renewals + 1)
                return
            key, file = self._stored()
            try:
                self._replace(renewals=self._record.renewals + 1, kept=key, file=file)
            except LeaseLostError:
                self._place.remove(key)  # no record has ever named it
                raise
            self._kept_state = state
            if before is not None:
                self._place.remove(before)

    def end(self) -> None:
        """Give it up; with nothing kept where the work is finished."""
        with self._lock:
            if self._lost:
                return
            self._replace(released=True, **({"kept": None, "file": None} if self.finished else {}))
            if self.finished and (found := self._place.read(_key(self._base))) is not None:
                for key in self._place.list(f"{self._base}/{_KEPT}"):
                    self._place.remove(key)
                self._place.delete(_key(self._base), found.version)

    def _stored(self) -> tuple[str, FileEntry]:
        """Store the file: its key, which has the owner's epoch, and what it holds."""
        key = f"{self._base}/{_KEPT}/{self.epoch:05d}-{uuid.uuid4().hex}"
        with self._keep.open("rb") as stream:  # of one state, whatever is renamed over it meanwhile
            file = digest_of(iter(lambda: stream.read(BLOCK), b""))
            stream.seek(0)
            self._place.put(key, iter(lambda: stream.read(BLOCK), b""))
        return key, file

    def _replace(self, **changes: object) -> None:
        """Put the next state where the last one is still there."""
        found, where = self._place.read(_key(self._base)), self._place.url(_key(self._base))
        there = None if found is None else LeaseRecord.read(found.data, where)
        new = self._record.model_copy(update=changes)
        mine = there is not None and (there.token, there.epoch) == (new.token, new.epoch)
        if found is None or not mine or not self._place.replace(_key(self._base), _bytes(new), found.version):
            self._lost = True
            self.check()
        self._record = new


_KEPT = "checkpoints"


def _key(base: str) -> str:
    return f"{base}/lease.json"


def _bytes(record: LeaseRecord) -> bytes:
    return seal(record.model_dump(mode="json"))


def _state(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_mtime_ns


@contextmanager
def held(
    place: Objects,
    base: str,
    keep: Path,
    signature: Path,
    done: Callable[[], bool],
    on_wait: Callable[[str], None] = lambda message: None,
    seconds: float | None = None,
) -> Iterator[Lease | None]:
    """Have the lease of `base` inside the block, renewed by a thread. Waits as long as another owner renews it.

    Args:
        keep: see `Lease`; fetched from the last owner where it is not there.
        signature: a local file, written by owners who exclude one another otherwise: a dead one is not waited for.
        done: whether the work is done, by whoever; it is then not waited for, and None given.
        seconds: duration; None: `LEASE_SECONDS`.

    Raises:
        LeaseLostError: see `Lease`. StoreError: the other side fails.
    """
    seconds = seconds or LEASE_SECONDS
    here = signature.read_text() if signature.exists() else ""
    record = _acquired(place, base, here, done, on_wait, seconds)
    if record is None:
        yield None
        return
    write_atomic(signature, record.token.encode())
    _fetch(place, record, keep)
    lease, ended = Lease(place, base, record, keep), threading.Event()
    thread = threading.Thread(target=_renew, args=(lease, ended, seconds / _RENEWALS), daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        ended.set()
        thread.join(seconds)
        try:
            lease.finished = lease.finished or done()
            lease.end()
        except StoreError as error:
            _LOGGER.debug("%s: the lease is left to run out: %s", base, error)


def _renew(lease: Lease, ended: threading.Event, pause: float) -> None:
    while not ended.wait(pause):
        try:
            lease.renew()
        except LeaseLostError:
            return
        except StoreError as error:  # the next renewal says whose it is
            _LOGGER.warning("a lease could not be renewed: %s", error)


def _acquired(
    place: Objects,
    base: str,
    here: str,
    done: Callable[[], bool],
    on_wait: Callable[[str], None],
    seconds: float,
) -> LeaseRecord | None:
    me = f"pid {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}"
    new = LeaseRecord(owner=me, token=uuid.uuid4().hex, epoch=1, seconds=seconds)
    seen: Found | None = None
    began = since = time.monotonic()
    say_at = 0.0
    while not done():
        found = place.read(_key(base))
        if found is None:
            if place.create(_key(base), _bytes(new)):
                return new
            continue
        if seen is None or found.data != seen.data:
            seen, since = found, time.monotonic()
        last = LeaseRecord.read(found.data, base)
        ended = last is not None and (last.released or last.token == here)
        if ended or time.monotonic() - since >= (last.seconds if last else seconds):
            kept = {} if last is None else {"epoch": last.epoch + 1, "kept": last.kept, "file": last.file}
            next_one = new.model_copy(update=kept)
            if place.replace(_key(base), _bytes(next_one), found.version):
                return next_one
            continue
        if (waited := time.monotonic() - began) >= say_at:
            on_wait(f"waiting: {base} is being made by {last.owner if last else 'another process'}")
            say_at = waited + max(_SAY_AGAIN_SECONDS, waited)
        time.sleep(min(seconds / 20, 2.0))
    return None


def _fetch(place: Objects, record: LeaseRecord, keep: Path) -> None:
    """What the last owner kept; what this machine has itself is left. What is gone or damaged costs time alone."""
    if record.kept is None or record.file is None or keep.exists():
        return
    try:
        write_atomic(keep, lambda target: target.writelines(place.stream(str(record.kept))))
    except FileNotFoundError:
        return
    if sha256_file(keep) != record.file.sha256:
        _LOGGER.warning("%s is damaged; the work begins afresh", place.url(record.kept))
        keep.unlink()


@dataclass(frozen=True)
class Alone:
    """Work that one machine at a time does.

    Attributes:
        keep: file of the work folder from which the next owner goes on.
        again: it is done although the artefact is there.
    """

    keep: str
    again: bool = False

    @contextmanager
    def held(
        self,
        place: Objects,
        base: str,
        work: Path,
        committed: Callable[[], object],
        on_wait: Callable[[str], None],
    ) -> Iterator[Lease | None]:
        """The lease of an artefact's work folder, see `held`; None where another machine has committed it."""

        def done() -> bool:
            return not self.again and committed() is not None

        signature = work.with_name(f"{work.name}.lease")
        with held(place, base, work / self.keep, signature, done, on_wait) as lease:
            yield lease
