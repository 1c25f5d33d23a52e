"""A program of the tests, one rank of one or several: train a network with batch normalisation and print JSON.

rank_norm.py SIZE...: for a batch of each size, this rank's results, derivatives and statistics.
"""

import json
import sys

import torch
from torch import nn

from detaux.runtime import collectives, ranks
from detaux.runtime.batch_norm import share_batch_statistics

torch.set_num_threads(1)


def build_network():
    """Two layers in float64; the second has a running mean over all batches."""
    torch.manual_seed(0)
    first, second = nn.BatchNorm2d(3, momentum=0.05), nn.BatchNorm2d(2, eps=1e-3, momentum=None)
    network = nn.Sequential(nn.Conv2d(2, 3, 1), first, nn.Tanh(), nn.Conv2d(3, 2, 1), second).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    share_batch_statistics(network, torch.device("cpu"))
    return network


def normalize(size):
    """What the network computes of this rank's part of `size` images, whose losses have different weights."""
    network, part = build_network(), collectives.take_part(size)
    images = torch.randn(size, 2, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = torch.arange(1.0, 1 + size, dtype=torch.float64)[part, None, None, None]
    network(images[part].square())
    inputs = images[part].clone().requires_grad_()
    results = network(inputs)
    loss = (weights * results.pow(3)).sum()
    gradient, *others = torch.autograd.grad(loss, [inputs, *network.parameters()], create_graph=True)
    (second,) = torch.autograd.grad((weights * gradient.square()).sum(), inputs)
    rows = {"results": results, "gradient": gradient, "second": second, "evaluated": network.eval()(images[part])}
    return {
        "rows": {name: value.tolist() for name, value in rows.items()},
        # losses are sums over a part, so gradients add up
        "parameters": [(collectives.global_mean(value) * ranks.world_size()).tolist() for value in others],
        "state": {name: value.tolist() for name, value in network.state_dict().items()},
    }


with ranks.join_ranks(torch.device("cpu")):
    print(json.dumps([normalize(int(size)) for size in sys.argv[1:]]))
