"""The command of `wsis` for configurations: which ship, and what the keys of one are."""

import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from data_contracts.errors import ConfigError, did_you_mean
from wsis.cli.completion import complete_config
from wsis.cli.options import JsonOption, SetOption

if TYPE_CHECKING:  # imports every stage
    from wsis.runs.settings_text import Setting


def configs(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="a configuration or YAML file, to list its keys",
            autocompletion=complete_config,
        ),
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Argument(metavar="[KEY]", help="these keys alone: conditional, or conditional.seed"),
    ] = None,
    diff: Annotated[bool, typer.Option("--diff", help="only what differs from the defaults")] = False,
    as_json: JsonOption = False,
    overrides: SetOption = None,
) -> None:
    """List the configurations that ship, or every key of one: value, default, meaning, bounds.

    Example: wsis configs voc_lite conditional.seed
    """
    if name is None:
        if prefix or diff or as_json or overrides:
            raise ConfigError("wsis configs: expected a NAME beside KEY, --diff, --json or --set, got none")
        _list_shipped()
        return
    import json

    from wsis.runs.config import load_config
    from wsis.runs.settings_text import settings_of

    found = list(settings_of(load_config(name, overrides or ())))
    chosen = _below(found, prefix)
    if diff:
        chosen = [one for one in chosen if one.differs]
    if as_json:
        print(json.dumps([one._asdict() for one in chosen], indent=1))
        return
    for one in chosen:
        print(_text(one))
    print(f"\n{len(chosen)} of {len(found)} keys; change one with --set KEY=VALUE")


def _list_shipped() -> None:
    from wsis.runs.shipped import shipped_benches, shipped_configs, shipped_suites

    for heading, shipped in (
        ("", shipped_configs()),
        ("\nsuites, for `wsis ablations`:", shipped_suites()),
        ("\ndata sets, for `wsis bench`:", shipped_benches()),
    ):
        if heading:
            print(heading)
        for name, path in shipped.items():
            first = next((x for x in path.read_text().splitlines() if x.startswith("#")), "#")
            print(_wrapped(f"{name:16s} {first.lstrip('# ')}", 17))
    print("\nkeys of one: wsis configs NAME")


def _below(found: Sequence["Setting"], prefix: str | None) -> list["Setting"]:
    """Keys in a section, or that begin like the prefix; those of a whole name come before those that go on."""
    if prefix is None:
        return list(found)
    of_name = [one for one in found if f"{one.key}.".startswith(f"{prefix}.")]
    begun = of_name or [one for one in found if one.key.startswith(prefix)]
    if not begun:
        known = {one.key for one in found} | {one.key.rpartition(".")[0] for one in found}
        raise ConfigError(
            f"key {prefix!r}: expected a section or key of the configuration{_hint(prefix, known)}"
        )
    return begun


def _hint(prefix: str, known: set[str]) -> str:
    same = sorted(key for key in known if key.rpartition(".")[2] == prefix)
    return f"; did you mean {' or '.join(map(repr, same))}?" if same else did_you_mean(prefix, known)


def _text(one: "Setting") -> str:
    default = "required" if one.required else f"default {_value(one.default)}"
    state = f"({default})" if one.differs else "(the default)"
    words = [one.meaning.rstrip("."), one.allowed, _effect(one)]
    return f"{one.key}: {_value(one.value)}  {state}\n" + _wrapped("    " + "; ".join(filter(None, words)), 4)


def _effect(one: "Setting") -> str:
    """Whether results depend on a setting, where it is no part of what an artefact is named by."""
    if one.changes_results or one.key == "execution.threads":  # whose meaning says it
        return ""
    return "counts by what is read through it" if one.key.startswith("data.") else "changes no result"


def _value(value: object) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value)


def _wrapped(text: str, indent: int) -> str:
    width = max(40, shutil.get_terminal_size().columns)
    return textwrap.fill(text, width, subsequent_indent=" " * indent, break_on_hyphens=False)
