import pytest
import torch

from detaux.data.neighbours import NeighbourGraph
from detaux.data.partners.mined import walk_edges


def test_mined_pairs_change_one_factor_without_walk(gather, build_pairs):
    changed, is_different = gather(build_pairs(partner="mined", different=0.2, walk=0))
    assert (changed[~is_different].sum(1) == 1).all()


def test_walk_stays_within_the_subspace_of_its_first_edge(gather, build_pairs):
    pairs = build_pairs(partner="mined", different=0.0, walk=2)
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


def test_anchors_walk_the_whole_pool_each_epoch(build_pairs):
    pairs = build_pairs(partner="mined", batch_size=20)
    seen = torch.cat([pairs.batch(step).factors[pairs.batch(step).first] for step in range(3)])
    assert len({tuple(row) for row in seen.tolist()}) == 60


def test_mined_pairs_without_labels_change_one_factor_the_principal_one_among_them(
    gather, build_pairs, make_grid, hide
):
    stream = make_grid()
    stream.labels = hide(stream.labels, 0.5)
    changed, is_different = gather(build_pairs(stream, partner="mined", different=0.3, walk=0), steps=100)
    assert abs(is_different.float().mean() - 0.3) < 0.04
    mined = changed[~is_different]
    assert (mined.sum(1) == 1).all()
    assert mined.any(0).all()
