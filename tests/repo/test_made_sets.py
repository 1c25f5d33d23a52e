"""Whole runs of the presets of published data sets, from files in their authors' formats to the table, at their own side."""

import json

import pytest
from made_sets import write_cars, write_cifar10, write_faces, write_svhn

SMALL = (
    "run.threads=1",
    "run.device=cpu",
    "disentangle.warmup.batch_size=8",
    "disentangle.main.batch_size=4",
    "disentangle.warmup.steps=3",
    "disentangle.main.steps=2",
    "discover.clusterer=kmeans",  # finds a task, however short the training
    "discover.clusters=3",
    "discover.stability_samples=1",
    "multitask.epochs=1",
    "multitask.seeds=1",
    "multitask.weights=[0.5]",
    "multitask.controls=[random]",
    "multitask.select=fixed",
)


def write_files(name, folder):
    """Write a small set in the published format, and return data.path."""
    if name == "cifar10":
        return write_cifar10(folder, per_batch=40, tests=40)
    if name == "svhn":
        write_svhn(folder / "svhn", train=200, test=60)
        return folder / "svhn"
    if name == "cars":
        return write_cars(folder / "cars", classes=3, train=12, test=4)
    return write_faces(folder / "faces", persons=6)


LIGHT = ("model.encoder=patch_conv", "model.latent=8", "model.subspaces=4", "multitask.backbone=small_cnn")


@pytest.mark.parametrize(
    ("name", "side", "counts", "factors", "keys"),
    [
        ("cifar10", 32, (180, 20, 40), {}, LIGHT),
        pytest.param("cifar10", 32, (180, 20, 40), {}, (), marks=pytest.mark.slow),
        pytest.param("svhn", 32, (180, 20, 60), {}, (), marks=pytest.mark.slow),
        pytest.param("cars", 224, (33, 3, 12), {}, (), marks=pytest.mark.slow),
        pytest.param(
            *("faces", 224, (36, 12, 24)),
            {"expression": 6, "age": 3, "gender": 2, "set": 2, "person": 6},
            (),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_published_files_run_to_the_table(name, side, counts, factors, keys, tmp_path, detaux):
    places = (f"data.path={write_files(name, tmp_path)}", f"run.dir={tmp_path}/run")
    exit_code, output = detaux("run", f"configs/{name}.yaml", *SMALL, *keys, *places)
    assert exit_code == 0, output
    manifest = json.loads((tmp_path / "run" / "shards" / "manifest.json").read_text())
    assert (manifest["dataset"], manifest["side"], manifest["factors"]) == (name, side, factors)
    splits = [shard["split"] for shard in manifest["shards"]]
    assert splits == ["train", "validation", "test"]
    assert tuple(shard["samples"] for shard in manifest["shards"]) == counts
    metrics = json.loads((tmp_path / "run" / "multitask" / "metrics.json").read_text())
    assert {row["labels"] for row in metrics["rows"]} == {"none", "discovered", "random"}
    assert all(0 <= row["accuracy"] <= 1 for row in metrics["rows"])
