import pytest
import torch

from detaux.backbones import build_backbone
from detaux.errors import UserError


@pytest.mark.parametrize(("name", "side", "features"), [("vgg16_bn", 32, 512), ("vgg16", 224, 25088)])
def test_features_are_the_published_number(name, side, features):
    with torch.device("meta"):  # weights without values: to draw those of VGG16 takes seconds
        assert build_backbone(name, side).features == features


def test_images_that_it_would_shrink_to_nothing_are_refused():
    with pytest.raises(UserError, match="at least 32"):
        build_backbone("vgg16", 28)
