"""Training the contour network behind the proposals on what people drew; not part of a run."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from data_contracts.atomic import write_atomic
from data_contracts.store import Artefact, Store
from stages.proposals import train_contours
from wsis.apps.output_paths import check_file
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, execute
from wsis.runs.config import validated


class Settings(BaseModel):
    """What `--set` reaches."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    train_contours: train_contours.Config
    execution: Execution = Execution()
    seed: int = Field(0, ge=0, lt=2**31)


@dataclass(frozen=True)
class Trained:
    """The artefact, the model file (in it, or the copy that was asked for), and the overrides that use the file."""

    artefact: Artefact
    model: Path
    use: tuple[str, ...]


def build_settings(data: Path, overrides: Iterable[str]) -> Settings:
    """Validated settings for what was drawn in the folder `data`.

    Raises:
        ConfigError: naming key, expected and got for everything that is wrong.
    """
    return validated(Settings, {"train_contours": {"root": str(data)}}, "settings", overrides)


def train(
    data: Path,
    store: Store,
    overrides: Iterable[str] = (),
    out: Path | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train the contour network, or reuse its artefact if that is intact; with `out` also copy the file there.

    Raises:
        ConfigError, DataError, StoreError: as :func:`build_settings`, the stage and
            :func:`wsis.apps.output_paths.check_file`.
    """
    settings = build_settings(data, overrides)
    if out is not None:
        check_file(out, "--out")
    artefact = execute(
        train_contours.STAGE,
        settings.train_contours,
        {},
        store,
        seed=settings.seed,
        execution=settings.execution,
        progress=progress,
    ).artefact
    file = artefact.file(train_contours.MODEL_NAME)
    if out is not None:
        write_atomic(out, file.read_bytes())
        file = out
    return Trained(artefact, file, ("proposals.contour=learned", f"proposals.contour_model={file}"))
