"""What a run's name stands for: its settings and its data. Given others, an existing run refuses and says which."""

from typing import Any, NamedTuple

from data_contracts.errors import ConfigError
from wsis.engine.settings import identity_fields
from wsis.runs.config import RunConfig
from wsis.views.stored_configs import flat

_SHOWN = 10
_CORRECTED = {"data.masks", "data.masks_after", "outer_iterations"}  # what `wsis correct` changes


class Difference(NamedTuple):
    """One thing that is another, as text: `conditional.k`, `5`, `3`."""

    what: str
    before: str
    now: str

    def __str__(self) -> str:
        return f"{self.what}: {self.before} → {self.now}"


def setting_differences(before: RunConfig, now: RunConfig) -> list[Difference]:
    """The settings that decide the result and differ. Settings of where and how fast a run is executed are ignored."""
    old, new = _settings(before), _settings(now)
    if "auto" in (
        before.data.format,
        now.data.format,
    ):  # what it finds is compared by the content of the data
        new["data.format"] = old["data.format"]
    return [
        Difference(key, _text(old.get(key)), _text(new.get(key)))
        for key in dict.fromkeys([*old, *new])  # the same, but for mappings inside
        if old.get(key) != new.get(key)
    ]


def refuse_other_settings(name: str, before: RunConfig, now: RunConfig) -> None:
    """Refuse to go on with run `name`, of settings `before`, under others.

    Raises:
        ConfigError: naming what differs; where that is what `wsis correct` has changed alone, that it was corrected.
    """
    found = setting_differences(before, now)
    if before.data.masks and not now.data.masks and {one.what for one in found} <= _CORRECTED:
        raise ConfigError(
            f"run {name!r} was given masks (wsis correct, data.masks; iteration {before.data.masks_after + 1} is the "
            f"first to learn from them), and this command names none. `wsis run --name {name}` goes on with them; "
            "--name OTHER is a new run; --replace begins anew without them (artefacts that fit are reused)"
        )
    refuse_differences(name, found)


def refuse_differences(name: str, differences: list[Difference], of_data: bool = False) -> None:
    """Refuse to go on with run `name` where it would become another.

    Args:
        of_data: what differs is the data, which the run would go on with however the command names it.

    Raises:
        ConfigError: naming what differs (at most ten of it) and both ways out; nothing where nothing does.
    """
    if not differences:
        return
    shown = "; ".join(str(one) for one in differences[:_SHOWN])
    more = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
    as_it_is = "" if of_data else f"`wsis run --name {name}` goes on as it is configured; "
    taken = "there is now" if of_data else "was given"
    raise ConfigError(
        f"run {name!r} is of other settings or data: {shown}{more}. {as_it_is}--name OTHER is a new run; --replace "
        f"goes on under this name with what {taken} (artefacts that fit are reused)"
    )


def _settings(config: RunConfig) -> dict[str, Any]:
    """Dotted key -> value of every setting that decides the result."""
    tree = identity_fields(config)
    del tree["execution"]
    tree["data"]["supervision"] = (
        config.data.supervision
    )  # in no fingerprint: it decides which stages there are
    tree["data"]["masks"] = len(config.data.masks) > 0  # their content is compared by itself
    tree["data"]["masks_after"] = config.data.masks_after
    return dict(flat(tree))


def _text(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
