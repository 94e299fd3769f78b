"""Each mistake that a GPU would show, and its right way, on the device: a script for the pretended one.

Its argument is a file, which gets name -> [what the mistake raised or null, what the right way raised or null].
"""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

DEVICE = "cuda"


def saved() -> io.BytesIO:
    """A tensor of the device in a file."""
    stream = io.BytesIO()
    torch.save(on(3), stream)
    return io.BytesIO(stream.getvalue())


def on(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, device=DEVICE)


def written_into(target: torch.Tensor, value: torch.Tensor) -> None:
    target += value


def conv(device: str) -> torch.Tensor:
    return torch.nn.Conv2d(1, 1, 1).to(device)(on(1, 1, 4, 4))


INDEX = torch.tensor([1, 0])
MISTAKES: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "a tensor made without device": (lambda: on(3) + torch.ones(3), lambda: on(3) + on(3)),
    "concatenation": (lambda: torch.cat([on(2), torch.ones(2)]), lambda: torch.cat([on(2), on(2)])),
    "choice by a mask of the CPU": (
        lambda: torch.where(torch.ones(3, dtype=torch.bool), on(3), on(3)),
        lambda: torch.where(on(3) > 0, on(3), 0.0),
    ),
    "matrix product": (lambda: on(2, 2) @ torch.ones(2, 2), lambda: on(2, 2) @ on(2, 2)),
    "a network left on the CPU": (lambda: conv("cpu"), lambda: conv(DEVICE)),
    "written into a tensor of the CPU": (
        lambda: written_into(torch.ones(2), on(2)),
        lambda: written_into(on(2), on(2)),
    ),
    "gather": (lambda: on(3).gather(0, INDEX), lambda: on(3).gather(0, INDEX.to(DEVICE))),
    "index of the device, tensor of the CPU": (
        lambda: torch.ones(3)[INDEX.to(DEVICE)],
        lambda: on(3)[INDEX],
    ),
    "values of the CPU put into the device": (
        lambda: on(3).index_put_((INDEX,), torch.ones(2)),
        lambda: on(3).index_put_((INDEX,), on(2)),
    ),
    "numpy()": (lambda: on(3).numpy(), lambda: on(3).cpu().numpy()),
    "np.asarray": (lambda: np.asarray(on(3)), lambda: np.asarray(on(3).cpu())),
    "generator of the CPU": (
        lambda: torch.randn(3, device=DEVICE, generator=torch.Generator()),
        lambda: torch.randn(3, device=DEVICE, generator=torch.Generator(DEVICE)),
    ),
    "pinned memory of the device": (lambda: on(3).pin_memory(), lambda: torch.ones(3).pin_memory()),
}


def raised(act: Callable[[], object]) -> str | None:
    try:
        act()
    except (RuntimeError, TypeError) as error:
        return str(error)
    return None


def main() -> None:
    """Try all."""
    found = {name: [raised(wrong), raised(right)] for name, (wrong, right) in MISTAKES.items()}
    Path(sys.argv[1]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
