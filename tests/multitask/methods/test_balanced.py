"""Balanced draws: groups that are drawn equally often, and what this is for."""

import dataclasses

import pytest
import torch

from detaux.config.schema import MultitaskConfig
from detaux.errors import UserError
from detaux.multitask.batches import TrainingData, iterate_stream
from detaux.multitask.evaluate import evaluate
from detaux.multitask.fit import train_trial
from detaux.multitask.methods.balanced import repeat_to_balance
from detaux.multitask.trial import Trial
from detaux.multitask.trials import list_trials

CONFIG = MultitaskConfig(least_steps=200, batch_size=32, head_hidden=16, keep="last", lr=3e-3)


def test_smaller_groups_are_repeated_until_they_are_as_large_as_the_largest():
    groups = torch.tensor([7, 7, 7, 7, 7, 2, 2, 9])
    assert repeat_to_balance(groups).tolist() == [5, 6, 5, 6, 5, 0, 1, 2, 3, 4, 7, 7, 7, 7, 7]
    assert repeat_to_balance(torch.zeros(3)).tolist() == [0, 1, 2]


def draw(count, share, seed):
    """Pictures whose class is a faint pattern, and whose colour follows the class in a share of them."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(count) % 2
    colour = torch.where(torch.rand(count, generator=generator) < share, label, 1 - label)
    images = torch.randint(100, 140, (count, 8, 8, 3), generator=generator)
    images[:, ::2] += 16 * (2 * label - 1)[:, None, None, None]
    images[:, 1::2] -= 16 * (2 * label - 1)[:, None, None, None]
    images[..., 0] += 60 * (2 * colour - 1)[:, None, None]
    return images.to(torch.uint8), label, colour


def test_a_colour_that_follows_the_class_is_not_leant_on():
    images, label, colour = draw(400, 0.96, 0)
    data = TrainingData(images, label, colour, [2, 2], noise=0.0)
    pictures, classes, colours = draw(400, 0.5, 1)
    apart = classes != colours
    found = {}
    for method, labels, classes_of in (("stl", "none", [2]), ("balanced", "discovered", [2, 2])):
        network, row, _ = train_trial(
            Trial(method, labels, 1.0, 0), CONFIG, dataclasses.replace(data, classes=classes_of), (pictures, classes)
        )
        found[method] = evaluate(network, pictures[apart], classes[apart], 0.0)["accuracy"]
        assert row["steps"] == 208
        assert len(network(torch.zeros(2, 3, 8, 8))) == 1
    assert found["balanced"] > found["stl"] + 0.1
    assert found["balanced"] > 0.9


def test_draws_are_balanced_over_known_classes_only(start_method):
    started = start_method("balanced", [2, 3], count=40, auxiliary=torch.arange(40) // 20)
    principal = torch.where(torch.arange(40) < 30, started.data.principal, -1)
    data = dataclasses.replace(started.data, principal=principal)
    (stream,) = started.method.list_streams(data)
    assert (data.principal[stream.indices] >= 0).all()
    groups = 2 * data.auxiliary[stream.indices] + data.principal[stream.indices]
    assert groups.bincount().tolist() == [10, 10, 10, 10]
    assert set(next(iterate_stream(data, stream, 8, 0)).labels) == {0}


def test_there_is_one_trial_on_each_kind_of_labels_and_turns_are_refused():
    config = MultitaskConfig(methods=["balanced"], control_methods=["balanced"], controls=["oracle"], oracle="hue")
    trials = list_trials(config, [0])
    assert [one.setting for one in trials if one.method == "balanced"] == [
        ("balanced", "discovered", 1.0),
        ("balanced", "oracle", 1.0),
    ]
    assert [one.kind for one in trials if one.method == "balanced"] == ["method", "upper_bound"]
    with pytest.raises(UserError, match="control_methods has balanced, which needs the labels of all tasks"):
        list_trials(dataclasses.replace(config, controls=["rotation"]), [0])
