import copy
import dataclasses
import json
from pathlib import Path

import pytest
import torch

from detaux.config.schema import AuxilearnConfig, MaxlConfig, MultitaskConfig
from detaux.errors import NonFiniteLossError, UserError
from detaux.multitask.batches import TrainingData
from detaux.multitask.fit import train_trial
from detaux.multitask.methods import find_method
from detaux.multitask.networks.hard_sharing import HardSharingNetwork
from detaux.multitask.trial import Trial

PROGRAM = Path(__file__).with_name("rank_trials.py")
CONFIG = MultitaskConfig(epochs=4, batch_size=16, dropout=0.1, head_hidden=32)


def build_data(auxiliary=None, count=96, seed=0):
    """Images whose brightness is the principal class and whose lower half's brightness is the hidden one."""
    generator = torch.Generator().manual_seed(seed)
    principal = torch.randint(2, (count,), generator=generator)
    images = torch.randint(0, 120, (count, 16, 16, 3), generator=generator)
    images[:, :8] += (principal * 90)[:, None, None, None]
    classes = [2] if auxiliary is None else [2, int(auxiliary.max()) + 1]
    known = torch.where(torch.arange(count) % 2 == 0, principal, -1)
    return TrainingData(images.to(torch.uint8), known, auxiliary, classes, noise=0.0)


def train(trial, data, config=CONFIG):
    return train_trial(trial, config, data, hold_out())


def hold_out():
    data = build_data(seed=9)
    return data.images[data.labelled], data.principal[data.labelled]


def test_hard_sharing_of_one_task_equals_stl_bitwise():
    one, _, _ = train(Trial("stl", "none", 0.0, 3), build_data())
    two, _, _ = train(Trial("hard_sharing", "none", 0.7, 3), build_data())
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())


def test_training_learns_the_principal_task():
    _, best, curve = train(Trial("stl", "none", 0.0, 0), build_data(), dataclasses.replace(CONFIG, epochs=8))
    assert best["accuracy"] > 0.9
    assert len(curve) == 8
    assert best["accuracy"] == max(row["accuracy"] for row in curve)


def test_few_labelled_images_are_passed_over_until_there_are_enough_steps():
    config = dataclasses.replace(CONFIG, epochs=2, least_steps=10)  # 48 labelled images: 3 steps a pass
    assert len(train(Trial("stl", "none", 0.0, 0), build_data(), config)[2]) == 4
    assert len(train(Trial("stl", "none", 0.0, 0), build_data(), dataclasses.replace(config, epochs=5))[2]) == 5


@pytest.mark.parametrize(("keep", "epoch"), [("best", 3), ("last", 5)])
def test_kept_epoch_is_the_last_or_the_most_accurate_and_of_those_the_one_of_the_lowest_loss(monkeypatch, keep, epoch):
    scores = [(0.5, 1.0), (0.8, 0.4), (0.8, 0.3), (0.6, 0.1), (0.8, 0.9)]
    states = []

    def score(network, *_):
        states.append(copy.deepcopy(network.state_dict()))
        return dict(zip(("accuracy", "loss"), scores[len(states) - 1], strict=True))

    monkeypatch.setattr("detaux.multitask.fit.evaluate", score)
    kept, best, curve = train(
        Trial("stl", "none", 0.0, 0), build_data(), dataclasses.replace(CONFIG, epochs=5, keep=keep)
    )
    accuracy, loss = scores[epoch - 1]
    assert best.items() >= {"epoch": epoch, "accuracy": accuracy, "loss": loss}.items()
    assert [(row["accuracy"], row["loss"]) for row in curve] == scores
    for number, state in enumerate(states, start=1):
        is_kept = all(torch.equal(value, state[name]) for name, value in kept.state_dict().items())
        assert is_kept == (number == epoch)


def test_diverged_training_names_the_trial():
    with pytest.raises(NonFiniteLossError, match="stl-none-0-seed0.*multitask.lr"):
        train(Trial("stl", "none", 0.0, 0), build_data(), dataclasses.replace(CONFIG, lr=1e30))


def test_uncertainty_weights_leave_their_start():
    auxiliary = torch.arange(96) % 4
    config = dataclasses.replace(CONFIG, epochs=8)
    moved = train(Trial("hard_sharing+uncertainty", "discovered", 1.0, 5), build_data(auxiliary=auxiliary), config)[2]
    fixed = train(Trial("hard_sharing", "discovered", 1.0, 5), build_data(auxiliary=auxiliary), config)[2]
    assert abs(moved[-1]["loss"] - fixed[-1]["loss"]) > 1e-3


