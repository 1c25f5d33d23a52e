import numpy as np
import torch

from detaux.config import Config
from detaux.config.schema import DiscoverConfig
from detaux.discover.candidates.embedded_split import EmbeddedSplit
from detaux.discover.candidates.registry import propose_from_model
from detaux.disentangle.embed import Embeddings


def test_encoder_source_has_the_latents_as_its_candidate_once_for_all_disentanglers():
    subspaces_NKD = torch.randn(200, 3, 2, generator=torch.Generator().manual_seed(0))
    first, second = (
        EmbeddedSplit(Embeddings(subspaces_NKD, subspaces_NKD.sum(1)), 0, np.zeros(200, int), restart)
        for restart in (0, 1)
    )
    config = Config(discover=DiscoverConfig(sources=["encoder"]))
    (found,) = propose_from_model(first, config)
    np.testing.assert_array_equal(found.points_ND, first.embeddings.latents_ND)
    assert (found.subspaces, found.title, found.source) == ((), "encoder", "encoder")
    assert propose_from_model(second, config) == []
