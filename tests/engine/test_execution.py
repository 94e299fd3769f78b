"""`Execution`: which device and how many threads."""

import pytest
import torch

from data_contracts.errors import ConfigError
from wsis.engine.settings import Execution


def test_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Execution(device="cpu").torch_device().type == "cpu"
    assert Execution().torch_device().type == "cpu"
    with pytest.raises(ConfigError, match=r"execution.device: expected a CUDA device because it is 'cuda'"):
        Execution(device="cuda").torch_device()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert Execution().torch_device().type == "cuda"
    assert Execution(device="cuda:1").torch_device() == torch.device("cuda", 1)
    with pytest.raises(
        ConfigError, match=r"expected a CUDA device because it is 'cuda:2', but torch .* sees 2;"
    ):
        Execution(device="cuda:2").torch_device()
    for nonsense in ("gpu", "cuda:", "cuda:-1", "cuda:x", "mps"):
        with pytest.raises(ValueError, match="device"):
            Execution(device=nonsense)


def test_threads_do_not_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert Execution().threads == 1
    assert Execution(threads=5).threads == 5
    assert (
        Execution.model_validate({"threads": 0}).threads == 1
    )  # a record of before: the choice was left open
    for nonsense in (-1, 257, "many"):
        with pytest.raises(ValueError, match="threads"):
            Execution(threads=nonsense)
