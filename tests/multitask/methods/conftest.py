"""Methods that are ready to take steps, without a trial around them."""

import pytest
import torch

from detaux.config.schema import EngineConfig, MultitaskConfig
from detaux.multitask.batches import TaskBatch, TrainingData, iterate_stream
from detaux.multitask.fit import train_trial
from detaux.multitask.methods import build_method
from detaux.multitask.methods.base import TaskSpec
from detaux.multitask.trial import Trial


class Started:
    """A method of float64 weights with players and streams, on images whose brightness is the class."""

    def __init__(self, name, classes, count=24, auxiliary=None, weight=0.5, total=100, **changes):
        torch.manual_seed(0)
        settings = {"head_hidden": 8, "batch_size": 8, "dropout": 0.5, **changes}
        self.config = MultitaskConfig(**settings)
        self.method = build_method(name, TaskSpec(self.config, 16, classes, weight)).double()
        generator = torch.Generator().manual_seed(1)
        principal = torch.arange(count) % classes[0]
        images = torch.randint(0, 120, (count, 16, 16, 3), generator=generator)
        images[:, :8] += (principal * 60)[:, None, None, None]
        self.data = TrainingData(images.to(torch.uint8), principal, auxiliary, classes, noise=0.0)
        self.players = self.method.list_players()
        for player in self.players:
            player.start(
                EngineConfig(),
                torch.device("cpu"),
                lambda step: 1 - step / total,
                differentiates_twice=self.method.differentiates_twice,
            )

    @property
    def streams(self):
        return [
            map(to_double, iterate_stream(self.data, stream, self.config.batch_size, number))
            for number, stream in enumerate(self.method.list_streams(self.data))
        ]

    def draw(self):
        return [next(stream) for stream in self.streams]

    def catch_gradients(self, number):
        """The gradients of a player's parameters at its next step, which is then not taken: [] until then."""
        player, caught = self.players[number], []
        player.step = lambda: caught.extend(value.grad.clone() for value in player.module.parameters())
        return caught


def to_double(batch):
    return TaskBatch(batch.images.double(), batch.labels, batch.mean_size)


@pytest.fixture
def start_method():
    """start_method(name, classes, **settings of multitask)"""
    return Started


def draw_quadrants(count, seed, side=32):
    """Noisy images with a bright quadrant, which is the class, in one of three colours, which are the hidden task."""
    generator = torch.Generator().manual_seed(seed)
    principal, hidden = (torch.randint(classes, (count,), generator=generator) for classes in (4, 3))
    images = torch.randint(0, 110, (count, side, side, 3), generator=generator)
    half = side // 2
    for image, place, colour in zip(images, principal.tolist(), hidden.tolist(), strict=True):
        top, left = half * (place // 2), half * (place % 2)
        image[top : top + half, left : left + half, colour] += 90
    return images.to(torch.uint8), principal, hidden


@pytest.fixture
def learn():
    """learn(name, labels, seed, **settings): validation row of a trial on 96 images of 32 pixels, in passes of 6 steps."""

    def train(name, labels, seed, **settings):
        config = MultitaskConfig(batch_size=16, decay="none", dropout=0.0, head_hidden=32, **settings)
        images, principal, hidden = draw_quadrants(96, seed)
        auxiliary, classes = (hidden, [4, 3]) if labels == "discovered" else (None, [4])
        data = TrainingData(images, principal, auxiliary, classes, noise=0.0)
        held_out = draw_quadrants(200, 100 + seed)[:2]
        _, best, _ = train_trial(
            Trial(name, labels, 1.0 if labels == "discovered" else 0.0, seed), config, data, held_out
        )
        return best

    return train
