import pytest
import torch

from detaux.data import draws
from detaux.data.draws import draw_columns, keep_block, seed_generator, split_columns


def draw(block, generator):
    return torch.rand(2, len(block), generator=generator)


@pytest.mark.parametrize("total", [1, 5, 8, 13])
def test_every_split_of_the_columns_gives_the_same_tensor(monkeypatch, total):
    monkeypatch.setattr(draws, "BLOCK", 4)
    whole = draw_columns(draw, total, range(total), 1, 2)
    assert whole.shape == (2, total)
    for begin in range(total):
        for end in range(begin + 1, total + 1):
            assert torch.equal(draw_columns(draw, total, range(begin, end), 1, 2), whole[:, begin:end])


def test_columns_of_different_blocks_and_seeds_differ(monkeypatch):
    monkeypatch.setattr(draws, "BLOCK", 4)
    whole = draw_columns(draw, 8, range(8), 1)
    assert not torch.equal(whole[:, :4], whole[:, 4:])
    assert not torch.equal(whole, draw_columns(draw, 8, range(8), 2))


def test_only_the_blocks_asked_for_are_drawn(monkeypatch):
    monkeypatch.setattr(draws, "BLOCK", 4)
    assert split_columns(range(5, 9), 10) == [range(4, 8), range(8, 10)]


def test_generator_is_a_function_of_its_numbers():
    one, two, other = seed_generator(1, 2), seed_generator(1, 2), seed_generator(2, 1)
    values = torch.rand(4, generator=one)
    assert torch.equal(values, torch.rand(4, generator=two))
    assert not torch.equal(values, torch.rand(4, generator=other))


def test_kept_block_is_drawn_once_and_gives_the_same_columns(monkeypatch):
    monkeypatch.setattr(draws, "BLOCK", 4)
    drawn = []
    kept = keep_block(lambda block, generator: drawn.append(block) or draw(block, generator))
    parts = [draw_columns(kept, 10, range(begin, begin + 2), 3) for begin in range(0, 10, 2)]
    assert torch.equal(torch.cat(parts, -1), draw_columns(draw, 10, range(10), 3))
    assert drawn == [range(4), range(4, 8), range(8, 10)]
