import torch
from torch import nn

from detaux.disentangle.networks import FlattenMap
from detaux.disentangle.projectors import StackedProjectors


def test_stacked_projectors_match_list_of_mlps():
    torch.manual_seed(0)
    stacked = StackedProjectors(subspaces=5, channels=7, hidden=11).double()
    with torch.no_grad():
        stacked.hidden_bias_K1H.normal_()
        stacked.output_bias_K1M.normal_()
    latents = torch.randn(13, 7, dtype=torch.float64)
    expected = []
    for index in range(5):
        mlp = nn.Sequential(nn.Linear(7, 11), nn.ReLU(), nn.Linear(11, 7)).double()
        mlp[0].weight.data = stacked.hidden_weight_KMH[index].T
        mlp[0].bias.data = stacked.hidden_bias_K1H[index, 0]
        mlp[2].weight.data = stacked.output_weight_KHM[index].T
        mlp[2].bias.data = stacked.output_bias_K1M[index, 0]
        expected.append(mlp(latents))
    torch.testing.assert_close(stacked(latents), torch.stack(expected, 1), rtol=0, atol=1e-12)


def test_projectors_of_a_map_match_1x1_convolutions():
    torch.manual_seed(0)
    stacked = StackedProjectors(subspaces=3, channels=5, hidden=4).double()
    with torch.no_grad():
        stacked.hidden_bias_K1H.normal_()
        stacked.output_bias_K1M.normal_()
    maps = torch.randn(2, 5, 3, 3, dtype=torch.float64)
    expected = []
    for index in range(3):
        convolutions = nn.Sequential(nn.Conv2d(5, 4, 1), nn.ReLU(), nn.Conv2d(4, 5, 1)).double()
        convolutions[0].weight.data = stacked.hidden_weight_KMH[index].T[..., None, None]
        convolutions[0].bias.data = stacked.hidden_bias_K1H[index, 0]
        convolutions[2].weight.data = stacked.output_weight_KHM[index].T[..., None, None]
        convolutions[2].bias.data = stacked.output_bias_K1M[index, 0]
        expected.append(FlattenMap()(convolutions(maps)))
    torch.testing.assert_close(stacked(FlattenMap()(maps)), torch.stack(expected, 1), rtol=0, atol=1e-12)
