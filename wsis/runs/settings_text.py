"""What the keys of a configuration mean and allow, in words: for `wsis configs NAME` and for errors.

The words come from the models themselves: a field's description, else the section "Attributes" of its class.
"""

import inspect
import re
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import BaseMetadata, Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

_DECIDE_THE_PLAN = ("data.supervision",)  # in no fingerprint, yet it decides which stages there are


class Setting(NamedTuple):
    """One key of a configuration, as plain JSON values.

    Attributes:
        default: None where `required`, and where it is null.
        minimum, maximum: bounds of a number, with what is allowed said in `allowed`.
        changes_results: false for what only decides where, how fast and from which place something runs.
    """

    key: str
    value: Any
    default: Any
    required: bool
    allowed: str
    minimum: float | None
    maximum: float | None
    choices: list[Any] | None
    changes_results: bool
    meaning: str

    @property
    def differs(self) -> bool:
        """Whether it was chosen: it has no default, or is another."""
        return self.required or self.value != self.default


def settings_of(model: BaseModel, above: str = "", changes: bool = True) -> Iterator[Setting]:
    """Every key of a configuration in its order, sections inside sections by dotted keys."""
    dumped = model.model_dump(mode="json")
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        key = above + name
        results = changes and (not _execution_only(info) or key in _DECIDE_THE_PLAN) and key != "execution"
        if isinstance(value, BaseModel):
            yield from settings_of(value, f"{above}{name}.", results)
            continue
        low, high = _bounds(info.metadata)
        yield Setting(
            key=key,
            value=dumped[name],
            default=_plain_default(info),
            required=info.is_required(),
            allowed=allowed(info),
            minimum=low,
            maximum=high,
            choices=_choices(info.annotation),
            changes_results=results,
            meaning=meaning(type(model), name),
        )


def _execution_only(info: FieldInfo) -> bool:
    extra = info.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("execution_only"))


def _plain_default(info: FieldInfo) -> Any:
    default = info.get_default(call_default_factory=False)
    if default is PydanticUndefined:
        return None
    return (
        list(default)
        if isinstance(default, tuple)
        else str(default)
        if isinstance(default, Path)
        else default
    )


def meaning(model: type[BaseModel], name: str) -> str:
    """One line on a field: its description, else what the "Attributes" of its class say."""
    description = model.model_fields[name].description
    if description is not None:
        return " ".join(description.split())
    for owner in model.__mro__:
        if name in vars(owner).get("__annotations__", {}):
            return _documented(inspect.cleandoc(owner.__doc__ or "")).get(name, "")
    return ""


def _documented(text: str) -> dict[str, str]:
    """Name -> meaning, of the lines `name, other: meaning` below "Attributes:"."""
    _, _, attributes = text.partition("Attributes:\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in attributes.splitlines():
        if line and not line.startswith(" "):
            break
        if head := re.match(r"    ([a-z_]+(?:, [a-z_]+)*): (.*)", line):
            names = head[1].split(", ")
            found.update(dict.fromkeys(names, head[2]))
        elif line.strip():
            found.update({name: f"{found[name]} {line.strip()}" for name in names})
    return found


# -- what is allowed -----------------------------------------------------------------------------------------
def allowed(info: FieldInfo) -> str:
    """What a field takes: `a whole number from 1 to 20`, `one of voc, coco`, `a path, or null`. A text of a pattern is
    told by the examples of its field."""
    text = _type_text(info.annotation, info.metadata)
    if not info.examples:
        return text
    return text.replace("text", f"text such as {', '.join(map(str, info.examples))}", 1)


def _type_text(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [m for a in arguments[1:] for m in (a.metadata if isinstance(a, FieldInfo) else [a])]
        return _type_text(arguments[0], [*metadata, *inner])
    if origin in (Union, types.UnionType):
        others = [a for a in arguments if a is not type(None)]
        text = " or ".join(_type_text(a, metadata) for a in others)
        return f"{text}, or null" if len(others) < len(arguments) else text
    if origin is Literal:
        return f"one of {', '.join(str(a) for a in arguments)}"
    if origin in (tuple, list):
        return _list_text(arguments, metadata)
    if annotation in (int, float) and annotation is not bool:
        return _number_text("a whole number" if annotation is int else "a number", metadata)
    return _plain_text(annotation)


def _plain_text(annotation: Any) -> str:
    known = {bool: "true or false", str: "text", Path: "a path"}
    if annotation in known:
        return known[annotation]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"a section of keys out of {', '.join(annotation.model_fields)}"
    return "a value"


def _list_text(arguments: tuple[Any, ...], metadata: Sequence[Any]) -> str:
    if len(arguments) > 1 and arguments[1] is not Ellipsis:
        return f"a list of {len(arguments)} values: {', '.join(_type_text(a) for a in arguments)}"
    each = _type_text(arguments[0])
    least = next((m.min_length for m in metadata if isinstance(m, MinLen)), 0)
    return f"a list, {f'at least {least}, ' if least else ''}of {each} each"


def _number_text(kind: str, metadata: Sequence[Any]) -> str:
    words: dict[type[BaseMetadata], str] = {Ge: "at least", Gt: "above", Le: "at most", Lt: "below"}
    limits = {type(m): m for m in metadata if type(m) in words}
    if Ge in limits and Le in limits:
        return f"{kind} from {limits[Ge].ge} to {limits[Le].le}"
    said = [
        f"{words[c]} {_limit(m)}" for c, m in sorted(limits.items(), key=lambda item: item[0] in (Le, Lt))
    ]
    return " ".join([kind, " and ".join(said)]).strip()


def _limit(metadata: Any) -> Any:
    return next(getattr(metadata, n) for n in ("ge", "gt", "le", "lt") if hasattr(metadata, n))


def _bounds(metadata: Sequence[Any]) -> tuple[Any, Any]:
    low = [_limit(m) for m in metadata if isinstance(m, Ge | Gt)]
    high = [_limit(m) for m in metadata if isinstance(m, Le | Lt)]
    return (low[0] if low else None), (high[0] if high else None)


def _choices(annotation: Any) -> list[Any] | None:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return next((c for a in get_args(annotation) if (c := _choices(a)) is not None), None)
    return None