@pytest.mark.parametrize(
    ("method", "labels"),
    [("hard_sharing", "discovered"), ("hard_sharing+uncertainty", "discovered"), ("hard_sharing", "rotation")],
)
def test_every_method_moves_the_auxiliary_head(method, labels):
    auxiliary = torch.arange(96) % 4
    torch.manual_seed(5)
    before = HardSharingNetwork(CONFIG, 16, [2, 4]).heads[1][3].weight.clone()
    config = dataclasses.replace(CONFIG, weight_decay=0.0)  # which would move it too
    network, _, _ = train(Trial(method, labels, 1.0, 5), build_data(auxiliary=auxiliary), config)
    assert not torch.equal(network.heads[1][3].weight, before)


def test_batches_of_one_image_are_refused_for_batch_normalisation():
    config = dataclasses.replace(CONFIG, batch_size=1, backbone="resnet18")
    with pytest.raises(UserError, match=r"backbone=resnet18 and multitask\.batch_size=1: some batches have one image"):
        train(Trial("stl", "none", 0.0, 0), build_data(), config)


def test_single_held_out_image_is_refused_for_batch_normalisation():
    """Of the first class there are two labelled images, of the second one, so one image is held out."""
    data = build_data(count=3)
    data = dataclasses.replace(data, principal=torch.tensor([0, 0, 1]))
    config = dataclasses.replace(CONFIG, backbone="resnet18", auxilearn=AuxilearnConfig(every=1))
    with pytest.raises(UserError, match=r"^auxilearn with .* some batches have one image.*auxilearn\.held_out"):
        train(Trial("auxilearn", "none", 0.0, 0), data, config)


def test_loss_that_would_never_be_trained_is_refused():
    config = dataclasses.replace(CONFIG, auxilearn=AuxilearnConfig(every=30))  # 48 labelled images: 3 steps a pass
    with pytest.raises(UserError, match=r"auxilearn\.every=30 is more than the 12 steps of a trial"):
        train(Trial("auxilearn", "none", 0.0, 0), build_data(), config)


def test_generator_that_diverges_ends_with_the_keys_to_lower():
    settings = MaxlConfig(virtual_lr_factor=1e36)
    with pytest.raises(NonFiniteLossError, match=r"lower multitask\.lr or multitask\.maxl\.virtual_lr_factor"):
        train(Trial("maxl", "none", 0.0, 0), build_data(), dataclasses.replace(CONFIG, maxl=settings))


NEEDS_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_GPU)])
@pytest.mark.parametrize("method", ["hard_sharing+gradnorm", "nddr", "maxl", "auxilearn", "auxilearn_combine"])
def test_method_with_a_step_of_its_own_trains_on_the_device(method, device):
    reads = find_method(method).reads_labels
    data = build_data(auxiliary=torch.arange(96) % 4 if reads else None)
    moved = {name: getattr(data, name).to(device) for name in ("images", "principal", *(["auxiliary"] * reads))}
    data, held_out = dataclasses.replace(data, **moved), tuple(one.to(device) for one in hold_out())
    trial = Trial(method, "discovered" if reads else "none", 0.5, 5)
    config = dataclasses.replace(CONFIG, epochs=1, auxilearn=AuxilearnConfig(every=1))
    network, best, _ = train_trial(trial, config, data, held_out)
    assert next(network.parameters()).device.type == device
    assert 0 < best["loss"] < 3


@pytest.fixture(scope="module")
def curves(start_ranks_for_module):
    """What rank_trials.py prints for each engine: on one process, and on the first of two ranks."""
    found = {}
    for engines in (["single"], ["ddp", "deepspeed"]):
        ranks = start_ranks_for_module(len(engines), PROGRAM, *engines)
        outputs = [rank.communicate(timeout=180)[0] for rank in ranks]
        assert [rank.returncode for rank in ranks] == [0] * len(ranks), outputs
        found |= json.loads(outputs[0].splitlines()[-1])
    return found


# DeepSpeed keeps weights in float32
@pytest.mark.parametrize(("engine", "tolerance"), [("ddp", 1e-9), ("deepspeed", 1e-4)])
def test_two_ranks_train_and_measure_as_one_process(curves, engine, tolerance):
    assert curves[engine].keys() == curves["single"].keys()
    for name, curve in curves["single"].items():
        for row, expected in zip(curves[engine][name], curve, strict=True):
            assert row == pytest.approx(expected, rel=tolerance), name
