from types import SimpleNamespace

import torch

from detaux.config.schema import ModelConfig
from detaux.data.prepare import prepare_images
from detaux.disentangle.edges import READ_BYTES, GraphReader, read_edges
from detaux.disentangle.model import Disentangler


def test_edges_follow_their_labels_and_the_largest_change_where_none_is_known():
    torch.manual_seed(0)
    model = Disentangler(ModelConfig(subspaces=4, latent=6), side=16)
    images = torch.rand(30, 3, 16, 16)
    labels = torch.tensor([0, 1, -1]).repeat(10)
    first, second = torch.combinations(torch.arange(30)).T
    found = read_edges(model, images.split(7), labels, first, second, "mean_distance")
    is_known = (labels[first] >= 0) & (labels[second] >= 0)
    is_different = is_known & (labels[first] != labels[second])
    assert (found[is_different] == model.alpha).all()
    assert (found[is_known & ~is_different] != model.alpha).all()
    unknown = found[~is_known]
    assert {model.alpha} < set(unknown.tolist())
    assert model.training


def test_pool_of_large_images_is_never_floats_all_at_once(largest_floats):
    torch.manual_seed(0)
    model = Disentangler(ModelConfig(subspaces=3, latent=4), side=128)
    images, marked = torch.zeros(300, 128, 128, 3, dtype=torch.uint8), []
    graph = SimpleNamespace(edges=lambda: (torch.tensor([0, 298]), torch.tensor([1, 299])), mark=marked.append)
    pairs = SimpleNamespace(pool_images=images, pool_labels=torch.zeros(300, dtype=torch.int64))
    reader = GraphReader(pairs, graph, lambda part, step, wanted, total: prepare_images(part), "mean_distance")
    with largest_floats:
        reader.read(model)
    assert marked[0].shape == (2,)
    assert largest_floats.bytes <= READ_BYTES < 4 * images.numel()
