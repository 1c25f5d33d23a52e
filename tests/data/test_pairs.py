from types import SimpleNamespace

import pytest
import torch

from detaux.config.schema import DataConfig, PairsConfig
from detaux.data import draws
from detaux.data.label_index import LabelIndex
from detaux.data.neighbours import NeighbourGraph
from detaux.data.pairs import PairBatch, PairStream, compute_one_factor_share
from detaux.data.partners.mined import walk_edges
from detaux.errors import UserError

SIZES = (3, 4, 5)


class GridStream:
    """Stands in for SampleStream: a full grid of factors, each filling a pixel row, in a fixed shuffled order."""

    def __init__(self, labels=None, has_factors=True):
        self.values = torch.cartesian_prod(*(torch.arange(size) for size in SIZES))
        order = torch.randperm(len(self.values), generator=torch.Generator().manual_seed(7))
        self.values = self.values[order]
        self.samples = len(self.values)
        self.pixels = torch.zeros(self.samples, 4, 4, 3, dtype=torch.uint8)
        for factor, step in enumerate((60, 25, 9)):
            self.pixels[:, factor] = (self.values[:, factor] * step).to(torch.uint8)[:, None, None]
        self.labels = self.values[:, 0] if labels is None else labels
        self.has_factors = has_factors

    def window(self, first, count):
        slots = torch.arange(first, first + count) % self.samples
        window = SimpleNamespace(
            labels=self.labels[slots],
            factors=self.values[slots] if self.has_factors else None,
            images=lambda index: self.pixels[slots[index]],
        )
        window.all_images = self.pixels[slots]
        window.hold = lambda most: window
        return window


def build(stream=None, batch_size=16, seed=0, **keys):
    return PairStream(
        stream or GridStream(), DataConfig(window=60), PairsConfig(**keys), batch_size=batch_size, seed=seed
    )


def gather(pairs, steps=40):
    batches = [pairs.batch(step) for step in range(steps)]
    factors = torch.cat([(batch.factors[batch.first] != batch.factors[batch.second]) for batch in batches])
    return factors, torch.cat([batch.is_different for batch in batches])


@pytest.mark.parametrize("partner", ["mined", "label", "one_factor"])
def test_pairs_differ_in_label_as_often_as_asked(partner):
    _, is_different = gather(build(partner=partner, different=0.3), steps=100)
    assert abs(is_different.float().mean() - 0.3) < 0.04


def test_mined_pairs_change_one_factor_without_walk():
    changed, is_different = gather(build(partner="mined", different=0.2, walk=0))
    assert (changed[~is_different].sum(1) == 1).all()


def test_nearest_pairs_are_of_another_label_or_of_the_nearest_images():
    pairs = build(partner="nearest", different=0.3, nearest=3)
    place = {image.numpy().tobytes(): row for row, image in enumerate(pairs.pool_images)}
    for batch in map(pairs.batch, range(20)):
        rows = torch.tensor([place[image.numpy().tobytes()] for image in batch.images])
        is_near = (pairs.rule.nearest[rows[batch.first]] == rows[batch.second, None]).any(1)
        assert (is_near | batch.is_different).all()


def test_one_factor_pairs_change_exactly_one_factor():
    changed, is_different = gather(build(partner="one_factor", different=0.5))
    assert (changed.sum(1) == 1).all()
    assert (changed[is_different][:, 0]).all()


def test_independent_pairs_follow_the_uniform_draw():
    _, is_different = gather(build(partner="independent"), steps=200)
    assert abs(is_different.float().mean() - 2 / 3) < 0.03


def test_walk_stays_within_the_subspace_of_its_first_edge():
    pairs = build(partner="mined", different=0.0, walk=2)
    first, second = pairs.graph.edges()
    values = pairs.pool.factors
    pairs.graph.mark((values[first] != values[second]).int().argmax(1))
    changed, _ = gather(pairs)
    assert (changed.sum(1) <= 1).all()
    steps = torch.cat([_steps(batch) for batch in (pairs.batch(step) for step in range(60))])
    assert steps.max() > 1  # some walks went farther than the mined neighbour


def _steps(batch):
    return (batch.factors[batch.first] - batch.factors[batch.second]).abs().sum(1)


