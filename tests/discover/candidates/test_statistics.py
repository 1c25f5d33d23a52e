import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from detaux.config import load_config
from detaux.data.split import Split
from detaux.discover.candidates.candidate import score_separation
from detaux.discover.candidates.statistics import propose_statistics

COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]])


def build_split(images):
    return Split(torch.from_numpy(images), torch.zeros(len(images), dtype=torch.int64), list(map(str, images)), None)


@pytest.fixture(scope="module")
def bordered():
    """300 pictures of grey noise, whose border has one of three colours, and the colours' numbers."""
    random = np.random.default_rng(0)
    value = random.integers(0, 3, 300)
    images = np.repeat(random.integers(0, 256, (300, 12, 12, 1), np.uint8), 3, 3)
    colours = (COLOURS[value] + random.integers(-8, 9, (300, 3))).astype(np.uint8)
    for rows in (np.s_[:, :1], np.s_[:, -1:], np.s_[:, :, :1], np.s_[:, :, -1:]):
        images[rows] = colours[:, None, None]
    return images, value


def propose(images, *keys):
    return {one.name: one for one in propose_statistics(build_split(images), None, load_config(None, list(keys)))}


def test_border_of_three_colours_is_found_exactly(bordered):
    images, value = bordered
    found = propose(images)
    one = found["border_colour"]
    assert adjusted_rand_score(value, one.clusters.class_labels) == 1
    assert (one.points_ND[:, :3].numpy() > 0).all()
    rows = np.arange(0, 300, 2)
    assert adjusted_rand_score(value[rows], one.recluster(rows, 1).class_labels) == 1
    assert adjusted_rand_score(value, found["hue"].clusters.class_labels) == 1
    assert all(one.clusters.count >= 2 and not one.subspaces for one in found.values())


def test_statistics_together_hold_what_each_holds(bordered):
    images, value = bordered
    (together,) = [one for name, one in propose(images).items() if name == "statistics"]
    assert adjusted_rand_score(value, together.clusters.class_labels) > 0.95


def test_place_of_the_object_is_found():
    random = np.random.default_rng(1)
    value = random.integers(0, 2, 200)
    images = np.full((200, 32, 32, 3), 30, np.uint8)
    for image, side in zip(images, value, strict=True):
        down, right = random.integers(5, 12), random.integers(1, 8) + 16 * side
        image[down : down + 6, right : right + 5] = random.integers(120, 256, 3)
    assert adjusted_rand_score(value, propose(images)["foreground_place"].clusters.class_labels) > 0.99


def test_sizes_in_whole_pixels_are_no_clusters():
    random = np.random.default_rng(3)
    images = np.full((400, 16, 16, 3), 30, np.uint8)
    for image in images:
        image[2, 3 : 3 + random.integers(2, 12)] = 200
    one = propose(images).get("foreground_size")
    assert one is None or score_separation(one, 0) < 0.5


def test_pictures_that_differ_in_no_statistic_make_no_candidate():
    assert propose(np.full((100, 8, 8, 3), 77, np.uint8)) == {}


def test_noise_is_removed_before_pictures_are_measured_if_the_model_saw_them_so():
    random = np.random.default_rng(2)
    value = random.integers(0, 3, 150)
    images = np.tile(COLOURS[value].astype(np.uint8)[:, None, None], (1, 10, 10, 1))
    spread = []
    for denoise in ("false", "true"):
        one = propose(images, "data.noise=0.2", f"data.denoise={denoise}")["mean_colour"]
        assert adjusted_rand_score(value, one.clusters.class_labels) > 0.9
        spread.append(float(one.points_ND[torch.from_numpy(value == 0)].std(0).sum()))
    assert spread[0] > 0.03
    assert spread[1] < 0.003
