import pytest
import torch

from detaux.data import nearest
from detaux.data.nearest import mine_nearest


def draw_images(count):
    return torch.randint(256, (count, 6, 6, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("rows", [1, 7, 23, 128])
def test_nearest_images_are_those_of_all_distances(monkeypatch, rows):
    monkeypatch.setattr(nearest, "ROWS", rows)
    images = draw_images(23)
    values = images.flatten(1).double()
    distances = torch.cdist(values, values, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    assert torch.equal(mine_nearest(images, 4), distances.argsort(1)[:, :4])


def test_no_image_is_its_own_neighbour_though_others_equal_it():
    found = mine_nearest(draw_images(5).repeat_interleave(3, 0), 2)
    assert torch.equal(found // 3, (torch.arange(15) // 3)[:, None].expand(15, 2))
    assert (found != torch.arange(15)[:, None]).all()


def test_a_small_pool_has_all_others_as_neighbours():
    found = mine_nearest(draw_images(4), 10)
    assert torch.equal(found.sort(1).values, torch.tensor([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]))
