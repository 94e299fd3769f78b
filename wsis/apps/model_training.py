"""Training the models behind the proposals, contour network and ranker, on what people drew; not part of a run."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from data_contracts.atomic import write_atomic
from data_contracts.store import Artefact, Store
from stages.proposals import train_contours, train_ranker
from wsis.apps.output_paths import check_file
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, Stage, execute
from wsis.runs.config import validated

Model = Literal["contours", "ranker"]


class Settings(BaseModel):
    """What `--set` reaches beside the section of the stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    execution: Execution = Execution()
    seed: int = Field(0, ge=0, lt=2**31)


class ContourSettings(Settings):
    """What `--set` reaches of `wsis train-contours`."""

    train_contours: train_contours.Config


class RankerSettings(Settings):
    """What `--set` reaches of `wsis train-ranker`."""

    train_ranker: train_ranker.Config


@dataclass(frozen=True)
class _Recipe:
    """How a model is trained: its stage, its settings, the name of its file, and (configuration, file) -> the
    overrides by which `wsis proposals` takes it."""

    stage: Stage
    settings: type[Settings]
    file_name: str
    use: Callable[[Any, Path], tuple[str, ...]]


@dataclass(frozen=True)
class Trained:
    """The artefact, the model file (in it, or the copy that was asked for), and the overrides that use the file."""

    artefact: Artefact
    model: Path
    use: tuple[str, ...]


def _use_contours(config: train_contours.Config, model: Path) -> tuple[str, ...]:
    return "proposals.contour=learned", f"proposals.contour_model={model}"


def _use_ranker(config: train_ranker.Config, model: Path) -> tuple[str, ...]:
    """A ranker wants the contours that it was trained on."""
    contours = [f"proposals.contour={config.contour}"]
    if config.contour_model is not None:
        contours.append(f"proposals.contour_model={config.contour_model}")
    return (*contours, "proposals.ranking=learned", f"proposals.ranker_model={model}")


_RECIPES: dict[Model, _Recipe] = {
    "contours": _Recipe(train_contours.STAGE, ContourSettings, train_contours.MODEL_NAME, _use_contours),
    "ranker": _Recipe(train_ranker.STAGE, RankerSettings, train_ranker.MODEL_NAME, _use_ranker),
}


def build_settings(model: Model, data: Path, overrides: Iterable[str]) -> Settings:
    """Validated settings for what was drawn in the folder `data`.

    Raises:
        ConfigError: naming key, expected and got for everything that is wrong.
    """
    recipe = _RECIPES[model]
    return validated(recipe.settings, {recipe.stage.name: {"root": str(data)}}, "settings", overrides)


def train(
    model: Model,
    data: Path,
    store: Store,
    overrides: Iterable[str] = (),
    out: Path | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train a model, or reuse its artefact if that is intact; with `out` also copy the file there.

    Raises:
        ConfigError, DataError, StoreError: as :func:`build_settings`, the stage and
            :func:`wsis.apps.output_paths.check_file`.
    """
    recipe, settings = _RECIPES[model], build_settings(model, data, overrides)
    config = getattr(settings, recipe.stage.name)
    if out is not None:
        check_file(out, "--out")
    options: dict[str, Any] = {"seed": settings.seed, "execution": settings.execution, "progress": progress}
    artefact = execute(recipe.stage, config, {}, store, **options).artefact
    file = artefact.file(recipe.file_name)
    if out is not None:
        write_atomic(out, file.read_bytes())
        file = out
    return Trained(artefact, file, recipe.use(config, file))
