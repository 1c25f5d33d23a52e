import dataclasses

import torch

from detaux.config.schema import MultitaskConfig, StlLongConfig
from detaux.multitask.batches import TrainingData
from detaux.multitask.fit import train_trial
from detaux.multitask.trial import Trial

CONFIG = MultitaskConfig(epochs=3, batch_size=16, head_hidden=8, decay="none")


def train(method, factor):
    images = torch.randint(256, (40, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = TrainingData(images, torch.arange(40) % 2, None, [2], noise=0.0)
    config = dataclasses.replace(CONFIG, stl_long=StlLongConfig(factor))
    return train_trial(Trial(method, "none", 0.0, 0), config, data, (images, torch.arange(40) % 2))


def test_long_training_goes_on_where_the_plain_one_ends():
    _, plain, short = train("stl", 2.5)
    _, best, curve = train("stl_long", 2.5)
    assert curve[:3] == short  # without a decay of the learning rate the first passes are the same
    assert len(curve) == 8
    assert (plain["steps"], best["steps"]) == (9, 24)
