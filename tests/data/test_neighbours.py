import itertools

import pytest
import torch

from detaux.data import neighbours
from detaux.data.augment import salt_images, to_float
from detaux.data.neighbours import COMPONENTS, describe_images, find_relative_neighbours, mine_neighbours, mine_pairs
from detaux.data.prepare import BATCH_BYTES

ALL = 1000  # more than there are images


def build_grid(sizes, steps):
    """Images of a full grid: factor f fills pixel row f with its value times its own step."""
    values = torch.tensor(list(itertools.product(*(range(size) for size in sizes))))
    images = torch.zeros(len(values), 4, 4, 3, dtype=torch.uint8)
    for factor, step in enumerate(steps):
        images[:, factor] = (values[:, factor] * step).to(torch.uint8)[:, None, None]
    return images, values


def test_mined_pairs_differ_in_one_factor_on_a_full_grid():
    images, values = build_grid((5, 4, 6), (40, 20, 7))
    graph = mine_neighbours(images, torch.zeros(len(images), dtype=torch.int64), ALL)
    first, second = graph.edges()
    assert len(first) > len(images)
    assert ((values[first] != values[second]).sum(1) == 1).all()


def test_mined_pairs_stay_within_a_label():
    images, values = build_grid((3, 4, 4), (60, 30, 10))
    graph = mine_neighbours(images, values[:, 0], ALL)
    first, second = graph.edges()
    assert (values[first, 0] == values[second, 0]).all()


@pytest.mark.parametrize("nearest", [89, 12])
def test_relative_neighbours_match_loop_version(nearest):
    """Among the nearest of either end the graph is that over all points."""
    points = torch.randn(90, 3, generator=torch.Generator().manual_seed(0))
    distances = torch.cdist(points.double(), points.double())
    near = [set(row.argsort()[1 : nearest + 1].tolist()) for row in distances]
    expected = [
        [a, b]
        for a, b in itertools.combinations(range(90), 2)
        if (b in near[a] or a in near[b])
        and not any(max(distances[a, c], distances[c, b]) < distances[a, b] for c in range(90) if c not in (a, b))
    ]
    found = find_relative_neighbours(points, nearest, torch.arange(90))
    assert found.sort(1).values.unique(dim=0).tolist() == expected


def test_points_keep_the_distances_of_images_in_few_dimensions():
    images, _ = build_grid((5, 4, 6), (40, 20, 7))
    images = images.repeat_interleave(4, 1).repeat_interleave(4, 2)
    points, pixels = describe_images(images), to_float(images).flatten(1).double()
    assert points.shape == (120, pixels.shape[1])  # as few images as these are not worth it
    points = describe_images(images.repeat(2, 1, 1, 1))
    assert points.shape == (240, COMPONENTS)
    points = points[:120].double()
    torch.testing.assert_close(torch.cdist(points, points), torch.cdist(pixels, pixels), atol=1e-3, rtol=1e-3)


