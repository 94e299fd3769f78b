"""The device guard and the hooks that torch's C++ asks of CUDA: compiled once by g++ and kept."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

_SOURCE = Path(__file__).with_name("native.cpp")
_COMPILE_SECONDS = 300
_FLAGS = ("-shared", "-fPIC", "-O0", "-std=c++20", "-D_GLIBCXX_USE_CXX11_ABI=1")


def missing() -> str | None:
    """Why no device can be pretended here; None where it can."""
    if sys.platform != "linux":
        return "needs Linux"
    if shutil.which("g++") is None:
        return "needs g++"
    if (_torch() / "lib" / "libtorch_cuda.so").exists():
        return "torch is built for CUDA, and has the real parts"
    return None


def load() -> None:
    """Make the parts known to torch, which must not have been imported yet.

    Raises:
        ImportError: it has been.
    """
    if "torch" in sys.modules:
        raise ImportError("tests.gpu.pretend: expected to be loaded before torch, which is imported already")
    library = _compiled()
    ctypes.CDLL(str(_torch() / "lib" / "libtorch_cpu.so"), ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(library))


def _torch() -> Path:
    """torch's folder, found without importing it."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        raise ImportError("tests.gpu.pretend: expected torch to be installed")
    return Path(found.origin).parent


def _compiled() -> Path:
    """The library for this source and this torch, from the cache folder or made now: seconds of one core."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wsis-pretend"
    made_of = _SOURCE.read_bytes() + metadata.version("torch").encode() + " ".join(_FLAGS).encode()
    library = cache / f"native-{hashlib.sha256(made_of).hexdigest()[:16]}.so"
    if library.exists():
        return library
    cache.mkdir(parents=True, exist_ok=True)
    root = _torch()
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        made = Path(folder) / library.name
        subprocess.run(
            [
                *("g++", *_FLAGS, str(_SOURCE), "-o", str(made)),
                *(f"-I{root / 'include'}", f"-L{root / 'lib'}", "-lc10", "-ltorch_cpu"),
            ],
            check=True,
            timeout=_COMPILE_SECONDS,
        )
        os.replace(made, library)  # several processes may make it at once
    return library
