"""The manifest of an artefact: written last, so an artefact with a manifest is whole."""

from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from data_contracts.errors import CorruptArtefactError, StoreError
from data_contracts.fingerprint import SCHEMA_VERSION, fingerprint, sha256_file, unseal
from data_contracts.paths import safe_relative
from data_contracts.printable import one_line

MANIFEST_NAME = "manifest.json"
PLACES = ("attempt", "offset")
"""Fields that only stores behind a URL have."""


Count = int | float | str | list[str] | list[int] | list[float] | dict[str, int] | dict[str, float]


class _Placed(BaseModel):
    """Something that says where it lies in a store behind a URL, and nothing of it in a folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_serializer(mode="wrap")
    def _without_absent_places(self, give: SerializerFunctionWrapHandler) -> dict[str, Any]:
        tree: dict[str, Any] = give(self)
        return {name: value for name, value in tree.items() if value is not None or name not in PLACES}


class FileEntry(_Placed):
    """Size and hash of one file of an artefact."""

    sha256: str
    bytes: int
    attempt: str | None = Field(default=None, description="that it was written in, if not the manifest's")
    offset: int | None = Field(default=None, description="where it begins in the pack of that attempt")


class Parent(BaseModel):
    """An artefact that was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    stage: str
    fingerprint: str


class Manifest(_Placed):
    """What an artefact is, where it came from and what it cost. Unknown keys are refused."""

    schema_version: int
    stage: str
    algorithm_version: int
    fingerprint: str
    contract: str
    outer_iteration: int | None
    seed: int
    config: dict[str, Any]
    content: str | None = Field(default=None, description="digest of external content read (the user's data)")
    parents: dict[str, Parent]
    supervision: list[str] = Field(
        description="every source of labels this result depends on, parents included"
    )
    counts: dict[str, Count]
    files: dict[str, FileEntry]
    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    created: str
    code_version: str
    environment: dict[str, str]
    threads: int = Field(
        default=1, ge=1, description="of the arithmetic, where their number decides the result; else 1"
    )
    attempt: str | None = Field(
        default=None,
        description="that committed it behind a URL; None in a folder, and in the layout of 0.2.0",
    )

    def without_places(self) -> "Manifest":
        """As a folder holds it."""
        files = {name: FileEntry(sha256=e.sha256, bytes=e.bytes) for name, e in self.files.items()}
        return self.model_copy(update={"files": files, "attempt": None})

    def identity(self) -> str:
        """The fingerprint that the content gives."""
        parents = {name: parent.fingerprint for name, parent in self.parents.items()}
        return fingerprint(
            self.stage,
            self.algorithm_version,
            self.config,
            parents,
            self.seed,
            self.outer_iteration,
            self.content,
            self.threads,
        )


def parse_manifest(data: bytes, where: str, folder: str) -> Manifest:
    """The manifest in a file's bytes.

    Args:
        where: the file, for messages.
        folder: the name of its folder, which is the fingerprint.

    Raises:
        CorruptArtefactError: damaged, no manifest, or of another fingerprint.
        StoreError: written by another version of wsis.
    """
    tree = unseal(data, where)
    if tree.get("schema_version") != SCHEMA_VERSION:
        raise StoreError(
            f"{where}: expected schema version {SCHEMA_VERSION}, got {tree.get('schema_version')}; "
            "this store was written by another version of wsis"
        )
    try:
        manifest = Manifest.model_validate(tree)
    except ValidationError as error:
        raise CorruptArtefactError(f"{where} is not a manifest: {one_line(error)}", (where,)) from error
    if manifest.fingerprint != folder:
        raise CorruptArtefactError(
            f"{where}: fingerprint {manifest.fingerprint} is not the folder's {folder}", (where,)
        )
    return manifest


def damaged_files(folder: Path, manifest: Manifest) -> list[str]:
    """Each file of an artefact whose bytes are not the manifest's, with what is wrong. Empty: intact."""
    damaged = []
    listed = manifest.files
    for name, entry in listed.items():
        path = folder / safe_relative(name)
        if not path.is_file():
            damaged.append(f"{path}: missing")
        elif path.stat().st_size != entry.bytes:
            damaged.append(f"{path}: expected {entry.bytes} bytes, got {path.stat().st_size}")
        elif (got := _sha256_or_error(path)) != entry.sha256:
            damaged.append(f"{path}: expected sha256 {entry.sha256[:12]}…, got {got[:12]}…")
    present = {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}
    damaged += [f"{folder / n}: not in the manifest" for n in sorted(present - set(listed) - {MANIFEST_NAME})]
    return damaged


def _sha256_or_error(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:  # a bad sector is damage to name, like a wrong hash
        return f"{error.strerror}"
