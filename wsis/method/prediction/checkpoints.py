"""Weights as MMDetection reads and writes them, read without running code from them."""

import io
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsis.errors import InputError, MissingWeightsError


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint with a `state_dict`.

    Raises:
        MissingWeightsError: absent, truncated, or holding objects that only code could rebuild.
    """
    if not path.is_file():
        raise MissingWeightsError(f"checkpoint {path}: no such file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise MissingWeightsError(
            f"checkpoint {path}: expected tensors and plain values, but it asks to run code or is damaged "
            f"({_reason(error)})"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise MissingWeightsError(
            f"checkpoint {path}: truncated or no checkpoint ({str(error).splitlines()[0]})"
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), Mapping):
        raise MissingWeightsError(f"checkpoint {path}: expected a dict with 'state_dict'")
    return checkpoint


def _reason(error: Exception) -> str:
    """What torch's long message says was refused."""
    text = " ".join(str(error).split())
    return text.partition("WeightsUnpickler error: ")[2][:160] or text[:160]


def encode_weights(state: Mapping[str, Tensor], classes: Sequence[str]) -> bytes:
    """A checkpoint of weights with the class names, as MMDetection reads it."""
    buffer = io.BytesIO()
    weights = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    torch.save(
        {"meta": {"dataset_meta": {"classes": tuple(classes)}}, "state_dict": weights},
        buffer,
    )
    return buffer.getvalue()


def classes_of(checkpoint: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The class names a checkpoint was trained on, if it tells."""
    meta = checkpoint.get("meta", {})
    known = (meta.get("dataset_meta") or {}).get("classes")
    return None if known is None else tuple(known)


def check_classes(checkpoint: Mapping[str, Any], classes: Sequence[str], path: Path) -> None:
    """InputError naming both lists unless the checkpoint is of these classes in this order."""
    known = classes_of(checkpoint)
    if known != tuple(classes):
        raise InputError(
            f"checkpoint {path}: expected the run's classes {list(classes)}, "
            f"got {'no class list' if known is None else list(known)}"
        )


def load_detector_weights(model: nn.Module, path: Path, classes: Sequence[str]) -> None:
    """Copy a checkpoint's weights into a detector; every tensor must be there, none too many.

    Raises:
        MissingWeightsError: unreadable, or weights of another network, naming the first that differs.
        InputError: another class list.
    """
    checkpoint = read_checkpoint(path)
    check_classes(checkpoint, classes, path)
    state, own = checkpoint["state_dict"], model.state_dict()
    for name, tensor in own.items():
        if name not in state:
            raise MissingWeightsError(f"checkpoint {path}: no tensor '{name}'")
        if state[name].shape != tensor.shape:
            raise MissingWeightsError(
                f"checkpoint {path}: '{name}' expected shape {tuple(tensor.shape)}, "
                f"got {tuple(state[name].shape)}"
            )
    if extra := sorted(set(state) - set(own)):
        raise MissingWeightsError(f"checkpoint {path}: '{extra[0]}' is no tensor of {type(model).__name__}")
    model.load_state_dict(state)
