"""Describe how training images change at random. Evaluation sees them as they are."""

from dataclasses import dataclass

from detaux.config.schema import MultitaskConfig


@dataclass(frozen=True)
class Augmentation:
    """Hold the keys of the same names in `multitask`; 0 and False change nothing."""

    crop: int = 0  # pixels
    flip: bool = False
    colour: float = 0.0  # largest relative change of brightness, contrast and saturation
    mixup: float = 0.0  # alpha of the Beta distribution of the mixing weight


NO_AUGMENTATION = Augmentation()


def read_augmentation(config: MultitaskConfig) -> Augmentation:
    return Augmentation(config.crop, config.flip, config.colour, config.mixup)