def list_ends(graph, anchor, most):
    """Every image at which a walk from the anchor may end, by the definition."""
    ends = set()
    for end, subspace in zip(graph.neighbours[anchor].tolist(), graph.subspaces[anchor].tolist(), strict=True):
        here = {end} - {-1}
        ends |= here
        for _ in range(most if subspace >= 0 else 0):
            here = {
                further
                for one in here
                for further, other in zip(graph.neighbours[one].tolist(), graph.subspaces[one].tolist(), strict=True)
                if further not in (-1, anchor) and other == subspace
            }
            ends |= here
    return ends or {-1}


@pytest.mark.parametrize("most", [0, 1, 2])
def test_ends_of_walks_are_those_of_the_definition(most):
    """Walks of one subspace that never come back to their anchor, over the edges of 12 images and some that have none."""
    generator = torch.Generator().manual_seed(most)
    neighbours = torch.stack([torch.randperm(12, generator=generator)[:4] for _ in range(12)])
    neighbours[neighbours == torch.arange(12)[:, None]] = -1
    neighbours[:2] = -1
    subspaces = torch.randint(-1, 2, (12, 4), generator=generator)
    graph = NeighbourGraph(neighbours, torch.where(neighbours < 0, -1, subspaces))
    drawn = walk_edges(graph, torch.arange(12).repeat_interleave(2000), most, generator).reshape(12, -1)
    assert [set(row) for row in drawn.tolist()] == [list_ends(graph, anchor, most) for anchor in range(12)]


@pytest.mark.parametrize("partner", ["mined", "nearest"])
def test_pairs_are_a_function_of_seed_and_step(partner):
    one, two, other = (build(partner=partner, seed=seed) for seed in (3, 3, 4))
    two.batch(0)
    assert torch.equal(one.batch(5).images, two.batch(5).images)
    for end in (slice(None, 16), slice(16, None)):  # the first images and the second ones
        assert not torch.equal(one.batch(5).images[end], other.batch(5).images[end])


@pytest.mark.parametrize("partner", ["mined", "nearest", "label", "one_factor", "independent"])
def test_pairs_of_an_epoch_are_not_those_of_the_next(partner):
    """An epoch is three steps, after which a window is the same again."""
    pairs = build(partner=partner, batch_size=20, different=0.5)
    one, two = pairs.batch(0), pairs.batch(3)
    assert not torch.equal(one.images[one.second], two.images[two.second])
    assert torch.equal(one.images[one.first], two.images[two.first]) == (partner not in ("mined", "nearest"))


def test_anchors_walk_the_whole_pool_each_epoch():
    pairs = build(partner="mined", batch_size=20)
    seen = torch.cat([pairs.batch(step).factors[pairs.batch(step).first] for step in range(3)])
    assert len({tuple(row) for row in seen.tolist()}) == 60


@pytest.mark.parametrize("partner", ["mined", "nearest", "label", "one_factor", "independent"])
def test_labels_and_factors_of_a_batch_are_those_its_images_show(partner):
    batch = build(partner=partner).batch(1)
    shown = batch.images[:, :3, 0, 0] // torch.tensor([60, 25, 9])
    assert torch.equal(shown, batch.factors)
    assert torch.equal(shown[:, 0], batch.labels)


@pytest.mark.parametrize("partner", ["mined", "nearest", "label", "one_factor", "independent"])
def test_reused_images_serve_in_a_chain_of_pairs(partner):
    batch = build(partner=partner, reuse=4, batch_size=16).batch(0)
    places = torch.arange(len(batch.images))
    assert len(places) == 20
    assert len(places[batch.first]) == 16
    assert torch.equal(places[batch.first][4:], places[batch.second][:-4])


