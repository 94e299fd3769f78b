"""Errors of a configuration in plain words. Each says whether the file or a `--set` is to blame."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from data_contracts.errors import ConfigError, nearest_name
from wsis.runs.settings_text import allowed
from wsis.views.stored_configs import became

_SHOWN = 200  # characters of what came
_CALLED_BASE = {
    "_base_",
    "_BASE_",
    "extends",
    "inherit",
    "inherits",
    "inherit_from",
    "defaults",
}  # by other tools


class Problem(NamedTuple):
    """One thing that is wrong: the dotted key, and what was expected and came."""

    key: str
    text: str


def config_error(
    error: ValidationError,
    settings: type[BaseModel],
    where: str,
    tree: Mapping[str, Any],
    overrides: Sequence[str],
) -> ConfigError:
    """The error to raise: one line, or a line for each problem.

    Args:
        settings: what was validated. where: what `tree` was read from.
        tree: the values before the overrides, `dotted.key=value`.
    """
    before = _problems_of(tree, settings) if overrides else []
    lines, heading = [], "--set"
    for problem in problems(error, settings):
        blamed = [] if problem in before else _blamed(problem.key, overrides)
        heading = heading if blamed else where
        lines.append(_line(problem, blamed, where if error.error_count() == 1 else ""))
    if len(lines) == 1:
        return ConfigError(lines[0])
    return ConfigError(f"{heading}: {len(lines)} problems" + "".join(f"\n  {line}" for line in lines))


def _line(problem: Problem, blamed: Sequence[str], where: str) -> str:
    named = f"{problem.key}: {problem.text}" if problem.key else problem.text
    if blamed:
        said = problem.text if _key_of(blamed[0]) == problem.key else named
        return f"{' '.join(f'--set {_key_of(one)}' for one in blamed)}: {said}"
    return f"{where}: {named}" if where else named


def _blamed(key: str, overrides: Sequence[str]) -> list[str]:
    """The overrides that may have caused a problem of `key`: those that set it, a key below it or a section above it;
    all of them if there are none of these."""
    reaching = [o for o in overrides if _reaches(_key_of(o), key)]
    return (
        reaching[-1:] if len(reaching) == 1 or key in map(_key_of, reaching) else reaching or list(overrides)
    )


def _reaches(changed: str, key: str) -> bool:
    return f"{changed}.".startswith(f"{key}.") or f"{key}.".startswith(f"{changed}.") or not key


def _key_of(override: str) -> str:
    return override.partition("=")[0].strip()


def _problems_of(tree: Mapping[str, Any], settings: type[BaseModel]) -> list[Problem]:
    try:
        settings.model_validate(tree)
    except ValidationError as error:
        return list(problems(error, settings))
    return []


def problems(error: ValidationError, settings: type[BaseModel]) -> Iterator[Problem]:
    """Every problem: dotted key, expected, got; the nearest names beside an unknown key."""
    for problem in error.errors():
        location = problem["loc"]
        key = ".".join(str(part) for part in location)
        if problem["type"] == "extra_forbidden":
            yield Problem(key, _unknown(location, settings))
        elif problem["type"] == "missing":
            yield Problem(key, "required, but absent")
        elif problem["type"] == "value_error":  # of our own validators: they say what came
            yield Problem(key, f"{problem['ctx']['error']}")
        else:
            field = _field(settings, location)
            expected = problem["msg"] if field is None else f"expected {allowed(field)}"
            yield Problem(key, f"{expected}, got {_shown(problem['input'])}")


def _shown(value: Any) -> str:
    """A value as it is written in YAML, cut."""
    text = {"None": "null", "True": "true", "False": "false"}.get(repr(value), repr(value))
    return text[:_SHOWN]


def _unknown(location: Sequence[int | str], settings: type[BaseModel]) -> str:
    """The message for an unknown key: what a removed key became; else a similar key of the section; else the same name
    in another section; else all keys of the section."""
    if gone := became(".".join(map(str, location))):
        return gone
    if len(location) == 1 and location[0] in _CALLED_BASE:
        return "unknown key; the key is base"
    names, section = _field_names(settings, location[:-1]), "".join(f"{part}." for part in location[:-1])
    if near := nearest_name(str(location[-1]), names):
        return f"unknown key; did you mean {section + near!r}?"
    elsewhere = [key for key in _keys(settings) if key.rpartition(".")[2] == location[-1]]
    if elsewhere:
        return f"unknown key; did you mean {' or '.join(repr(key) for key in elsewhere)}?"
    return f"unknown key (known: {', '.join(names)})"


def _keys(settings: type[BaseModel], above: str = "") -> Iterator[str]:
    for name, info in settings.model_fields.items():
        yield above + name
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _keys(info.annotation, f"{above}{name}.")


def _field_names(settings: type[BaseModel], location: Iterable[int | str]) -> list[str]:
    model: Any = settings
    for part in location:
        info = getattr(model, "model_fields", {}).get(part)
        model = info.annotation if info is not None else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
    return list(model.model_fields)


def _field(settings: type[BaseModel], location: Sequence[int | str]) -> FieldInfo | None:
    """The field at a location, or the one that holds the list or mapping that the location goes into."""
    model: Any = settings
    info = None
    for part in location:
        found = getattr(model, "model_fields", {}).get(part)
        if found is None:
            return info
        info, model = found, found.annotation
    return info
