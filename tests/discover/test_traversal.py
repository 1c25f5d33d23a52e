import numpy as np
import torch

from detaux.discover.traversal import STEPS, pick_pair, traverse
from detaux.disentangle.embed import embed_split


def draw_rows(model, groups):
    colours = torch.tensor([[250, 20, 100], [50, 220, 200]], dtype=torch.uint8)
    images = colours[:, None, None].expand(2, 8, 8, 3).contiguous()
    ends = embed_split(model, images, torch.device("cpu")).subspaces_NKD
    return images.numpy(), traverse(model, images, ends, groups)


def test_traversal_row_moves_only_its_subspace(model):
    images, rows = draw_rows(model, [(0,), (1,)])
    assert rows.shape == (2, STEPS + 4, 8, 8, 3)
    assert rows.dtype == np.uint8
    for row, channel in zip(rows, (0, 1), strict=True):
        np.testing.assert_array_equal(row[0], images[0])
        np.testing.assert_array_equal(row[-1], images[1])
        np.testing.assert_allclose(row[1], images[0], atol=1)
        np.testing.assert_allclose(row[-2], images[1], atol=1)
        moving = row[2:-2, 0, 0, channel].astype(int)
        assert (np.diff(moving) < 0).all() if channel == 0 else (np.diff(moving) > 0).all()
        np.testing.assert_allclose(moving[-1], images[1, 0, 0, channel], atol=1)
        others = np.delete(row[2:-2], channel, axis=3)
        np.testing.assert_allclose(others, np.broadcast_to(np.delete(images[0], channel, axis=2), others.shape), atol=1)


def test_traversal_moves_a_merged_group_together(model):
    images, rows = draw_rows(model, [(0, 2)])
    last = rows[0, -3, 0, 0].astype(int)
    np.testing.assert_allclose(last, [images[1, 0, 0, 0], images[0, 0, 0, 1], images[1, 0, 0, 2]], atol=1)


def test_picked_pair_differs_in_every_group():
    random = np.random.default_rng(0)
    values = random.integers(3, size=(500, 4))
    first, second = pick_pair(torch.from_numpy(values[:, :, None]).float(), [(0,), (1,), (2, 3)], 0)
    assert (values[first, :2] != values[second, :2]).all()
    assert (values[first, 2:] != values[second, 2:]).any()


def test_picked_pair_survives_a_dead_group():
    subspaces = torch.stack([torch.arange(20.0), torch.zeros(20)], 1)[:, :, None]
    assert len(pick_pair(subspaces, [(0,), (1,)], 0)) == 2
