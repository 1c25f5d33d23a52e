import torch

from detaux.config import load_config
from detaux.data.split import load_split
from detaux.multitask.material import Material
from detaux.multitask.trial import Trial
from detaux.runtime.device import select_device


def test_random_labels_differ_from_seed_to_seed(keys, inputs):
    config = load_config(None, keys)
    split = load_split(inputs / "shards", "train", config.data, select_device(config.run))
    labels = split.factors[:, 0]
    one, two = (
        Material(split, labels, 2, 0.0).build_data(Trial("hard_sharing", "random", 0.5, seed)).auxiliary
        for seed in (0, 1)
    )
    assert not torch.equal(one, two)
