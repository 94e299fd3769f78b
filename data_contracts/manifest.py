"""The manifest of an artefact: written last, so an artefact with a manifest is whole."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

MANIFEST_NAME = "manifest.json"


Count = int | float | str | list[str] | list[int] | list[float] | dict[str, int] | dict[str, float]


class FileEntry(BaseModel):
    """Size and hash of one file of an artefact."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    sha256: str
    bytes: int


class Parent(BaseModel):
    """An artefact that was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    stage: str
    fingerprint: str


class Manifest(BaseModel):
    """What an artefact is, where it came from and what it cost. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
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
