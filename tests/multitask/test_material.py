import shutil

import pyarrow as pa
import pyarrow.parquet as parquet
import torch

from detaux.config import load_config
from detaux.config.variants import list_variants
from detaux.data.split import load_split
from detaux.multitask.material import Material, hash_material, load_material
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


def test_trial_of_a_variant_has_its_labels_and_classes(keys, inputs, tmp_path):
    asked = ["multitask.discovery_seeds=[1, 2]", "multitask.controls=[entangled, random]"]
    config = load_config(None, [*keys, *asked])
    split = load_split(inputs / "shards", "train", config.data, select_device(config.run))
    own = tmp_path / "discover" / "labels.parquet"
    shutil.copytree(inputs / "discover", own.parent)
    values = {"seed1": split.factors[:, 1] % 2, "entangled": (split.factors[:, 0] + split.factors[:, 1]) % 2}
    for name, labels in values.items():
        path = tmp_path / "variants" / name / "discover" / "labels.parquet"
        path.parent.mkdir(parents=True)
        parquet.write_table(pa.table({"key": split.keys, "aux_0": labels.tolist()}), path)
    empty = tmp_path / "variants" / "seed2" / "discover" / "discovery.json"
    empty.parent.mkdir(parents=True)
    empty.write_text('{"chosen": -1}')
    material = load_material(config, inputs / "shards", own)
    for labels, expected in (("discovered@seed1", values["seed1"]), ("entangled", values["entangled"])):
        data = material.build_data(Trial("hard_sharing", labels, 0.5, 0))
        assert torch.equal(data.auxiliary, expected)
        assert data.classes == [2, 2]
    assert material.build_data(Trial("hard_sharing", "random", 0.5, 0)).classes == [2, 3]
    assert [one.name for one in material.list_missing(config)] == ["seed2"]
    assert [material.count_labels(one) for one in list_variants(config.multitask)] == [2, None, 2]
    assert set(hash_material(config, inputs / "shards", own)) == {
        *("labels", "labels@entangled", "labels@seed1", "manifest")
    }