@pytest.mark.parametrize("block", [4, 1024])
@pytest.mark.parametrize("partner", ["mined", "nearest", "label", "one_factor", "independent"])
def test_parts_of_a_step_hold_the_chains_of_the_whole(monkeypatch, partner, block):
    """Whether or not the bounds of the parts are those of the blocks that are drawn together."""
    monkeypatch.setattr(draws, "BLOCK", block)
    pairs = build(partner=partner, reuse=2, batch_size=24)
    whole = pairs.batch(3)
    for parts in (2, 3):
        found = [pairs.batch(3, range(part * 12 // parts, (part + 1) * 12 // parts)) for part in range(parts)]
        images = torch.cat([part.images.reshape(3, part.chains, *part.images.shape[1:]) for part in found], 1)
        assert torch.equal(images.flatten(0, 1), whole.images)
        labels = torch.cat([part.labels.reshape(3, part.chains) for part in found], 1)
        assert torch.equal(labels.flatten(), whole.labels)


def hide(labels, share, seed=0):
    """The labels with a share of them replaced by -1."""
    return torch.where(torch.rand(len(labels), generator=torch.Generator().manual_seed(seed)) < share, -1, labels)


@pytest.mark.parametrize("partner", ["mined", "nearest", "label", "one_factor", "independent"])
def test_pairs_by_label_hold_labelled_images_alone(partner):
    stream = GridStream()
    stream.labels = hide(stream.labels, 0.7)
    pairs = build(stream, partner=partner, different=0.4, walk=0)
    for step in range(30):
        batch = pairs.batch(step)
        is_known = (batch.labels[batch.first] >= 0) & (batch.labels[batch.second] >= 0)
        assert not (batch.is_different & ~is_known).any()
        if partner in ("label", "one_factor"):
            assert is_known.all()


def test_mined_pairs_without_labels_change_one_factor_the_principal_one_among_them():
    stream = GridStream()
    stream.labels = hide(stream.labels, 0.5)
    changed, is_different = gather(build(stream, partner="mined", different=0.3, walk=0), steps=100)
    assert abs(is_different.float().mean() - 0.3) < 0.04
    mined = changed[~is_different]
    assert (mined.sum(1) == 1).all()
    assert mined.any(0).all()


def test_pairs_need_labels_of_two_classes():
    stream = GridStream()
    stream.labels = torch.where(stream.labels == 1, 1, -1)
    with pytest.raises(UserError, match=r"principal labels of 1 class;.*data.labelled_fraction"):
        build(stream, partner="mined")
    build(stream, partner="independent").batch(0)


def test_two_hundred_classes_find_partners():
    stream = GridStream(labels=torch.arange(60) % 30)
    for different in (0.0, 1.0):
        _, is_different = gather(build(stream, partner="label", different=different))
        assert (is_different == bool(different)).all()


def test_class_with_one_image_takes_a_different_label():
    labels = torch.zeros(60, dtype=torch.int64)
    labels[0] = 1
    batch = build(GridStream(labels=labels), partner="label", different=0.0, batch_size=60).batch(0)
    assert batch.is_different[batch.labels[batch.first] == 1].all()


def test_one_factor_without_known_factors_is_refused():
    with pytest.raises(UserError, match="one_factor needs known factors"):
        build(GridStream(has_factors=False), partner="one_factor")


def test_one_factor_share_counts_pairs_of_equal_label():
    factors = torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]])
    batch = PairBatch(
        images=torch.zeros(4, 1, 1, 3, dtype=torch.uint8),
        labels=factors[:, 0],
        chains=1,
        factors=factors,
    )
    assert compute_one_factor_share(batch).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("seed", range(20))
def test_partners_by_label_are_those_of_the_definition(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 1 + seed % 4, (1 + seed,), generator=generator)
    anchors = torch.randint(len(labels), (9,), generator=generator)
    wants = torch.rand(9, generator=generator) < 0.5
    index = LabelIndex.build(labels)
    allowed = index.allow(anchors, wants)
    drawn = [index.draw(anchors, wants, generator).tolist() for _ in range(40)]
    for place, (anchor, wants_different) in enumerate(zip(anchors.tolist(), wants.tolist(), strict=True)):
        own = int(labels[anchor])
        known = [one for one, label in enumerate(labels.tolist()) if own >= 0 and label >= 0]
        differs = [one for one in known if labels[one] != own]
        same = [one for one in known if labels[one] == own and one != anchor]
        expected = (differs or same) if wants_different else (same or differs)
        assert allowed[place].nonzero().flatten().tolist() == expected
        assert {row[place] for row in drawn} <= set(expected or [-1])


def test_partners_by_label_are_drawn_uniformly():
    labels = torch.tensor([2, 0, 0, -1, 0, 2, 1, 0])
    index = LabelIndex.build(labels)
    generator = torch.Generator().manual_seed(0)
    anchors = torch.full((6000,), 2)
    for wants, allowed in ((False, [1, 4, 7]), (True, [0, 5, 6])):
        counts = index.draw(anchors, torch.full((6000,), wants), generator).bincount(minlength=8)
        assert counts[allowed].sum() == 6000
        assert (counts[allowed] - 2000).abs().max() < 150  # four standard deviations
