import pytest

from detaux.data import draws
from detaux.disentangle.mixes import draw_mixes


def draw(links, chains, wanted, mixes, parts=1):
    return draw_mixes(links, chains, wanted, subspaces=5, mixes=mixes, parts=parts, seed=(3,))


@pytest.mark.parametrize(("mixes", "count"), [(1.5, 12), (0, 40), (0.01, 1), (99, 40)])
def test_mixes_are_distinct_and_as_many_as_asked(mixes, count):
    found = draw(1, 8, range(8), mixes)
    assert len({*zip(found.pair_R.tolist(), found.subspace_R.tolist(), strict=True)}) == count == found.mean_count


@pytest.mark.parametrize("block", [4, 1024])
@pytest.mark.parametrize("links", [1, 3])
@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_mixes_of_parts_are_those_of_the_whole(monkeypatch, parts, links, block):
    """However many ranks share a step, and whether or not their bounds are those of the blocks that are drawn together."""
    monkeypatch.setattr(draws, "BLOCK", block)
    whole = draw(links, 18, range(18), 1.3)
    everything = set()
    for part in range(parts):
        wanted = range(part * 18 // parts, (part + 1) * 18 // parts)
        found = draw(links, 18, wanted, 1.3, parts)
        assert found.mean_count == whole.mean_count / parts
        for pair, subspace in zip(found.pair_R.tolist(), found.subspace_R.tolist(), strict=True):
            link, chain = divmod(pair, len(wanted))
            everything.add((link * 18 + wanted.start + chain, subspace))
    assert everything == {*zip(whole.pair_R.tolist(), whole.subspace_R.tolist(), strict=True)}
    assert len(everything) == whole.mean_count
