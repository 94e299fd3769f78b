"""What makes the host wait, and what does not, one unit of work each: a script for the pretended device."""

import io

import torch

from tests.gpu.pretend.counts import COUNTS

CPU = torch.arange(4.0)
ON = CPU.to("cuda")
MASK = (CPU > 1).to("cuda")
INDEX = torch.tensor([0, 2])
FILE = io.BytesIO()
torch.save(ON, FILE)


def loaded(**where: str) -> None:
    FILE.seek(0)
    torch.load(FILE, weights_only=True, **where)


def filled(value: object) -> None:
    ON.clone()[MASK] = value  # type: ignore[assignment]


UNITS = {
    "nothing": lambda: (ON + 1, ON * ON, ON[1:], ON.view(2, 2), ON[INDEX.to("cuda")]),
    "item": lambda: ON.sum().item(),
    "if": lambda: bool((ON > 1).any()),
    "tolist": lambda: ON.tolist(),
    "cpu": lambda: ON.cpu(),
    "to": lambda: CPU.to("cuda"),
    "to, non_blocking, pageable": lambda: CPU.to("cuda", non_blocking=True),
    "to, non_blocking, pinned": lambda: CPU.pin_memory().to("cuda", non_blocking=True),
    "to, non_blocking, view of pinned": lambda: CPU.pin_memory()[1:].to("cuda", non_blocking=True),
    "cpu, non_blocking": lambda: ON.to("cpu", non_blocking=True),
    "tensor": lambda: torch.tensor([1.0, 2.0], device="cuda"),
    "zeros": lambda: torch.zeros(3, device="cuda"),
    "nonzero": lambda: MASK.nonzero(),
    "boolean index": lambda: ON[MASK],
    "index of the CPU": lambda: ON[INDEX],
    "fill of a mask": lambda: filled(0.0),
    "scalar into indices": lambda: ON.clone().__setitem__(INDEX.to("cuda"), 1.0),
    "unique": lambda: ON.unique(),
    "bincount": lambda: INDEX.to("cuda").bincount(),
    "equal": lambda: torch.equal(ON, ON),
    "copy_": lambda: ON.clone().copy_(CPU),
    "synchronize": lambda: torch.cuda.synchronize(),
    "inference mode": lambda: torch.inference_mode()(lambda: ON[MASK])(),
    "load": lambda: loaded(),
    "load to the CPU": lambda: loaded(map_location="cpu"),
    "draw": lambda: torch.rand(3, device="cuda"),
    "unordered": lambda: ON.clone().index_add_(0, INDEX.to("cuda"), ON[:2]),
}
for name, act in UNITS.items():
    with COUNTS.counting(name):
        act()
with COUNTS.counting("outer"):
    ON.sum().item()
    with COUNTS.counting("inner"):
        ON.tolist()
