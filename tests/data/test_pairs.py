import pytest
import torch

from detaux.data import draws
from detaux.data.pairs import PairBatch, compute_one_factor_share
from detaux.data.partners.registry import PARTNER_RULES
from detaux.errors import UserError


@pytest.mark.parametrize("partner", ["mined", "label", "one_factor"])
def test_pairs_differ_in_label_as_often_as_asked(partner, gather, build_pairs):
    _, is_different = gather(build_pairs(partner=partner, different=0.3), steps=100)
    assert abs(is_different.float().mean() - 0.3) < 0.04


@pytest.mark.parametrize("partner", ["mined", "nearest"])
def test_pairs_are_a_function_of_seed_and_step(partner, build_pairs):
    one, two, other = (build_pairs(partner=partner, seed=seed) for seed in (3, 3, 4))
    two.batch(0)
    assert torch.equal(one.batch(5).images, two.batch(5).images)
    for end in (slice(None, 16), slice(16, None)):  # the first images and the second ones
        assert not torch.equal(one.batch(5).images[end], other.batch(5).images[end])


@pytest.mark.parametrize("partner", PARTNER_RULES)
def test_pairs_of_an_epoch_are_not_those_of_the_next(partner, build_pairs):
    """An epoch is three steps, after which a window is the same again."""
    pairs = build_pairs(partner=partner, batch_size=20, different=0.5)
    one, two = pairs.batch(0), pairs.batch(3)
    assert not torch.equal(one.images[one.second], two.images[two.second])
    assert torch.equal(one.images[one.first], two.images[two.first]) == (not pairs.rule.needs_pool)


@pytest.mark.parametrize("partner", PARTNER_RULES)
def test_labels_and_factors_of_a_batch_are_those_its_images_show(partner, build_pairs):
    batch = build_pairs(partner=partner).batch(1)
    shown = batch.images[:, :3, 0, 0] // torch.tensor([60, 25, 9])
    assert torch.equal(shown, batch.factors)
    assert torch.equal(shown[:, 0], batch.labels)


@pytest.mark.parametrize("partner", PARTNER_RULES)
def test_reused_images_serve_in_a_chain_of_pairs(partner, build_pairs):
    batch = build_pairs(partner=partner, reuse=4, batch_size=16).batch(0)
    places = torch.arange(len(batch.images))
    assert len(places) == 20
    assert len(places[batch.first]) == 16
    assert torch.equal(places[batch.first][4:], places[batch.second][:-4])


@pytest.mark.parametrize("block", [4, 1024])
@pytest.mark.parametrize("partner", PARTNER_RULES)
def test_parts_of_a_step_hold_the_chains_of_the_whole(monkeypatch, partner, block, build_pairs):
    """Whether or not the bounds of the parts are those of the blocks that are drawn together."""
    monkeypatch.setattr(draws, "BLOCK", block)
    pairs = build_pairs(partner=partner, reuse=2, batch_size=24)
    whole = pairs.batch(3)
    for parts in (2, 3):
        found = [pairs.batch(3, range(part * 12 // parts, (part + 1) * 12 // parts)) for part in range(parts)]
        images = torch.cat([part.images.reshape(3, part.chains, *part.images.shape[1:]) for part in found], 1)
        assert torch.equal(images.flatten(0, 1), whole.images)
        labels = torch.cat([part.labels.reshape(3, part.chains) for part in found], 1)
        assert torch.equal(labels.flatten(), whole.labels)


@pytest.mark.parametrize("partner", PARTNER_RULES)
def test_pairs_by_label_hold_labelled_images_alone(partner, build_pairs, make_grid, hide):
    stream = make_grid()
    stream.labels = hide(stream.labels, 0.7)
    pairs = build_pairs(stream, partner=partner, different=0.4, walk=0)
    for step in range(30):
        batch = pairs.batch(step)
        is_known = (batch.labels[batch.first] >= 0) & (batch.labels[batch.second] >= 0)
        assert not (batch.is_different & ~is_known).any()
        if partner in ("label", "one_factor"):
            assert is_known.all()


def test_pairs_need_labels_of_two_classes(build_pairs, make_grid):
    stream = make_grid()
    stream.labels = torch.where(stream.labels == 1, 1, -1)
    with pytest.raises(UserError, match=r"principal labels of 1 class;.*data.labelled_fraction"):
        build_pairs(stream, partner="mined")
    build_pairs(stream, partner="independent").batch(0)


def test_one_factor_share_counts_pairs_of_equal_label():
    factors = torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]])
    batch = PairBatch(
        images=torch.zeros(4, 1, 1, 3, dtype=torch.uint8),
        labels=factors[:, 0],
        chains=1,
        factors=factors,
    )
    assert compute_one_factor_share(batch).item() == pytest.approx(1 / 3)
