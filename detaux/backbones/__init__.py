"""List the backbones by name: feature extractors that disentangling and multi-task training share."""

from collections.abc import Callable

from detaux.backbones.backbone import Backbone
from detaux.backbones.efficientnet import EfficientNetLite0
from detaux.backbones.hrnet import HighResolutionNet
from detaux.backbones.resnet import ResNet18
from detaux.backbones.small_cnn import SmallCnn
from detaux.backbones.vgg import Vgg16

BACKBONES: dict[str, Callable[[int], Backbone]] = {
    "small_cnn": lambda side: SmallCnn(),
    "vgg16": Vgg16,
    "vgg16_bn": lambda side: Vgg16(side, "vgg16_bn"),
    "resnet18": lambda side: ResNet18(),
    "efficientnet_lite0": lambda side: EfficientNetLite0(),
    "hrnet_w18": HighResolutionNet,
    "hrnet_w18_small_v2": lambda side: HighResolutionNet(side, "hrnet_w18_small_v2"),
}


def build_backbone(name: str, side: int) -> Backbone:
    """Build a randomly initialised backbone for images of `side` pixels. Raises UserError if `side` is too small."""
    return BACKBONES[name](side)
