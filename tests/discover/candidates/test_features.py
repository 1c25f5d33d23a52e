import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from detaux.config import load_config
from detaux.config.schema import FROZEN
from detaux.data.schema import Manifest
from detaux.data.split import Split
from detaux.discover.candidates.features import propose_features
from detaux.errors import UserError

MANIFEST = Manifest("made", "packed", 8, 3, ["a"], "class", {}, {}, [])


def build_split(count):
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8))
    return Split(images, torch.zeros(count, dtype=torch.int64), [f"k{number}" for number in range(count)], None)


def configure(features):
    return load_config(None, ["discover.sources=[features]", f"discover.features={features}"])


@pytest.mark.slow
@pytest.mark.parametrize("dims", [6, 300])
def test_blobs_of_features_are_found_whatever_the_order_of_the_file(tmp_path, make_blobs, dims):
    points, truth = make_blobs(dims=dims, spread=0.5)
    split = build_split(len(points))
    order = np.random.default_rng(1).permutation(len(points))
    np.savez(tmp_path / "f.npz", keys=np.array(split.keys)[order], features=points.numpy()[order])
    found = propose_features(split, MANIFEST, configure(tmp_path / "f.npz"))
    names = ["features_hdbscan", "features_plscan", "features_pixels_hdbscan", "features_pixels_plscan"]
    assert [one.name for one in found] == names
    for one in found[:2]:
        assert adjusted_rand_score(truth, one.clusters.class_labels) > 0.98


def test_features_of_other_images_are_refused(tmp_path):
    np.savez(tmp_path / "f.npz", keys=np.array(["x", "y"]), features=np.eye(2))
    with pytest.raises(UserError, match=r"has no row for 40 of the 40 training images, first k0"):
        propose_features(build_split(40), MANIFEST, configure(tmp_path / "f.npz"))


@pytest.mark.slow
def test_features_beside_pixels_know_what_either_knows(tmp_path):
    random = np.random.default_rng(2)
    value, split = np.arange(400) % 4, build_split(400)
    features = 5 * (value[:, None] // 2) + random.normal(
        0, 0.5, (400, 6)
    )  # the features know half, the pixels the rest
    images = random.integers(0, 60, (400, 8, 8, 3)) + 180 * (value % 2)[:, None, None, None]
    np.save(tmp_path / "f.npy", features)
    split = Split(torch.from_numpy(images.astype(np.uint8)), split.labels, split.keys, None)
    found = {one.name: one for one in propose_features(split, MANIFEST, configure(tmp_path / "f.npy"))}
    assert adjusted_rand_score(value // 2, found["features_plscan"].clusters.class_labels) > 0.9
    assert adjusted_rand_score(value, found["features_pixels_plscan"].clusters.class_labels) > 0.9


@pytest.mark.slow
def test_features_of_the_frozen_network_are_clustered():
    split = build_split(60)
    images = split.images.clone()
    images[:30, :, :4] = 255  # half of the pictures have a white side
    half = Split(images, split.labels, split.keys, None)
    found = propose_features(half, MANIFEST, configure(FROZEN))
    for one in found:
        assert adjusted_rand_score(np.arange(60) < 30, one.clusters.class_labels) > 0.9
