"""Define a small convolutional backbone, which is fast on a CPU, for images of 16 to 64 pixels."""

from torch import Tensor, nn

from detaux.backbones.backbone import StagedBackbone, cut

CHANNELS = (32, 64, 96, 128)


class SmallCnn(StagedBackbone):
    """Stack four strided convolutions with group normalisation, and take a global mean."""

    channels, strides, features = CHANNELS, (2, 4, 8, 16), CHANNELS[-1]

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for before, after in zip((3, *CHANNELS), CHANNELS, strict=False):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.ReLU()]
        super().__init__(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()))

    @property
    def stages(self) -> list[nn.Module]:
        return cut(self.body, [3, 6, 9, 12])

    def pool(self, maps: Tensor) -> Tensor:
        return self.body[12:](maps)
