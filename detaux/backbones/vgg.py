"""Define the VGG16 backbones of torchvision (Simonyan and Zisserman 2015), with and without batch normalisation."""

from torch import Tensor, nn

from detaux.backbones.backbone import IMAGENET, Published, StagedBackbone, cut
from detaux.config.schema import VGG_MIN_SIDE
from detaux.errors import UserError


class Vgg16(StagedBackbone):
    """VGG16's convolutions with flattened maps. Each stage ends with pooling.

    There are 2,048 features for images of 64 pixels, and 25,088 for 224 pixels.
    """

    # torchvision's classifier is classifier.*, timm's is pre_logits.* and head.*
    published = Published(("features.", "0."), ("classifier.", "pre_logits.", "head."), IMAGENET)
    channels, strides = (64, 128, 256, 512, 512), (2, 4, 8, 16, 32)

    def __init__(self, side: int, name: str = "vgg16") -> None:
        if side < VGG_MIN_SIDE:
            raise UserError(f"the backbone {name} needs data.side of at least {VGG_MIN_SIDE}; it is {side}.")
        import torchvision

        super().__init__(nn.Sequential(getattr(torchvision.models, name)(weights=None).features, nn.Flatten()))
        self.features = self.channels[-1] * (side // self.strides[-1]) ** 2

    @property
    def stages(self) -> list[nn.Module]:
        layers = self.body[0]
        return cut(layers, [place + 1 for place, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)])

    def pool(self, maps: Tensor) -> Tensor:
        return self.body[1](maps)
