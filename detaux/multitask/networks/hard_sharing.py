"""Define the network of hard parameter sharing (Caruana, 1997): one backbone, and a head for each task."""

from torch import Tensor, nn

from detaux.backbones import build_backbone
from detaux.backbones.pretrained import load_pretrained
from detaux.config.schema import MultitaskConfig
from detaux.multitask.networks.heads import build_head


class HardSharingNetwork(nn.Module):
    """Map images to the logits of each task through features that all tasks share."""

    def __init__(self, config: MultitaskConfig, side: int, classes: list[int]) -> None:
        super().__init__()
        self.backbone = build_backbone(config.backbone, side)
        if config.pretrained:
            load_pretrained(self.backbone, config.backbone, config.pretrained, "multitask.pretrained")
        self.heads = nn.ModuleList(
            build_head(self.backbone.features, config.head_hidden, config.dropout, count) for count in classes
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        features = self.backbone(images)
        return [head(features) for head in self.heads]
