import pytest
import torch
from safetensors.torch import save_file

from detaux.errors import UserError
from detaux.multitask.backbones import BACKBONES, build_backbone


@pytest.mark.parametrize(
    ("name", "side", "features"),
    [
        ("small_cnn", 16, 128),
        ("small_cnn", 28, 128),
        ("small_cnn", 64, 128),
        ("vgg16", 64, 2048),
        ("vgg16_bn", 32, 512),
        ("resnet18", 32, 512),
        ("resnet18", 64, 512),
    ],
)
def test_backbone_gives_the_published_number_of_features(name, side, features):
    backbone = build_backbone(name, side, None)
    assert backbone.features == features
    assert backbone(torch.zeros(2, 3, side, side)).shape == (2, features)


def test_vgg_refuses_images_it_would_shrink_to_nothing():
    with pytest.raises(UserError, match="at least 32"):
        build_backbone("vgg16", 28, None)


def test_pretrained_weights_are_loaded(tmp_path):
    torch.manual_seed(0)
    donor = BACKBONES["small_cnn"](32)
    save_file(donor.state_dict(), tmp_path / "weights.safetensors")
    backbone = build_backbone("small_cnn", 32, str(tmp_path / "weights.safetensors"))
    assert all(torch.equal(value, donor.state_dict()[name]) for name, value in backbone.body.state_dict().items())


def test_pretrained_weights_that_do_not_fit_are_refused(tmp_path):
    save_file({"other": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match="does not fit small_cnn"):
        build_backbone("small_cnn", 32, str(tmp_path / "weights.safetensors"))
    with pytest.raises(UserError, match="does not exist"):
        build_backbone("small_cnn", 32, str(tmp_path / "none.safetensors"))
