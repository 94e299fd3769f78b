"""Errors of data, configuration and stores. Each also subclasses the built-in a caller would expect."""

import difflib
from collections.abc import Iterable, Iterator

_NEAR = 0.7  # share of letters in common; below, guesses are of words that mean something else


def origins(error: BaseException) -> Iterator[BaseException]:
    """An error, what it came from, what that came from, and so on; each once, also where one is raised again after what
    came from it."""
    found: BaseException | None = error
    seen = set[int]()
    while found is not None and id(found) not in seen:
        yield found
        seen.add(id(found))
        found = found.__cause__ or found.__context__


class ContractError(Exception):
    """Base of every error raised where data crosses a boundary."""


class DataError(ContractError, ValueError):
    """The user's data is not what its format promises; names file, field, expected and got."""


class ConfigError(ContractError, ValueError):
    """A configuration is wrong; names file, dotted key, expected and got."""


class SchemaError(ContractError, ValueError):
    """A record breaks its schema; names record, field, expected and got."""


class StoreError(ContractError, OSError):
    """A store cannot be read or written."""


class StoreFullError(StoreError):
    """The disk under a store is full. What had been committed is kept."""


class ArtefactMissingError(ContractError, LookupError):
    """An artefact, run or record that was asked for does not exist."""


class CorruptArtefactError(StoreError):
    """An artefact's files do not match its manifest; names each damaged file.

    Attributes:
        what: the message without the remedy.
        files: the damaged ones.
    """

    def __init__(self, what: str, files: tuple[str, ...] = (), remedy: str = "") -> None:
        super().__init__(f"{what}. {remedy}" if remedy else what)
        self.what, self.files = what, files


class LeaseLostError(StoreError):
    """Another machine has taken over what this one was making, because it was silent for too long."""


class LockTimeoutError(ContractError, TimeoutError):
    """Another live process holds the artefact; names its pid and host."""


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like another, whatever the case; None where none is near."""
    names = {one.lower(): one for one in known}
    alike = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.6)
    near = [one for one in alike if _near(name.lower(), one)]
    return names[near[0]] if near else None


def _near(name: str, other: str) -> bool:
    """Whether one is meant by the other: most letters are the same, or all but a letter or two that changed places."""
    same = difflib.SequenceMatcher(None, name, other).ratio()
    return (
        same >= _NEAR
        or sorted(name) == sorted(other)
        or (abs(len(name) - len(other)) == 1 and _in(name, other))
    )


def _in(name: str, other: str) -> bool:
    """Whether the shorter of two words is the longer one without a letter."""
    short, long = sorted((name, other), key=len)
    return any(long[:i] + long[i + 1 :] == short for i in range(len(long)))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint to append to an error: `; did you mean 'demo'?`, or nothing where no name is near."""
    near = nearest_name(name, known)
    return f"; did you mean {near!r}?" if near is not None else ""
