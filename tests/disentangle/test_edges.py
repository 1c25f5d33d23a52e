import torch

from detaux.config.schema import ModelConfig
from detaux.disentangle.edges import read_edges
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
