"""Weights are found, hashed and complete, or refused by name before anything trains."""


import pytest
import torch

from wsis.backbones import ResNet
from wsis.backbones.weights import LITE0_SHA256, lite0_file, sha256_of


@pytest.fixture
def saved(tmp_path):
    """A ResNet-18 checkpoint as torchvision ships it: with the classifier."""
    state = ResNet(18).state_dict() | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    path = tmp_path / "resnet18.pth"
    torch.save(state, path)
    return path, state


def test_the_packages_file_has_the_recorded_hash():
    assert sha256_of(lite0_file()) == LITE0_SHA256
    assert lite0_file().stem.endswith("-" + LITE0_SHA256[:8])
