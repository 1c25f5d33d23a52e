"""Labels of the validation and test images, by a stand-in for networks."""

import dataclasses

import numpy as np
import pyarrow.parquet
import pytest
import torch

from detaux.config import Config
from detaux.config.schema import CrossPredictionConfig, DataConfig, DiscoverConfig
from detaux.data.labels_file import is_marked_upper_bound
from detaux.data.schema import read_manifest, write_manifest
from detaux.discover.cross_prediction.rounds import CrossPrediction
from detaux.discover.held_out import check_held_out, write_held_out
from detaux.errors import UserError

CPU = torch.device("cpu")


class Brightest:
    """Labels an image by its brightest channel, and notes what it saw."""

    def __init__(self):
        self.seen = []

    def recognise(self, images_NHWC):
        self.seen.append(images_NHWC)
        means = images_NHWC.float().mean((1, 2)).numpy()
        return means.argmax(1), means.max(1)


@pytest.fixture
def make_task(make_candidate):
    def make(recogniser=None, is_judged=True):
        one, labels = make_candidate(np.arange(10) % 2), np.zeros(10, int)
        if is_judged:
            one.cross = CrossPrediction(labels, np.ones(10), 1.0, 1.0, 0.0, 1, 1, 0.0, recogniser)
        return one

    return make


@pytest.fixture
def shards(tmp_path, write_splits, make_split):
    write_splits(tmp_path / "shards", make_split(20), make_split(12, seed=1), make_split(9, seed=2))
    return tmp_path / "shards"


def test_each_split_has_a_file_with_the_columns_of_judged_tasks(shards, tmp_path, make_task, make_split):
    manifest = read_manifest(shards)
    write_manifest(shards, dataclasses.replace(manifest, names={"00001": "one.png"}))
    tasks = [make_task(is_judged=False), make_task(Brightest())]
    names = write_held_out(tasks, shards, tmp_path, Config(), CPU, is_upper_bound=True)
    assert names == ["labels-validation.parquet", "labels-test.parquet"]
    for name, split in zip(names, (make_split(12, seed=1), make_split(9, seed=2)), strict=True):
        table = pyarrow.parquet.read_table(tmp_path / name)
        assert table.column_names == ["key", "name", "aux_1", "probability_1"]
        assert table["name"].to_pylist()[:3] == ["00000", "one.png", "00002"]
        assert table["aux_1"].to_pylist() == split.images.float().mean((1, 2)).argmax(1).tolist()
        assert is_marked_upper_bound(tmp_path / name)


def test_task_that_was_not_judged_leaves_no_file(shards, tmp_path, make_task):
    for task in (make_task(is_judged=False), make_task(None)):
        assert write_held_out([task], shards, tmp_path, Config(), CPU, is_upper_bound=False) == []
    assert not list(tmp_path.glob("labels*"))


def test_split_without_images_has_no_file(shards, tmp_path, make_task):
    manifest = read_manifest(shards)
    rest = [one for one in manifest.shards if one.split != "validation"]
    write_manifest(shards, dataclasses.replace(manifest, shards=rest))
    names = write_held_out([make_task(Brightest())], shards, tmp_path, Config(), CPU, is_upper_bound=False)
    assert names == ["labels-test.parquet"]


def test_networks_see_the_noise_that_they_were_trained_on(shards, tmp_path, make_task):
    seen = Brightest()
    config = Config(data=DataConfig(noise=0.5, denoise=False))
    write_held_out([make_task(seen)], shards, tmp_path, config, CPU, is_upper_bound=False)
    is_salted = torch.cat([((one == 0) | (one == 255)).all(-1).flatten() for one in seen.seen])
    assert abs(is_salted.float().mean() - 0.5) < 0.08


def test_splits_are_checked_only_if_networks_will_label_them(shards):
    on, off = (
        Config(discover=DiscoverConfig(cross_prediction=CrossPredictionConfig(rounds=rounds))) for rounds in (1, 0)
    )
    check_held_out(shards, on)
    (shards / "test-00000.tar").unlink()
    check_held_out(shards, off)
    with pytest.raises(UserError, match="samples in the test split"):
        check_held_out(shards, on)
