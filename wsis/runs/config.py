"""One YAML a run: loaded, overridden by dotted keys, validated; errors name file, key, expected and got."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data_contracts.errors import ConfigError
from data_contracts.runs import RunRecord
from data_contracts.yaml_text import parse_yaml, read_yaml_file
from stages.conditional.conditional import Config as ConditionalConfig
from stages.conditional.pseudo_labels import Config as PseudoLabelsConfig
from stages.data.dataset import Config as DataConfig
from stages.evaluation.evaluation import Config as EvaluationConfig
from stages.prediction.prediction import Config as PredictionConfig
from stages.prm.prm_baseline import BaselineConfig
from stages.prm.prm_classifier import Config as ClassifierConfig
from stages.prm.prm_seeds import Config as SeedsConfig
from stages.proposals.proposals import ProposalSettings
from wsis.engine.stage import Execution
from wsis.method.prediction.settings import PredictSettings
from wsis.runs.config_problems import config_error
from wsis.runs.shipped import find_yaml, shipped_configs
from wsis.views.stored_configs import current_config, from_earlier

Settings = TypeVar("Settings", bound=BaseModel)
_LOGGER = logging.getLogger("wsis.runs.config")


class RunConfig(BaseModel):
    """Everything that decides a run. Each section is the Config beside its stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    data: DataConfig = DataConfig()
    prm_classifier: ClassifierConfig = ClassifierConfig()
    prm_seeds: SeedsConfig = SeedsConfig()
    proposals: ProposalSettings = ProposalSettings()
    prm_baseline: BaselineConfig = BaselineConfig()
    conditional: ConditionalConfig = ConditionalConfig()
    pseudo_labels: PseudoLabelsConfig = PseudoLabelsConfig()
    prediction: PredictionConfig = PredictionConfig()
    predictions: PredictSettings = PredictSettings()
    evaluation: EvaluationConfig = EvaluationConfig()
    outer_iterations: int = Field(4, ge=1, le=20, description="T of the alternation (paper: 4)")
    evaluate: bool = Field(True, description="false for data without masks: no mAP, the same training")
    ceiling: bool = Field(
        False, description="also train the prediction network on true masks, for measuring only"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="of everything that is drawn at random")
    execution: Execution = Execution()

    def prediction_by_gamma(self) -> PredictionConfig:
        """The section `prediction`, with 1 - gamma for the weight of its own diversity (eq. 21) where that is null."""
        if self.prediction.self_diversity is not None:
            return self.prediction
        return self.prediction.model_copy(update={"self_diversity": 1 - self.conditional.gamma})

    @model_validator(mode="after")
    def _ceiling_is_measured(self) -> Self:
        if self.ceiling and not (self.evaluate and self.data.train_split and self.data.val_split):
            raise ValueError(
                "ceiling: expected evaluate=true and both splits because it is for measuring only, got "
                f"evaluate={self.evaluate}, train_split={self.data.train_split}, val_split={self.data.val_split}"
            )
        return self


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file of sections.

    Raises:
        ConfigError: not YAML (see :func:`data_contracts.yaml_text.parse_yaml`), or not a mapping; names the file.
    """
    return _mapping(read_yaml_file(path), str(path))


def load_config(name_or_path: str, overrides: Iterable[str] = ()) -> RunConfig:
    """A validated configuration. A file that names a `base`, shipped or by its path from the file, says what differs.

    Args:
        overrides: `dotted.key=value`, the value read as YAML.

    Raises:
        ConfigError: naming file, dotted key, expected and got for everything that is wrong.
    """
    path = find_yaml(name_or_path, shipped_configs(), "config")
    return build_config(_with_base(path), str(path), overrides)


def _with_base(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The sections of a file laid over those of its `base`, if it names one.

    Raises:
        ConfigError: no such base, or it leads back to the file.
    """
    tree = read_yaml(path)
    base, chain = tree.pop("base", None), (*above, path.resolve())
    if base is None:
        return tree
    where = f"{path}: base"
    if not isinstance(base, str):
        raise ConfigError(f"{where}: expected the name or path of a configuration, got {base!r:.200}")
    named = base if base in shipped_configs() else str(path.parent / base)
    try:
        below = find_yaml(named, shipped_configs(), "config")
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    if below.resolve() in chain:
        raise ConfigError(f"{where}: expected another configuration, got {base}, which is based on this one")
    return _laid_over(_with_base(below, chain), tree)


def _laid_over(below: Mapping[str, Any], tree: Mapping[str, Any]) -> dict[str, Any]:
    """`tree` where it says something, sections inside sections too; else what `below` says."""
    both = dict(below)
    for key, value in tree.items():
        old = below.get(key)
        both[key] = _laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both


def _mapping(tree: Any, where: str) -> dict[str, Any]:
    if not isinstance(tree, dict):
        raise ConfigError(f"{where}: expected a mapping of sections, got {type(tree).__name__}")
    return tree


def build_config(tree: Any, where: str, overrides: Iterable[str] = ()) -> RunConfig:
    """The configuration of a run in a tree of plain values, as :func:`validated`.

    Keys of an earlier version that mean the same now are taken, with a warning that says what to write.
    """
    changes = list(overrides)
    before, of_file = from_earlier(_mapping(tree, where))
    changed, earlier = from_earlier(_overridden(tree, changes))
    if earlier:
        said = where if of_file else "--set"
        _LOGGER.warning("%s: settings of an earlier version are taken: %s", said, "; ".join(earlier))
    return _checked(RunConfig, changed, before, where, changes)


def stored_config(record: RunRecord, overrides: Iterable[str] = ()) -> RunConfig:
    """The configuration of a stored run, of an earlier version too (:mod:`wsis.views.stored_configs`).

    Raises:
        ConfigError: as :func:`validated`; or it uses an option that this version does not have.
    """
    where = f"run {record.name}"
    return build_config(current_config(record.config, where), where, overrides)


def validated(
    settings: type[Settings], tree: Mapping[str, Any], where: str, overrides: Iterable[str] = ()
) -> Settings:
    """A tree of plain values with overrides (see :func:`apply_override`) as `settings`.

    Raises:
        ConfigError: naming `where` or the override, dotted key, expected and got for everything that is wrong.
    """
    changes = list(overrides)
    return _checked(settings, _overridden(tree, changes), tree, where, changes)


def _checked(
    settings: type[Settings],
    changed: Mapping[str, Any],
    before: Mapping[str, Any],
    where: str,
    changes: Sequence[str],
) -> Settings:
    """`changed` as `settings`; an error tells what `before`, the tree without the overrides, has wrong already."""
    try:
        return settings.model_validate(changed)
    except ValidationError as error:
        raise config_error(error, settings, where, before, changes) from error


def _overridden(tree: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    changed = deepcopy(dict(tree))
    for override in overrides:
        apply_override(changed, override)
    return changed


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Set `dotted.key=value` in a tree of plain values.

    Raises:
        ConfigError: no '=', an empty key, a value that is not YAML, or a key below something that is no section.
    """
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"--set {override!r}: expected dotted.key=value")
    value = parse_yaml(text, f"--set {override!r:.200}: the value")
    node = tree
    for i, part in enumerate(parts[:-1]):
        child = node.get(part)
        if child is None:
            child = node[part] = {}
        if not isinstance(child, dict):
            raise ConfigError(
                f"--set {override!r}: '{'.'.join(parts[: i + 1])}' is no section but {child!r:.200}"
            )
        node = child
    node[parts[-1]] = value
