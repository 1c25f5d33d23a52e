import pytest
import torch
from torch import nn

from detaux.backbones.autoencoders import FlattenMap
from detaux.disentangle.projectors import StackedProjectors

CHANNELS, HIDDEN = 7, 11
# kind of code -> a layer from and to so many channels, an encoder's output, and how it is laid out as a code
CODES = {
    "vector": (nn.Linear, (13, CHANNELS), nn.Identity()),
    "map": (lambda before, after: nn.Conv2d(before, after, 1), (2, CHANNELS, 3, 3), FlattenMap()),
}


@pytest.mark.parametrize("kind", CODES)
def test_stacked_projectors_match_list_of_mlps(kind):
    torch.manual_seed(0)
    build, shape, flatten = CODES[kind]
    stacked = StackedProjectors(subspaces=5, channels=CHANNELS, hidden=HIDDEN).double()
    with torch.no_grad():
        stacked.hidden_bias_K1H.normal_()
        stacked.output_bias_K1M.normal_()
    latents = torch.randn(shape, dtype=torch.float64)
    expected = []
    for index in range(5):
        mlp = nn.Sequential(build(CHANNELS, HIDDEN), nn.ReLU(), build(HIDDEN, CHANNELS)).double()
        mlp[0].weight.data = stacked.hidden_weight_KMH[index].T.reshape(mlp[0].weight.shape)
        mlp[0].bias.data = stacked.hidden_bias_K1H[index, 0]
        mlp[2].weight.data = stacked.output_weight_KHM[index].T.reshape(mlp[2].weight.shape)
        mlp[2].bias.data = stacked.output_bias_K1M[index, 0]
        expected.append(flatten(mlp(latents)))
    torch.testing.assert_close(stacked(flatten(latents)), torch.stack(expected, 1), rtol=0, atol=1e-12)
