"""Training the contour network of the proposals on boundaries that people drew; not part of a run."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from data_contracts.atomic import write_atomic
from data_contracts.errors import ConfigError
from data_contracts.store import Artefact, Store
from flows.config import apply_override, describe_problems
from stages import train_contours
from stages.base import Execution, execute
from stages.progress import Progress


class Settings(BaseModel):
    """What `--set` reaches."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    train_contours: train_contours.Config
    execution: Execution = Execution()
    seed: int = 0


def build_settings(data: Path, overrides: Iterable[str]) -> Settings:
    """Validated settings for boundaries in the folder `data`.

    Raises:
        ConfigError: naming key, expected and got for everything that is wrong.
    """
    tree: dict[str, Any] = {"train_contours": {"root": str(data)}}
    for override in overrides:
        apply_override(tree, override)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        lines = "\n".join(f"  {line}" for line in describe_problems(error, Settings))
        raise ConfigError(f"settings: {error.error_count()} problem(s)\n{lines}") from error


def train(
    data: Path,
    store: Store,
    overrides: Iterable[str] = (),
    out: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Artefact, Path]:
    """The artefact of `train_contours` (reused if intact) and the model file: in it, or its copy at `out`.

    Raises:
        ConfigError, DataError: as :func:`build_settings` and the stage.
    """
    settings = build_settings(data, overrides)
    outcome = execute(
        train_contours.STAGE,
        settings.train_contours,
        {},
        store,
        seed=settings.seed,
        execution=settings.execution,
        progress=progress,
    )
    model = outcome.artefact.file(train_contours.MODEL_NAME)
    if out is None:
        return outcome.artefact, model
    write_atomic(out, model.read_bytes())
    return outcome.artefact, out
