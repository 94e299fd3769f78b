"""A case of the corpus: an input that people or bad luck make, and what must come of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        name: unique in the corpus, `kind/what`.
        run: makes the input in an empty folder, reads it, and gives facts of what was read.
        words: the input is refused by a typed error whose message holds all of these.
        facts: the input is accepted, and these are among the facts. Neither: both are right, within the limits.
    """

    name: str
    run: Callable[[Path], Facts]
    words: tuple[str, ...] = ()
    facts: Facts = field(default_factory=dict)


def wrong(case: Case, outcome: Mapping[str, Any]) -> str | None:
    """Why an outcome (see `run_cases`) is not what the case expects; None if it is."""
    kind = outcome["kind"]
    if kind not in ("accepted", "refused"):
        return f"{kind}: {outcome.get('said', '')}"
    if kind == "accepted":
        if case.words:
            return f"accepted, expected a refusal with {case.words}: {outcome['facts']}"
        got = {name: outcome["facts"].get(name) for name in case.facts}
        return None if got == dict(case.facts) else f"expected {dict(case.facts)}, got {got}"
    said = outcome["said"]
    if case.facts:
        return f"refused, expected {dict(case.facts)}: {said}"
    if missing := [word for word in case.words if word not in said]:
        return f"the refusal lacks {missing}: {said}"
    first, *others = said.split("\n")
    if not first or not all(line.startswith("  ") for line in others) or len(said) > 8000:
        return f"not one line (or one and a list): {said[:500]}"
    return None
