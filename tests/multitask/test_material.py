import shutil
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch

from detaux.config import load_config
from detaux.config.variants import list_variants
from detaux.data.split import load_split
from detaux.errors import UserError
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
    material = load_material(config, inputs / "shards", own, inputs / "disentangle")
    for labels, expected in (("discovered@seed1", values["seed1"]), ("entangled", values["entangled"])):
        data = material.build_data(Trial("hard_sharing", labels, 0.5, 0))
        assert torch.equal(data.auxiliary, expected)
        assert data.classes == [2, 2]
    assert material.build_data(Trial("hard_sharing", "random", 0.5, 0)).classes == [2, 3]
    assert [one.name for one in material.list_missing(config)] == ["seed2"]
    assert [material.count_labels(one) for one in list_variants(config.multitask)] == [2, None, 2]
    assert set(hash_material(config, inputs / "shards", own, inputs / "disentangle")) == {
        *("labels", "labels@entangled", "labels@seed1", "manifest")
    }


def load(keys, inputs, *changes):
    config = load_config(None, [*keys, *(f"multitask.{change}" for change in changes)])
    return load_material(config, inputs / "shards", inputs / "discover" / "labels.parquet", inputs / "disentangle")


@pytest.mark.parametrize(("factor", "column", "values"), [("floor_hue", 0, 3), ("shape", 4, 2)])
def test_oracle_labels_are_the_values_of_the_named_factor(keys, inputs, factor, column, values):
    material = load(keys, inputs, "controls=[oracle]", f"oracle={factor}")
    trial = Trial("hard_sharing", "oracle", 0.5, 0)
    data = material.build_data(trial)
    assert torch.equal(data.auxiliary, material.split.factors[:, column])
    assert data.classes == material.count_classes(trial) == [2, values]


def test_factors_are_not_read_unless_the_oracle_control_asks_for_one(keys, inputs):
    assert load(keys, inputs, "controls=[random]", "oracle=floor_hue").oracle is None


def test_oracle_that_is_no_known_factor_is_refused_with_the_known_ones(keys, inputs):
    fault = "multitask.oracle=colour is no factor of .*; its known factors: floor_hue, wall_hue"
    with pytest.raises(UserError, match=fault):
        load(keys, inputs, "controls=[oracle]", "oracle=colour")


@pytest.mark.parametrize("knows", [True, False])
def test_oracle_of_one_value_or_of_no_factors_is_refused(make_split, write_splits, tmp_path, knows):
    split = make_split(30, 1)  # the green has one value
    write_splits(tmp_path / "shards", split if knows else replace(split, factors=None))
    fault = "multitask.oracle=green has a single value" if knows else "its known factors: none"
    with pytest.raises(UserError, match=fault):
        load((), tmp_path, "controls=[oracle]", "oracle=green")


def test_set_without_a_principal_label_for_training_is_refused(make_split, write_splits, tmp_path):
    split = make_split(30, 1)
    write_splits(tmp_path / "shards", replace(split, labels=torch.full_like(split.labels, -1)))
    with pytest.raises(UserError, match="no image of the training split has a principal label"):
        load((), tmp_path)


def test_principal_labels_that_train_are_not_completed_for_a_control(keys, inputs):
    material = load(keys, inputs)
    data = material.build_data(Trial("hard_sharing", "within_class", 0.5, 0))
    assert (data.principal == -1).any()
    assert torch.equal(data.principal, material.split.labels)
