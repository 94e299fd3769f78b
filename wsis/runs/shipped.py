"""Configurations and suites that ship with wsis, by name. Imports nothing heavy: shell completion asks here."""

import socket
from collections.abc import Mapping
from pathlib import Path

import configs
from data_contracts.errors import ConfigError, did_you_mean


def configs_folder() -> Path:
    """Folder of the configurations that ship with wsis."""
    return Path(configs.__path__[0])


def suites_folder() -> Path:
    """Folder of the suites of runs that ship with wsis (:mod:`wsis.apps.suites`)."""
    return configs_folder() / "ablations"


def benches_folder() -> Path:
    """Folder of the suites of data sets that ship with wsis (:mod:`wsis.apps.bench`)."""
    return configs_folder() / "bench"


def shipped_configs() -> dict[str, Path]:
    """Name -> file of the shipped configurations."""
    folder, others = configs_folder(), (suites_folder(), benches_folder())
    files = (p for p in sorted(folder.rglob("*.yaml")) if p.parent not in others)
    return {str(p.relative_to(folder).with_suffix("")): p for p in files}


def shipped_suites() -> dict[str, Path]:
    """Name -> file of the suites that ship with wsis."""
    return {p.stem: p for p in sorted(suites_folder().glob("*.yaml"))}


def shipped_benches() -> dict[str, Path]:
    """Name -> file of the suites of data sets that ship with wsis."""
    return {p.stem: p for p in sorted(benches_folder().glob("*.yaml"))}


def base_beside(path: Path, base: str) -> str:
    """The configuration that a file names as its base: a path from the file where one is there, else a name."""
    beside = path.parent / base
    return str(beside) if beside.is_file() else base


def find_yaml(name_or_path: str, shipped: Mapping[str, Path], what: str) -> Path:
    """The file of a shipped name or of a path.

    Args:
        shipped: name -> file.
        what: the word for it in errors.

    Raises:
        ConfigError: neither; names the nearest shipped name.
    """
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    hint = did_you_mean(Path(name_or_path).name, shipped)
    if path.is_dir():
        hint += f"; of a folder of data: --set data.root={name_or_path}"
    elif path.suffix in (".yaml", ".yml") and not path.exists():
        # it may be on the machine of whoever asks a worker
        hint += f"; {socket.gethostname()} has no {path.absolute()}"
    raise ConfigError(f"{what} {name_or_path!r}: expected a YAML file or one of {', '.join(shipped)}{hint}")
