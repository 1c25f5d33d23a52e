import pytest
import torch

from detaux.backbones import build_backbone
from detaux.config.schema import ModelConfig
from detaux.disentangle.model import Disentangler


@pytest.mark.parametrize("architecture", ["resnet18", "resnet18_map"])
def test_disentangler_has_the_layers_of_the_backbone(architecture):
    """With the weights of one, the other gives the same last maps."""
    model = Disentangler(ModelConfig(encoder=architecture, latent=5, subspaces=2), 64).eval()
    backbone = build_backbone("resnet18", 64).eval()
    own = list(backbone.body.state_dict())
    theirs = [value for name, value in model.encoder.state_dict().items() if "fc" not in name][: len(own)]
    backbone.body.load_state_dict(dict(zip(own, theirs, strict=True)))
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        *_, maps = backbone.iterate_maps(images)
        codes = model.encode(images)
        if architecture == "resnet18":
            expected = model.encoder[1].fc(backbone(images))
        else:
            expected = model.encoder[-1](model.encoder[-2](maps))
    assert torch.equal(codes, expected)
