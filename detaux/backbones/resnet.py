"""Define the ResNet-18 backbone, with torchvision's network (He et al. 2016)."""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from detaux.backbones.backbone import IMAGENET, Published, StagedBackbone

if TYPE_CHECKING:
    from torchvision.models import ResNet


def build_resnet18(classes: int = 1000) -> "ResNet":
    """Build torchvision's ResNet-18 with its classifier, randomly initialised."""
    from torchvision.models import resnet18  # takes seconds to import, and only this architecture needs it

    return resnet18(weights=None, num_classes=classes)


class ResNet18(StagedBackbone):
    """Take ResNet-18 without its classifier: a stem, four layers and a global mean."""

    published = Published(classifier=("fc.",), normalization=IMAGENET)
    channels, strides, features = (64, 64, 128, 256, 512), (4, 4, 8, 16, 32), 512

    def __init__(self) -> None:
        body = build_resnet18()
        body.fc = nn.Identity()
        super().__init__(body)

    @property
    def stages(self) -> list[nn.Module]:
        body = self.body
        stem = nn.Sequential(body.conv1, body.bn1, body.relu, body.maxpool)
        return [stem, body.layer1, body.layer2, body.layer3, body.layer4]

    def pool(self, maps: Tensor) -> Tensor:
        return self.body.avgpool(maps).flatten(1)
