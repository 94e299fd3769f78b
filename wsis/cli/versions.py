"""The versions that decide how wsis behaves, without importing what they are of."""

import platform
from importlib import metadata


def version_line() -> str:
    """`wsis 0.1.0 (Python 3.12.3, torch 2.11.0, mmdet 3.3.0, prefect 3.8.8)`."""
    parts = ", ".join(f"{name} {_version(name)}" for name in ("torch", "mmdet", "prefect"))
    return f"wsis {_version('wsis')} (Python {platform.python_version()}, {parts})"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"