def test_points_are_a_function_of_the_seed_whatever_was_drawn_before():
    images = torch.randint(256, (160, 8, 8, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = []
    for before in (1, 2):
        torch.manual_seed(before)
        state = torch.random.get_rng_state()
        found.append(describe_images(images, seed=3))
        assert torch.equal(torch.random.get_rng_state(), state)  # that of the run
    assert found[0].shape == (160, COMPONENTS)
    assert torch.equal(*found)


def test_some_anchors_find_what_they_find_among_all():
    images, values = build_grid((3, 4, 5), (60, 25, 9))
    anchors = torch.tensor([7, 20, 41])
    pairs = mine_pairs(images, values[:, 0], 20)
    some = mine_pairs(images, values[:, 0], 20, anchors=anchors)
    assert len(some) > 3
    assert sorted(some.tolist()) == sorted(pair for pair in pairs.tolist() if pair[0] in anchors)


def test_graph_is_symmetric_and_never_pairs_an_image_with_itself():
    images = torch.randint(0, 255, (60, 4, 4, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    graph = mine_neighbours(images, torch.zeros(60, dtype=torch.int64), ALL)
    first, second = graph.edges()
    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    assert all(a != b and (b, a) in pairs for a, b in pairs)
    assert (graph.neighbours >= 0).sum() == len(pairs)


def test_identical_images_are_no_pair():
    images = torch.zeros(3, 4, 4, 3, dtype=torch.uint8)
    images[2] = 9
    first, second = mine_neighbours(images, torch.zeros(3, dtype=torch.int64), ALL).edges()
    assert (0, 1) not in set(zip(first.tolist(), second.tolist(), strict=True))


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 0, 0]], ids=["one image a label", "all identical"])
def test_graph_may_have_no_edge(labels):
    graph = mine_neighbours(torch.full((3, 4, 4, 3), 7, dtype=torch.uint8), torch.tensor(labels), ALL)
    assert graph.neighbours.tolist() == [[-1], [-1], [-1]]
    assert graph.edges()[0].tolist() == []


def test_missing_labels_make_all_images_one_neighbourhood():
    images, values = build_grid((3, 4, 5), (60, 25, 9))
    labels = torch.where(torch.arange(len(images)) % 3 == 0, -1, values[:, 0])
    first, second = mine_neighbours(images, labels, ALL).edges()
    changed = values[first] != values[second]
    assert (changed.sum(1) == 1).all()
    assert changed.any(0).all()


def test_mining_sees_the_noise_of_training():
    images, _ = build_grid((3, 4, 5), (60, 25, 9))
    labels = torch.zeros(len(images), dtype=torch.int64)
    graphs = [mine_neighbours(images, labels, ALL, noise=0.9, seed=seed).neighbours for seed in (0, 0, 1)]
    assert torch.equal(graphs[0], graphs[1])
    assert not torch.equal(graphs[0], graphs[2])


def test_removed_noise_keeps_more_one_factor_pairs():
    images, values = build_grid((5, 5, 8), (50, 25, 12))
    images = (images + 20).repeat_interleave(4, 1).repeat_interleave(4, 2)  # black pixels would count as noise
    labels = torch.zeros(len(images), dtype=torch.int64)
    draw = torch.rand(images.shape[:3], generator=torch.Generator().manual_seed(2))
    noisy = salt_images(to_float(images), 0.15, draw).mul(255).byte().permute(0, 2, 3, 1)
    shares = []
    for graph in (mine_neighbours(noisy, labels, ALL), mine_neighbours(images, labels, ALL, noise=0.15, seed=2)):
        first, second = graph.edges()
        shares.append(((values[first] != values[second]).sum(1) == 1).float().mean())
    assert shares[1] > shares[0] + 0.2


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_points_of_images_that_pass_in_batches_have_the_distances_of_those_held_at_once(noise, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(300, 3, 4, 4, generator=generator), size=20, mode="bilinear")
    images = (smooth.permute(0, 2, 3, 1) * 250 + 2).byte()
    held = describe_images(images, noise, 3)
    monkeypatch.setattr(neighbours, "FITTED_BYTES", 0)
    monkeypatch.setattr(neighbours, "fit_batch", lambda most, shape, *budget: 0 if budget else 37)
    streamed = describe_images(images, noise, 3)
    assert streamed.shape == held.shape == (300, COMPONENTS)
    streamed, held = streamed.double(), held.double()
    torch.testing.assert_close(torch.cdist(streamed, streamed), torch.cdist(held, held), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_large_images_are_never_floats_all_at_once(noise, largest_floats, monkeypatch):
    images = torch.randint(256, (300, 96, 96, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(neighbours, "FITTED_BYTES", 2**20)
    with largest_floats:
        describe_images(images, noise)
    assert largest_floats.bytes <= BATCH_BYTES < 4 * images.numel()
