"""A program of the tests, one rank of one or several: embed noisy images, cluster them on the first rank, and print what every
rank has as JSON.

rank_embed.py BATCH [BROKEN ROW]
"""

import json
import sys

import torch

from detaux.config.schema import DiscoverConfig
from detaux.discover.cluster import cluster_points
from detaux.disentangle import embed
from detaux.errors import UserError
from detaux.runtime.agreement import run_first
from detaux.runtime.collectives import gather_objects
from detaux.runtime.ranks import is_first, join_ranks

SAMPLES, SIDE = 2301, 4
torch.set_num_threads(1)
embed.BATCH = int(sys.argv[1])


class Model(torch.nn.Module):
    """Latents are the mean colours; one of each colour in a subspace; an image that is white all over has none."""

    def encode(self, images_NCHW):
        means_ND = images_NCHW.double().mean((2, 3)).float()  # exact, however many images there are
        return torch.where(means_ND == 1, torch.nan, means_ND)

    def project(self, latents_ND):
        return torch.diag_embed(latents_ND)


generator = torch.Generator().manual_seed(0)
colours = 40 + 80 * torch.randint(3, (SAMPLES, 1, 1, 3), generator=generator)
images = (colours + torch.randint(10, (SAMPLES, SIDE, SIDE, 3), generator=generator)).byte()
if len(sys.argv) > 2:
    images[int(sys.argv[2])] = 255
with join_ranks(torch.device("cpu")):
    try:
        found = embed.embed_split(Model(), images, torch.device("cpu"), noise=0.02, seed=3)
    except UserError as error:
        told = gather_objects([str(error), error.is_told])
        if is_first():
            print(json.dumps(told))
        sys.exit()
    rows = gather_objects(len(found.latents_ND))
    labels = run_first(lambda: cluster_points(found.subspaces_NKD[:, 0], DiscoverConfig(), 0).labels.tolist())
    gather_objects(None)  # the store of the first ends with it
    if is_first():
        print(json.dumps({"rows": rows, "latents": found.latents_ND.tolist(), "labels": labels}))
