"""Structures of tensors that change their device, and loops that look seldom."""

from dataclasses import dataclass

import pytest
import torch

from wsis.errors import NonFiniteError
from wsis.method import transfers
from wsis.method.finite import FiniteChecks
from wsis.method.transfers import moved, places, rounds_unseen


@dataclass(frozen=True)
class Things:
    one: torch.Tensor
    many: tuple[torch.Tensor, ...]
    named: dict[str, torch.Tensor]
    sparse: torch.Tensor
    note: str = "kept"
    none: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if float(self.one.sum()) < 0:
            raise ValueError("checked once, where it is made")


def things():
    sparse = torch.eye(3).to_sparse().coalesce()
    many = (torch.tensor(2), torch.tensor([True, False]), torch.zeros(0, 4))
    return Things(
        torch.arange(6.0).reshape(2, 3).T, many, {"a": torch.tensor([1, 2], dtype=torch.int8)}, sparse
    )


def test_what_is_there_already_is_kept():
    value = things()
    assert moved(value, "cpu") is value
    assert moved(("no tensor", 3), "meta") == ("no tensor", 3)


def test_all_tensors_cross_and_the_rest_is_kept():
    there = moved([things(), 7], "meta")
    assert there[1] == 7 and there[0].note == "kept" and there[0].none is None
    found = [there[0].one, *there[0].many, there[0].named["a"], there[0].sparse]
    assert {t.device.type for t in found} == {"meta"}
    assert [t.dtype for t in found[1:4]] == [torch.int64, torch.bool, torch.float32]
    assert there[0].one.shape == (3, 2) and there[0].many[2].shape == (0, 4)


def test_bytes_of_many_tensors_are_one_copy(monkeypatch):
    """The packing itself, between the CPU and the CPU."""
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, pin_memory=False, **k: empty(*a, **k))
    tensors = [t for t in [things().one, *things().many, things().named["a"]]]
    copies = transfers._crossed(tensors, torch.device("cpu"))
    for copied, tensor in zip(copies, tensors, strict=True):
        assert copied.dtype == tensor.dtype and torch.equal(copied, tensor)
        assert copied.data_ptr() % 64 == 0 or not copied.numel()
    assert len({copied.untyped_storage().data_ptr() for copied in copies}) == 1


def test_a_single_tensor_is_copied_as_it_lies(monkeypatch):
    empty_like = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda *a, pin_memory=False, **k: empty_like(*a, **k))
    one = things().one.requires_grad_()
    (copied,) = transfers._crossed([one], torch.device("meta"))
    assert (copied.shape, copied.stride(), copied.requires_grad) == (one.shape, one.stride(), False)


def test_a_device_is_given_all_places_and_looked_at_seldom(monkeypatch):
    mask = torch.tensor([[True, False], [False, True]])
    assert [p.tolist() for p in places(mask)] == [[0, 1], [0, 1]]
    assert rounds_unseen(mask) == 1
    monkeypatch.setattr(transfers, "host_waits", lambda tensor: True)
    assert [p.tolist() for p in places(mask)] == [[0, 0, 1, 1], [0, 1, 0, 1]]
    assert rounds_unseen(mask) > 1


def test_the_first_that_is_not_finite_is_named():
    checks = FiniteChecks()
    checks.check()
    for value, name in ((1.0, "good"), (float("nan"), "first"), (float("inf"), "second")):
        checks.add(torch.tensor([0.0, value]), name)
    with pytest.raises(NonFiniteError, match=r"^first$"):
        checks.check()
