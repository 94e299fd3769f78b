"""The script of docker/, which is no package."""

import sys
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

DOCKER = Path(__file__).resolve().parents[1] / "docker"


@cache
def loopback_script() -> ModuleType:
    """docker/loopback.py."""
    spec = spec_from_file_location("loopback", DOCKER / "loopback.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{DOCKER / 'loopback.py'} cannot be loaded")
    module = module_from_spec(spec)
    sys.modules["loopback"] = module
    spec.loader.exec_module(module)
    return module
