"""The contour network's weights: those that ship with wsis, and files of the user's own training."""

import io
from pathlib import Path

import torch

from wsis.method.backbones import load_strictly
from wsis.method.backbones.weights import read_state
from wsis.method.placement import placed
from wsis.method.proposals.contours.network import ContourNetwork

SHIPPED_MODEL = Path(__file__).parent / "models" / "contours_bsds500.pt"
SHIPPED_SHA256 = "51b64ebb7d952e43a9ebf4293e54e49aafe0ab0684d50fdc926aff7cb637ad7f"


def encode_weights(network: ContourNetwork) -> bytes:
    """The file of :func:`load_network`: a state dict in fp16."""
    buffer = io.BytesIO()
    state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    torch.save({n: v.half() if v.is_floating_point() else v for n, v in state.items()}, buffer)
    return buffer.getvalue()


def load_network(path: Path | None = None) -> ContourNetwork:
    """The contour network in evaluation mode.

    Args: path: a file of :func:`encode_weights`; by default the shipped one.

    Raises:
        MissingWeightsError: the file is absent, damaged, of another network or (shipped) of another hash.
    """
    spec = f"{SHIPPED_MODEL}#sha256={SHIPPED_SHA256}" if path is None else str(path)
    state, source = read_state(spec)
    network = ContourNetwork(None)
    load_strictly(network, {name: value.float() for name, value in state.items()}, source, lambda key: False)
    return placed(network.eval().requires_grad_(False), "cpu")
