"""Which images of the training split are hard, and how a batch of the warm-up draws from them."""

import dataclasses
import gc
import shutil

import pytest
import torch

from detaux.config import load_config
from detaux.data.sample_table import SampleTable
from detaux.data.stream import SampleStream
from detaux.disentangle import hard_images
from detaux.disentangle.hard_images import HardImages, find_hard_images
from detaux.disentangle.phases import WarmupPhase, warmup
from detaux.disentangle.train import run_disentangle
from detaux.runtime.checkpoint import list_checkpoints
from tests.disentangle.test_train import assert_same_weights

CPU = torch.device("cpu")
KEYS = (
    "model.conditional=true",
    "model.latent=6",
    "model.subspaces=3",
    "disentangle.hard_fraction=0.5",
    "disentangle.warmup.batch_size=20",
    "disentangle.warmup.steps=6",
    "disentangle.main.steps=0",
    "disentangle.checkpoint_interval=2",
    "disentangle.keep_checkpoints=9",
    "run.threads=1",
)


@pytest.fixture(autouse=True)
def _train_small_networks_shortly(monkeypatch):
    monkeypatch.setattr(hard_images, "STEPS", 60)


@pytest.fixture
def exchanged(make_split):
    """A split of 400 images with three classes, in which the first 40 have another label than they show."""
    split = make_split()
    labels = split.labels.clone()
    labels[:40] = (labels[:40] + 1) % 3
    return dataclasses.replace(split, labels=labels)


def open_stream(folder, split, write_splits, config):
    write_splits(folder, split)
    return SampleStream(folder, "train", config.data, seed=config.run.seed, device=CPU)


def test_hard_images_are_those_that_show_another_label(exchanged, tmp_path, write_splits, capsys):
    config = load_config(None, KEYS)
    unknown = dataclasses.replace(exchanged, labels=torch.where(torch.arange(400) % 8 == 7, -1, exchanged.labels))
    stream = open_stream(tmp_path, unknown, write_splits, config)
    window = stream.window(0, stream.samples)
    found = set(window.keys(find_hard_images(window, stream.classes, config)))
    assert {f"{index:05d}" for index in range(40) if index % 8 != 7} <= found
    assert len(found) < 45
    assert f"{len(found)} of 350 labelled images are hard" in capsys.readouterr().out


ONE_EACH = torch.where(torch.arange(400) < 2, torch.arange(400), -1)  # for some seeds in the same fold


@pytest.mark.parametrize("seed", range(4))
def test_no_image_is_hard_if_a_fold_may_have_no_label(seed, make_split, tmp_path, write_splits, capsys):
    config = load_config(None, [*KEYS, f"run.seed={seed}"])
    stream = open_stream(tmp_path, dataclasses.replace(make_split(), labels=ONE_EACH), write_splits, config)
    assert find_hard_images(stream.window(0, stream.samples), stream.classes, config) == []
    assert "0 of 2 labelled images are hard" in capsys.readouterr().out


@pytest.mark.parametrize("labels", [None, torch.zeros(400, dtype=torch.int64), torch.full((400,), -1)])
def test_batches_are_plain_if_no_image_is_hard(labels, make_split, tmp_path, write_splits, capsys):
    split = make_split() if labels is None else dataclasses.replace(make_split(), labels=labels)
    config = load_config(None, KEYS)
    stream = open_stream(tmp_path, split, write_splits, config)
    phase = WarmupPhase(config, stream, CPU)
    plain = phase.draw_batch(3, 0).tensors
    phase.load_state({})
    assert "too few, so disentangle.hard_fraction=0.5 has no effect" in capsys.readouterr().out
    assert all(torch.equal(one, two) for one, two in zip(plain, phase.draw_batch(3, 0).tensors, strict=True))
    assert len(phase.list_state()["hard_images"]) == 0


