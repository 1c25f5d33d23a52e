import torch
from torch import nn

from detaux.disentangle.projectors import StackedProjectors


def test_stacked_projectors_match_list_of_mlps():
    torch.manual_seed(0)
    stacked = StackedProjectors(subspaces=5, latent=7, hidden=11).double()
    with torch.no_grad():
        stacked.hidden_bias_K1H.normal_()
        stacked.output_bias_K1D.normal_()
    latents = torch.randn(13, 7, dtype=torch.float64)
    expected = []
    for index in range(5):
        mlp = nn.Sequential(nn.Linear(7, 11), nn.ReLU(), nn.Linear(11, 7)).double()
        mlp[0].weight.data = stacked.hidden_weight_KDH[index].T
        mlp[0].bias.data = stacked.hidden_bias_K1H[index, 0]
        mlp[2].weight.data = stacked.output_weight_KHD[index].T
        mlp[2].bias.data = stacked.output_bias_K1D[index, 0]
        expected.append(mlp(latents))
    torch.testing.assert_close(stacked(latents), torch.stack(expected, 1), rtol=0, atol=1e-12)
