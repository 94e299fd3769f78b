"""`Execution`: which device and how many threads."""

import pytest
import torch

from data_contracts.errors import ConfigError
from stages.settings import Execution


def test_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Execution(device="cpu").torch_device().type == "cpu"
    assert Execution().torch_device().type == "cpu"
    with pytest.raises(ConfigError, match=r"execution.device: expected a CUDA device because it is 'cuda'"):
        Execution(device="cuda").torch_device()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Execution().torch_device().type == "cuda"


def test_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert Execution().torch_threads() == 3
    assert Execution(threads=5).torch_threads() == 5
    for nothing in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", nothing)
        assert Execution().torch_threads() >= 1