def test_half_of_a_batch_is_hard_and_the_rest_is_as_without(exchanged, tmp_path, write_splits):
    config = load_config(None, KEYS)
    stream = open_stream(tmp_path, exchanged, write_splits, config)
    phase = WarmupPhase(config, stream, CPU)
    plain, plain_labels, _ = phase.draw_batch(2, 0).arguments
    window = stream.window(0, 400)
    hard = torch.tensor([row for row in range(400) if int(window.keys([row])[0]) < 40])
    phase.load_state({"hard_images": hard})
    images, labels, _ = phase.draw_batch(2, 0).arguments
    again, other = (phase.draw_batch(step, 0).arguments[0] for step in (2, 5))
    is_kept = torch.arange(20) % 2 == 0
    assert torch.equal(images[is_kept], plain[is_kept])
    assert torch.equal(labels[is_kept], plain_labels[is_kept])
    label_of = {window.images(row[None])[0].numpy().tobytes(): int(window.labels[row]) for row in hard}
    stored = images.mul(255).round().byte().permute(0, 2, 3, 1).contiguous()
    assert [label_of[one.numpy().tobytes()] for one in stored[~is_kept]] == labels[~is_kept].tolist()
    assert torch.equal(again, images)
    assert not torch.equal(other[~is_kept], images[~is_kept])


@pytest.mark.parametrize("is_known", [False, True])
def test_only_the_hard_images_stay_in_memory(is_known, exchanged, tmp_path, write_splits, monkeypatch):
    """Tables of earlier tests are still there, so the rows of those that are new are counted.

    `isinstance` would look through a weak reference of a library to an object that is gone, and fail.
    """
    config = load_config(None, [*KEYS, "data.cache=none", "data.window=40"])
    stream = open_stream(tmp_path, exchanged, write_splits, config)
    places = list(range(10, 400, 20))
    seen = []

    def find(window, classes, config):
        seen.append(len(window.labels))
        return places

    monkeypatch.setattr(warmup, "find_hard_images", find)
    gc.collect()
    before = {id(one) for one in gc.get_objects() if type(one) is SampleTable}
    phase = WarmupPhase(config, stream, CPU)
    phase.load_state({"hard_images": torch.tensor(places)} if is_known else {})
    gc.collect()
    tables = [one for one in gc.get_objects() if type(one) is SampleTable and id(one) not in before]
    assert sum(len(one.labels) for one in tables) == 0
    assert seen == ([] if is_known else [400])
    assert phase.list_state()["hard_images"].tolist() == places
    phase.draw_batch(0, 0)


@pytest.mark.parametrize(("fraction", "count"), [(0.25, 6), (0.3, 7), (1.0, 24)])
def test_parts_of_a_batch_are_those_of_the_whole_and_have_the_share(fraction, count):
    hard = HardImages(
        torch.arange(50), torch.arange(50, 100).byte()[:, None, None, None], torch.arange(50, 100), fraction, 1
    )

    def replace(wanted):
        images = torch.arange(24).byte()[wanted.start : wanted.stop, None, None, None]
        return hard.replace(images, torch.arange(24)[wanted.start : wanted.stop], 7, wanted, 24)

    images, labels = replace(range(24))
    assert images.flatten().tolist() == labels.tolist()
    assert int((labels >= 50).sum()) == count
    parts = [replace(range(begin, begin + 8)) for begin in (0, 8, 16)]
    assert torch.equal(torch.cat([part[1] for part in parts]), labels)
    assert all(abs(int((part[1] >= 50).sum()) - count / 3) < 1 for part in parts)


def test_training_goes_on_with_the_hard_images_of_its_checkpoint(exchanged, tmp_path, write_splits, monkeypatch):
    write_splits(tmp_path / "shards", exchanged)
    config, whole, stopped = load_config(None, KEYS), tmp_path / "whole", tmp_path / "stopped"
    run_disentangle(config, tmp_path / "shards", whole)
    shutil.copytree(whole, stopped)
    (stopped / "record.json").unlink()
    for path in list_checkpoints(stopped / "checkpoint")[1:]:
        shutil.rmtree(path)
    with monkeypatch.context() as patch:
        patch.setattr(warmup, "find_hard_images", None)  # it cannot be called again
        run_disentangle(config, tmp_path / "shards", stopped)
    assert_same_weights(whole, stopped)
    monkeypatch.setattr(hard_images, "LEAST", 401)
    run_disentangle(config, tmp_path / "shards", tmp_path / "plain")
    with pytest.raises(AssertionError):
        assert_same_weights(whole, tmp_path / "plain")
